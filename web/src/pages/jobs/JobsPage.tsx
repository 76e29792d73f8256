import { Input, Select, Table } from "antd";
import { Link, useNavigate } from "react-router";
import { isActive, useJobs } from "../../api/hooks";
import type { JobView } from "../../api/types";
import { DatasetLink, Links, State, useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { pageParam, useTyped, useUrl } from "../../lib/url";
import { pages } from "../../paths";
import { Empty, HowTo, Page, Took, Wait, When } from "../../ui/basics";
import { onRow } from "../../ui/rows";

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
  const [typed, setTyped] = useTyped("text");
  const submit = `kaogong jobs submit -f job.toml --wait${inProject(project)}`;
  return (
    <Page title={t("nav.jobs")} actions={jobs.data?.total ? <HowTo label={t("jobs.submit")} text={t("jobs.emptyText")} command={submit} /> : null}>
      <div className="row" style={{ marginBottom: 12 }}>
        <Select aria-label={t("state")} allowClear placeholder={t("state.all")} style={{ width: 160 }} value={state} onChange={(it: string | undefined) => setUrl({ state: it ?? null, page: null })} options={STATES.map((it) => ({ value: it, label: t(`state.${it}` as Key) }))} />
        <Input.Search allowClear aria-label={t("filter.name")} placeholder={t("filter.name")} style={{ width: 260 }} value={typed} onChange={(it) => setTyped(it.target.value)} />
      </div>
      <Wait of={jobs}>
        {(data) =>
          data.total === 0 ? (
            state || text ? <Empty title={t("jobs.noneMatch")} /> : <Empty title={t("jobs.empty")} text={t("jobs.emptyText")} command={submit} />
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
      onRow={onRow((it) => void navigate(pages.job(project, it.id)))}
      pagination={{ current: page, pageSize: PER_PAGE, total, onChange: onPage, showSizeChanger: false, hideOnSinglePage: true }}
      columns={[
        { title: t("state"), dataIndex: "state", width: 112, render: (it: string) => <State state={it} /> },
        { title: t("name"), dataIndex: "name", width: "18%", render: (name: string, it) => <Link to={pages.job(project, it.id)}>{name}</Link> },
        { title: t("reason"), dataIndex: "reason", ellipsis: true, render: (it: string | null) => <span className="muted" title={it ?? undefined}>{it ?? "—"}</span> },
        { title: t("inputs"), width: 112, render: (_, it) => <Links>{it.inputs.map((one) => <DatasetLink key={one.alias} pinned={`${one.dataset}@${one.number}`} />)}</Links> },
        { title: t("attempts.count"), align: "right", width: 88, render: (_, it) => it.attempts.length },
        { title: t("duration"), align: "right", width: 116, render: (_, it) => <Took from={it.started_at} to={it.ended_at} live={isActive(it.state)} /> },
        { title: t("created"), dataIndex: "created_at", width: 140, render: (at: number) => <When at={at} /> },
        { title: t("by"), dataIndex: "created_by", width: 88, render: (it: string | null) => it ?? "—" },
      ]}
    />
  );
}
