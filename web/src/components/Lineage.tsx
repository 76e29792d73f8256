// Where a thing came from and what came of it, in one line of links.
import type { ReactNode } from "react";
import { useWords } from "../i18n";
import { DatasetLink, EndpointLink, JobLink, Links, ModelLink, RunLink } from "./states";

type Props = { datasets: string[]; job: string | null; run: { id: string; name?: string } | null; models: string[]; endpoints: string[] };

export function Lineage({ datasets, job, run, models, endpoints }: Props) {
  const { t } = useWords();
  const steps: [string, ReactNode][] = [];
  if (datasets.length) steps.push([t(datasets.length === 1 ? "dataset" : "nav.datasets"), <Links key="d">{datasets.map((it) => <DatasetLink key={it} pinned={it} />)}</Links>]);
  if (job) steps.push([t("job"), <JobLink key="j" id={job} />]);
  if (run) steps.push([t("run"), <RunLink key="r" id={run.id} {...(run.name ? { name: run.name } : {})} />]);
  if (models.length) steps.push([t("model"), <Links key="m">{models.map((it) => <ModelLink key={it} version={it} />)}</Links>]);
  if (endpoints.length) steps.push([t("endpoint"), <Links key="e">{endpoints.map((it) => <EndpointLink key={it} name={it} />)}</Links>]);
  return (
    <div className="lineage" role="group" aria-label={t("lineage")}>
      {steps.map(([name, it], at) => [
        at > 0 ? (
          <span key={`${name}-to`} aria-hidden>
            →
          </span>
        ) : null,
        <div key={name}>
          <small>{name}</small>
          {it}
        </div>,
      ])}
    </div>
  );
}
