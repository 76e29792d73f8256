import { Button, Select, Table } from "antd";
import { Link } from "react-router";
import { useAudit } from "../../api/hooks";
import type { EventView } from "../../api/types";
import { Action, Actor } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { useUrl } from "../../lib/url";
import { pageOf } from "../../paths";
import { Empty, Wait, When } from "../../ui/basics";

const PER_PAGE = 100;
const NOUNS = ["datasets", "jobs", "runs", "models", "endpoints", "access"];

export function AuditTab() {
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const before = Number(params.get("before")) || undefined;
  const noun = params.get("noun");
  const events = useAudit({ noun, limit: PER_PAGE, ...(before ? { before } : {}) });
  const last = events.data?.items.at(-1)?.seq;
  return (
    <>
      <div className="row" style={{ marginBottom: 12 }}>
        <Select aria-label={t("noun")} allowClear placeholder={t("noun.all")} style={{ width: 160 }} value={noun} onChange={(it: string | undefined) => setUrl({ noun: it ?? null, before: null })} options={NOUNS.map((it) => ({ value: it, label: t(`nav.${it}` as Key) }))} />
      </div>
      <Wait of={events}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("audit.none")} />
          ) : (
            <>
              <Table<EventView>
                rowKey="seq"
                size="small"
                dataSource={data.items}
                pagination={false}
                expandable={{ expandedRowRender: (it) => <pre style={{ margin: 0, whiteSpace: "pre-wrap" }}>{JSON.stringify(it.detail, null, 2)}</pre>, rowExpandable: (it) => it.detail !== null && Object.keys(Object(it.detail)).length > 0 }}
                columns={[
                  { title: t("when"), dataIndex: "at", render: (at: number) => <When at={at} /> },
                  { title: t("action"), dataIndex: "action", render: (it: string) => <Action code={it} /> },
                  { title: t("object"), render: (_, it) => <ObjectLink event={it} /> },
                  { title: t("project"), dataIndex: "project", render: (it: string | null) => it ?? "—" },
                  { title: t("actor"), dataIndex: "actor", render: (it: string) => <Actor name={it} /> },
                  { title: t("address"), dataIndex: "address", render: (it: string | null) => it ?? "—" },
                ]}
              />
              <div className="row" style={{ marginTop: 12 }}>
                <Button disabled={!before} onClick={() => setUrl({ before: null })}>
                  {t("audit.newest")}
                </Button>
                <Button disabled={data.items.length < PER_PAGE} onClick={() => setUrl({ before: last })}>
                  {t("audit.older")}
                </Button>
              </div>
            </>
          )
        }
      </Wait>
    </>
  );
}

function ObjectLink({ event }: { event: EventView }) {
  const to = event.project ? pageOf(event.project, event.noun, event.object_id, event.object_name) : null;
  const name = event.object_name ?? event.object_id;
  return to ? <Link to={to}>{name}</Link> : <>{name}</>;
}
