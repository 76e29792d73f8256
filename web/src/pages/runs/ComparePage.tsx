import { useQueries } from "@tanstack/react-query";
import { Checkbox } from "antd";
import { Link } from "react-router";
import { curvesQuery, isLogging, runQuery } from "../../api/hooks";
import type { CurveView, RunView } from "../../api/types";
import { Chart } from "../../components/Chart";
import { DatasetLink, Links, State, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { metric } from "../../lib/format";
import { useUrl } from "../../lib/url";
import { pages } from "../../paths";
import { SERIES, useTheme } from "../../theme";
import { Empty, Fault, Page, Took, Wait, When } from "../../ui/basics";
import { CurveControls, smoothing } from "./RunPage";

/** More lines than this cannot be told apart. */
const RUNS_MAX = 8;

export function differs(values: (string | undefined)[]): boolean {
  return values.some((it) => it !== values[0]);
}

export function ComparePage() {
  const project = useProject();
  const { t } = useWords();
  const [params] = useUrl();
  const asked = [...new Set(params.getAll("run"))];
  const ids = asked.slice(0, RUNS_MAX);
  const runs = useQueries({ queries: ids.map((id) => runQuery(project, id)) });
  const curves = useQueries({ queries: ids.map((id, at) => curvesQuery(project, id, isLogging(runs[at]?.data))) });
  const error = runs.find((it) => it.error)?.error;
  const found = runs.map((it) => it.data).filter((it): it is RunView => it !== undefined);
  return (
    <Page title={t("compare.title", { n: ids.length })} crumbs={<Link to={pages.runs(project)}>{t("nav.runs")}</Link>}>
      {asked.length > RUNS_MAX ? <p className="note">{t("compare.many", { n: RUNS_MAX })}</p> : null}
      {ids.length < 2 ? <Empty title={t("runs.compareWhy")} /> : null}
      {error ? <Fault error={error} retry={() => runs.forEach((it) => void it.refetch())} /> : null}
      {!error && ids.length >= 2 ? (
        <Wait of={{ data: found.length === ids.length ? found : undefined, error: null, isPending: true, refetch: () => undefined }} rows={12}>
          {(all) => (
            <div className="stack">
              <Grid runs={all} />
              <Overlays runs={all} curves={curves.map((it) => it.data ?? [])} />
            </div>
          )}
        </Wait>
      ) : null}
    </Page>
  );
}

function Swatch({ at }: { at: number }) {
  const { dark } = useTheme();
  return <span aria-hidden style={{ display: "inline-block", width: 10, height: 10, borderRadius: 2, marginRight: 6, background: SERIES[dark ? "dark" : "light"][at] }} />;
}

function Grid({ runs }: { runs: RunView[] }) {
  const project = useProject();
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const onlyDifferent = params.get("different") === "1";
  const keys = (pick: (run: RunView) => object) => [...new Set(runs.flatMap((it) => Object.keys(pick(it))))].sort();
  const paramKeys = keys((it) => it.params).filter((key) => !onlyDifferent || differs(runs.map((it) => it.params[key])));
  return (
    <section className="panel" style={{ overflowX: "auto" }}>
      <div className="row">
        <h2 className="grow">{t("compare.values")}</h2>
        <Checkbox checked={onlyDifferent} onChange={(it) => setUrl({ different: it.target.checked ? "1" : null })}>
          {t("compare.onlyDifferent")}
        </Checkbox>
      </div>
      <table className="kv">
        <thead>
          <tr>
            <th />
            {runs.map((it, at) => (
              <th key={it.id} scope="col">
                <Swatch at={at} />
                <Link to={pages.run(project, it.id)}>{it.name}</Link>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          <Row name={t("state")} cells={runs.map((it) => <State key={it.id} state={it.status} />)} />
          <Row name={t("nav.datasets")} cells={runs.map((it) => <Links key={it.id}>{it.datasets.map((one) => <DatasetLink key={one} pinned={one} />)}</Links>)} different={differs(runs.map((it) => it.datasets.join()))} />
          <Row name={t("duration")} cells={runs.map((it) => <Took key={it.id} from={it.started_at} to={it.ended_at} live={isLogging(it)} />)} />
          <Row name={t("started")} cells={runs.map((it) => <When key={it.id} at={it.started_at} />)} />
          <Head text={t("params")} span={runs.length + 1} />
          {paramKeys.map((key) => (
            <Row key={key} name={key} cells={runs.map((it) => <code key={it.id}>{it.params[key] ?? "—"}</code>)} different={differs(runs.map((it) => it.params[key]))} />
          ))}
          <Head text={t("metrics")} span={runs.length + 1} />
          {keys((it) => it.metrics).map((key) => (
            <MetricRow key={key} name={key} values={runs.map((it) => it.metrics[key] ?? null)} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Head({ text, span }: { text: string; span: number }) {
  return (
    <tr>
      <th colSpan={span} scope="colgroup" style={{ paddingTop: 16, fontWeight: 600 }}>
        {text}
      </th>
    </tr>
  );
}

function Row({ name, cells, different = false }: { name: string; cells: React.ReactNode[]; different?: boolean }) {
  const { t } = useWords();
  return (
    <tr className={different ? "differs" : ""}>
      <th scope="row" style={{ width: 200 }}>
        {name}
        {different ? <span className="visually-hidden"> {t("compare.differs")}</span> : null}
      </th>
      {cells.map((it, at) => (
        <td key={at}>{it}</td>
      ))}
    </tr>
  );
}

function MetricRow({ name, values }: { name: string; values: (number | null)[] }) {
  const most = Math.max(...values.map((it) => Math.abs(it ?? 0)), Number.MIN_VALUE);
  return (
    <tr>
      <th scope="row">{name}</th>
      {values.map((it, at) => (
        <td key={at}>
          {metric(it)}
          <span className="track" style={{ height: 6, maxWidth: 180 }} aria-hidden>
            <i style={{ width: `${(Math.abs(it ?? 0) / most) * 100}%` }} />
          </span>
        </td>
      ))}
    </tr>
  );
}

function Overlays({ runs, curves }: { runs: RunView[]; curves: CurveView[][] }) {
  const { t } = useWords();
  const [params] = useUrl();
  const keys = [...new Set(curves.flatMap((all) => all.filter((it) => it.values.length > 1).map((it) => it.key)))].sort();
  if (keys.length === 0) return null;
  return (
    <section>
      <CurveControls />
      <div className="grid-2">
        {keys.map((key) => (
          <Chart
            key={key}
            title={key}
            xName={t("step")}
            log={params.get("log") === "1"}
            smoothing={smoothing(params)}
            group="compare"
            lines={runs.map((run, at) => {
              const curve = curves[at]?.find((it) => it.key === key);
              // Two runs of one name are still two lines.
              const name = runs.filter((it) => it.name === run.name).length > 1 ? `${run.name} ${run.id.slice(-4)}` : run.name;
              return { name, x: curve?.steps ?? [], y: curve?.values ?? [] };
            })}
          />
        ))}
      </div>
    </section>
  );
}
