import { DeleteOutlined } from "@ant-design/icons";
import { Button, Tabs } from "antd";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { call } from "../../api/client";
import { useChange, useEndpoint, useModel } from "../../api/hooks";
import type { EndpointView, TensorView } from "../../api/types";
import { Lineage } from "../../components/Lineage";
import { ModelLink, State, useMay, useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { count, microseconds } from "../../lib/format";
import { oneOf, useUrl } from "../../lib/url";
import { api, pages, serverAddress } from "../../paths";
import { Copy, Empty, Facts, Page, Snippet, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";
import { useRunJob } from "../models/useRunJob";
import { EndpointForm } from "./EndpointForm";
import { snippets } from "./snippets";
import { TryImage } from "./TryImage";
import { TryRow } from "./TryRow";

const TABS = ["try", "tensors", "use"] as const;

export function EndpointPage() {
  const project = useProject();
  const name = useParams()["name"] ?? "";
  const { t } = useWords();
  const endpoint = useEndpoint(project, name);
  return (
    <Page title={name} crumbs={<Link to={pages.endpoints(project)}>{t("nav.endpoints")}</Link>} state={endpoint.data ? <State state={endpoint.data.state} /> : null} actions={<>{endpoint.data ? <Change endpoint={endpoint.data} /> : null}<Delete name={name} /></>}>
      <Wait of={endpoint} rows={12}>{(it) => <Body endpoint={it} />}</Wait>
    </Page>
  );
}

function Change({ endpoint }: { endpoint: EndpointView }) {
  const { t } = useWords();
  const { why } = useMay();
  const [changing, setChanging] = useState(false);
  const close = () => setChanging(false);
  return (
    <>
      <Why not={why("maintainer")}>
        <Button disabled={why("maintainer") !== null} onClick={() => setChanging(true)}>
          {t("endpoint.change")}
        </Button>
      </Why>
      {changing ? <EndpointForm endpoint={endpoint} onClose={close} onDone={close} /> : null}
    </>
  );
}

function Delete({ name }: { name: string }) {
  const project = useProject();
  const { t } = useWords();
  const { why } = useMay();
  const confirm = useConfirm();
  const navigate = useNavigate();
  const remove = useChange(() => call(api.endpoint(project, name), { method: "DELETE" }), [[project, "models"]]);
  const ask = () =>
    confirm({
      title: t("endpoint.deleteAsk", { name }),
      text: t("endpoint.deleteText"),
      ok: t("delete"),
      act: async () => {
        await remove.mutateAsync(undefined);
        void navigate(pages.endpoints(project));
      },
    });
  return (
    <Why not={why("maintainer")}>
      <Button aria-label={t("delete")} icon={<DeleteOutlined />} disabled={why("maintainer") !== null} onClick={ask} />
    </Why>
  );
}

function Body({ endpoint }: { endpoint: EndpointView }) {
  const project = useProject();
  const { t, language } = useWords();
  const [params, setUrl] = useUrl();
  const tab = oneOf(params, "tab", TABS, "try");
  const model = useModel(project, endpoint.model);
  const version = model.data?.versions.find((it) => it.number === endpoint.version);
  const job = useRunJob(project, version?.run_id ?? null);
  return (
    <>
      {endpoint.reason ? <p className="note">{endpoint.reason}</p> : null}
      <div className="with-facts">
        <div>
          <div style={{ marginBottom: 8 }}>
            <Lineage datasets={version?.datasets ?? []} job={job} run={version?.run_id ? { id: version.run_id } : null} models={[`${endpoint.model}@${endpoint.version}`]} endpoints={[endpoint.name]} />
          </div>
          <Tabs
            activeKey={tab}
            onChange={(it) => setUrl({ tab: it === "try" ? null : it })}
            items={[
              { key: "try", label: t("tab.try"), children: <Try endpoint={endpoint} dataset={version?.datasets[0] ?? null} /> },
              {
                key: "tensors",
                label: t("tab.tensors"),
                children: (
                  <div className="grid-2">
                    <Tensors title={t("inputs")} items={endpoint.inputs} />
                    <Tensors title={t("outputs")} items={endpoint.outputs} />
                  </div>
                ),
              },
              {
                key: "use",
                label: t("tab.use"),
                children: (
                  <div className="stack" style={{ maxWidth: 860 }}>
                    {snippets(endpoint, project, serverAddress()).map(([title, text]) => (
                      <section key={title}>
                        <h2>{title}</h2>
                        <Snippet text={text} label={title} />
                      </section>
                    ))}
                  </div>
                ),
              },
            ]}
          />
        </div>
        <Facts
          rows={[
            [t("model"), <ModelLink key="m" version={`${endpoint.model}@${endpoint.version}`} />],
            [t("engine"), endpoint.engine],
            [t("batching"), <div key="b"><span>{t(`batching.${endpoint.batching}` as Key)}</span><div className="muted">{t(endpoint.shares_runs ? "batching.shared" : "batching.alone")}</div></div>],
            ...(endpoint.remark ? [[t("remark"), endpoint.remark] as [string, string]] : []),
            [t("isolation"), endpoint.isolation === "none" ? t("isolation.none") : t("isolation.process", { process: String(endpoint.process ?? "–") })],
            [t("latency.p50"), microseconds(endpoint.stats.p50_us)],
            [t("latency.p99"), microseconds(endpoint.stats.p99_us)],
            [t("perSecond"), endpoint.stats.per_second.toFixed(1)],
            [t("answered"), count(endpoint.stats.succeeded, language)],
            [t("failedCalls"), count(endpoint.stats.failed, language)],
            [t("created"), <When key="c" at={endpoint.created_at} />],
            [t("by"), endpoint.created_by],
            ["ID", <span key="id" className="mono">{endpoint.id} <Copy text={endpoint.id} /></span>],
          ]}
        />
      </div>
    </>
  );
}

function Try({ endpoint, dataset }: { endpoint: EndpointView; dataset: string | null }) {
  const { t } = useWords();
  if (endpoint.state !== "ready") return <Empty title={t("try.notReady")} />;
  if (endpoint.task?.kind === "image-classification") return <TryImage endpoint={endpoint} dataset={dataset} />;
  if (endpoint.task?.kind === "table-classification" || endpoint.task?.kind === "table-regression") return <TryRow endpoint={endpoint} task={endpoint.task} dataset={dataset} />;
  return <Empty title={t("try.noTask")} text={t("try.noTaskText")} />;
}

function Tensors({ title, items }: { title: string; items: TensorView[] }) {
  const { t } = useWords();
  return (
    <section className="panel">
      <h2>{title}</h2>
      <table className="kv" style={{ tableLayout: "fixed" }}>
        <thead>
          <tr>
            <th>{t("name")}</th>
            <th>{t("tensor.type")}</th>
            <th>{t("tensor.shape")}</th>
          </tr>
        </thead>
        <tbody>
          {items.map((it) => (
            <tr key={it.name}>
              <td className="mono">{it.name}</td>
              <td className="mono">{it.datatype}</td>
              <td className="mono">[{it.shape.join(", ")}]</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
