import { Button, Table } from "antd";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { useEndpoints } from "../../api/hooks";
import type { EndpointView } from "../../api/types";
import { ModelLink, State, useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { count, microseconds } from "../../lib/format";
import { pages } from "../../paths";
import { Empty, Page, Wait, When, Why } from "../../ui/basics";
import { onRow } from "../../ui/rows";
import { EndpointForm } from "./EndpointForm";

export function EndpointsPage() {
  const project = useProject();
  const { t, language } = useWords();
  const { why } = useMay();
  const navigate = useNavigate();
  const endpoints = useEndpoints(project);
  const [making, setMaking] = useState(false);
  return (
    <Page
      title={t("nav.endpoints")}
      actions={
        <Why not={why("maintainer")}>
          <Button type="primary" disabled={why("maintainer") !== null} onClick={() => setMaking(true)}>
            {t("endpoint.create")}
          </Button>
        </Why>
      }
    >
      <Wait of={endpoints}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("endpoints.empty")} text={t("endpoints.emptyText")} command={`kaogong endpoints create NAME --model MODEL@1${inProject(project)}`} />
          ) : (
            <Table<EndpointView>
              className="clickable"
              rowKey="id"
              size="small"
              dataSource={data.items}
              pagination={data.items.length > 100 ? { pageSize: 100 } : false}
              onRow={onRow((it) => void navigate(pages.endpoint(project, it.name)))}
              columns={[
                { title: t("state"), dataIndex: "state", width: 110, render: (it: string) => <State state={it} /> },
                {
                  title: t("name"),
                  dataIndex: "name",
                  render: (name: string, it) => (
                    <>
                      <Link to={pages.endpoint(project, name)}>{name}</Link>
                      {it.reason ? <div className="muted">{it.reason}</div> : null}
                    </>
                  ),
                },
                { title: t("model"), render: (_, it) => <ModelLink version={`${it.model}@${it.version}`} /> },
                { title: t("engine"), dataIndex: "engine" },
                { title: t("latency.p50Head"), align: "right", render: (_, it) => microseconds(it.stats.p50_us) },
                { title: t("latency.p99Head"), align: "right", render: (_, it) => microseconds(it.stats.p99_us) },
                { title: t("perSecond"), align: "right", render: (_, it) => it.stats.per_second.toFixed(1) },
                { title: t("answered"), align: "right", render: (_, it) => count(it.stats.succeeded, language) },
                { title: t("failedCalls"), align: "right", render: (_, it) => count(it.stats.failed, language) },
                { title: t("created"), dataIndex: "created_at", render: (at: number) => <When at={at} /> },
              ]}
            />
          )
        }
      </Wait>
      {making ? <EndpointForm onClose={() => setMaking(false)} onDone={(it) => void navigate(pages.endpoint(project, it.name))} /> : null}
    </Page>
  );
}
