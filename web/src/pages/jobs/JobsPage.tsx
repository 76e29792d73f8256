import { Input, Select, Table } from "antd";
import { useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";
import { isActive, useJobs } from "../../api/hooks";
import type { JobView } from "../../api/types";
import { State, useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { duration } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { pages } from "../../paths";
import { Empty, Page, useNow, Wait, When } from "../../ui/basics";

const PER_PAGE = 50;
const STATES = ["queued", "admitted", "starting", "running", "succeeded", "failed", "cancelled", "lost"];

export function JobsPage() {
  const project = useProject();
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const page = pageParam(params);
  const state = params.get("state");
  const text = params.get("text");
  const jobs = useJobs(project, { state, text, offset: (page - 1) * PER_PAGE, limit: PER_PAGE });
  const [typed, setTyped] = useState(text ?? "");
  useEffect(() => {
    if (typed === (text ?? "")) return;
    const timer = setTimeout(() => setUrl({ text: typed, page: null }), 250);
    return () => clearTimeout(timer);
  }, [typed, text, setUrl]);
  return (
    <Page title={t("nav.jobs")}>
      <div className="row" style={{ marginBottom: 12 }}>
        <Select aria-label={t("state")} allowClear placeholder={t("state.all")} style={{ width: 160 }} value={state} onChange={(it: string | undefined) => setUrl({ state: it ?? null, page: null })} options={STATES.map((it) => ({ value: it, label: t(`state.${it}` as Key) }))} />
        <Input.Search allowClear aria-label={t("filter.name")} placeholder={t("filter.name")} style={{ width: 260 }} value={typed} onChange={(it) => setTyped(it.target.value)} />
      </div>
      <Wait of={jobs}>
        {(data) =>
          data.total === 0 ? (
            state || text ? <Empty title={t("jobs.noneMatch")} /> : <Empty title={t("jobs.empty")} text={t("jobs.emptyText")} command={`kaogong jobs submit -f job.toml --wait --project ${project}`} />
          ) : (
            <JobsTable items={data.items} total={data.total} page={page} onPage={(it) => setUrl({ page: it === 1 ? null : it })} />
          )
        }
      </Wait>
    </Page>
  );
}

function JobsTable({ items, total, page, onPage }: { items: JobView[]; total: number; page: number; onPage: (page: number) => void }) {
  const project = useProject();
  const { t } = useWords();
  const navigate = useNavigate();
  return (
    <Table<JobView>
      className="clickable"
      rowKey="id"
      size="small"
      dataSource={items}
      onRow={(it) => ({ onClick: () => void navigate(pages.job(project, it.id)) })}
      pagination={{ current: page, pageSize: PER_PAGE, total, onChange: onPage, showSizeChanger: false, hideOnSinglePage: true }}
      columns={[
        { title: t("state"), dataIndex: "state", width: 120, render: (it: string) => <State state={it} /> },
        { title: t("name"), dataIndex: "name", render: (name: string, it) => <Link to={pages.job(project, it.id)} onClick={(event) => event.stopPropagation()}>{name}</Link> },
        { title: t("reason"), dataIndex: "reason", ellipsis: true, render: (it: string | null) => <span className="muted">{it ?? ""}</span> },
        { title: t("inputs"), render: (_, it) => it.inputs.map((one) => `${one.dataset}@${one.number}`).join(", ") || "—" },
        { title: t("attempts"), align: "right", render: (_, it) => it.attempts.length },
        { title: t("duration"), align: "right", width: 120, render: (_, it) => <Took job={it} /> },
        { title: t("created"), dataIndex: "created_at", width: 130, render: (at: number) => <When at={at} /> },
        { title: t("by"), dataIndex: "created_by", render: (it: string | null) => it ?? "—" },
      ]}
    />
  );
}

export function Took({ job }: { job: { state: string; started_at: number | null; ended_at: number | null } }) {
  const { language } = useWords();
  const now = useNow(isActive(job.state) ? 1000 : 15_000);
  if (!job.started_at) return <>—</>;
  return <>{duration((job.ended_at ?? now) - job.started_at, language)}</>;
}
