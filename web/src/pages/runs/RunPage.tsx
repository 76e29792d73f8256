import { Checkbox, Slider, Tabs } from "antd";
import { Link, useParams } from "react-router";
import { isLogging, useCurves, useRun, useRunArtifacts } from "../../api/hooks";
import type { RunView } from "../../api/types";
import { Artifacts } from "../../components/Artifacts";
import { Chart } from "../../components/Chart";
import { Lineage } from "../../components/Lineage";
import { DatasetLink, JobLink, Links, ModelLink, State, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { metric } from "../../lib/format";
import { oneOf, useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Copy, Empty, Facts, KeyValues, Page, Took, Wait, When } from "../../ui/basics";

const TABS = ["curves", "params", "tags", "artifacts"] as const;

export function RunPage() {
  const project = useProject();
  const id = useParams()["id"] ?? "";
  const { t } = useWords();
  const run = useRun(project, id);
  return (
    <Page title={run.data?.name ?? id} crumbs={<Link to={pages.runs(project)}>{t("nav.runs")}</Link>} state={run.data ? <State state={run.data.status} /> : null}>
      <Wait of={run} rows={12}>{(it) => <Body run={it} />}</Wait>
    </Page>
  );
}

function Body({ run }: { run: RunView }) {
  const project = useProject();
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const tab = oneOf(params, "tab", TABS, "curves");
  const artifacts = useRunArtifacts(project, run.id);
  return (
    <div className="with-facts">
      <div>
        {run.datasets.length || run.job_id || run.models.length ? (
          <div style={{ marginBottom: 8 }}>
            <Lineage datasets={run.datasets} job={run.job_id} run={{ id: run.id, name: run.name }} models={run.models} endpoints={[]} />
          </div>
        ) : null}
        <Tabs
          activeKey={tab}
          onChange={(it) => setUrl({ tab: it === "curves" ? null : it })}
          destroyOnHidden
          items={[
            { key: "curves", label: t("metrics"), children: <Curves run={run} /> },
            { key: "params", label: t("params"), children: <KeyValues rows={Object.entries(run.params).map(([k, v]) => [k, <code key={k}>{v}</code>])} empty={t("params.none")} /> },
            { key: "tags", label: t("tags"), children: <KeyValues rows={Object.entries(run.tags)} empty={t("tags.none")} /> },
            { key: "artifacts", label: t("artifacts"), children: <Wait of={artifacts}>{(data) => <Artifacts items={data.items} href={(path) => api.runArtifact(project, run.id, path)} empty={t("artifacts.none")} />}</Wait> },
          ]}
        />
      </div>
      <Facts
        rows={[
          [t("experiment"), <Link key="e" to={pages.runs(project, { experiment: run.experiment })}>{run.experiment}</Link>],
          [t("duration"), <Took key="t" from={run.started_at} to={run.ended_at} live={isLogging(run)} />],
          [t("job"), run.job_id ? <JobLink id={run.job_id} /> : null],
          [t("nav.datasets"), run.datasets.length ? <Links>{run.datasets.map((it) => <DatasetLink key={it} pinned={it} />)}</Links> : null],
          [t("nav.models"), run.models.length ? <Links>{run.models.map((it) => <ModelLink key={it} version={it} />)}</Links> : null],
          [t("started"), <When key="s" at={run.started_at} />],
          [t("ended"), run.ended_at ? <When at={run.ended_at} /> : null],
          [t("run.user"), run.user || null],
          ["ID", <span key="id" className="mono">{run.id} <Copy text={run.id} /></span>],
        ]}
      />
    </div>
  );
}

export function CurveControls() {
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  return (
    <div className="row" style={{ marginBottom: 12, gap: 24 }}>
      <Checkbox checked={params.get("log") === "1"} onChange={(it) => setUrl({ log: it.target.checked ? "1" : null })}>
        {t("chart.log")}
      </Checkbox>
      <span className="row">
        <span id="smoothing">{t("chart.smoothing")}</span>
        <Slider ariaLabelledByForHandle="smoothing" style={{ width: 160 }} min={0} max={0.98} step={0.02} value={smoothing(params)} onChange={(it: number) => setUrl({ smooth: it || null })} />
      </span>
    </div>
  );
}

export function smoothing(params: URLSearchParams): number {
  const value = Number(params.get("smooth"));
  return value > 0 && value < 1 ? value : 0;
}

function Curves({ run }: { run: RunView }) {
  const project = useProject();
  const { t } = useWords();
  const [params] = useUrl();
  const curves = useCurves(project, run.id, isLogging(run));
  return (
    <Wait of={curves} rows={10}>
      {(data) => {
        if (data.length === 0) return <Empty title={t("metrics.none")} />;
        const lines = data.filter((it) => it.values.length > 1);
        return (
          <div className="stack">
            <section className="panel">
              <h2>{t("metrics.newest")}</h2>
              <KeyValues rows={Object.entries(run.metrics).map(([k, v]) => [k, metric(v)])} />
            </section>
            {lines.length ? (
              <div>
                <CurveControls />
                <div className="grid-2">
                  {lines.map((it) => (
                    <Chart key={it.key} title={it.key} xName={t("step")} lines={[{ name: it.key, x: it.steps, y: it.values }]} log={params.get("log") === "1"} smoothing={smoothing(params)} group="run" />
                  ))}
                </div>
              </div>
            ) : null}
          </div>
        );
      }}
    </Wait>
  );
}
