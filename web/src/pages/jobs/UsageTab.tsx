import { useUsage } from "../../api/hooks";
import type { JobView, UsageView } from "../../api/types";
import { Chart } from "../../components/Chart";
import { useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { Empty, Wait } from "../../ui/basics";

/** Samples closer than this, in milliseconds, say more about the clock than about the job: the last one is taken at its end. */
const SPAN_MIN = 200;

/** Processor use between samples, in percent of one core. */
export function cpuPercent(usage: UsageView): (number | null)[] {
  return usage.at.map((at, i) => {
    const span = i === 0 ? 0 : at - (usage.at[i - 1] ?? at);
    return span < SPAN_MIN ? null : (100 * Math.max(0, (usage.cpu_ms[i] ?? 0) - (usage.cpu_ms[i - 1] ?? 0))) / span;
  });
}

export function UsageTab({ job, attempt, live }: { job: JobView; attempt: number | undefined; live: boolean }) {
  const project = useProject();
  const { t } = useWords();
  const usage = useUsage(project, job.id, attempt, live);
  if (attempt === undefined) return <Empty title={t("log.notStarted")} />;
  return (
    <Wait of={usage} rows={10}>
      {(data) =>
        data.at.length < 2 ? (
          <Empty title={live ? t("usage.soon") : t("usage.none")} />
        ) : (
          <div className="stack">
            <Chart title={t("usage.cpu")} time xName="" yName={t("usage.cpuUnit")} lines={[{ name: "CPU", x: data.at, y: cpuPercent(data) }]} group="usage" format={(it) => (it === null ? "—" : `${Math.round(it)}`)} />
            <Chart title={t("usage.memory")} time xName="" yName="MiB" lines={[{ name: t("usage.memory"), x: data.at, y: data.rss_bytes.map((it) => (it === 0 ? null : it / 1048576)) }]} group="usage" format={(it) => (it === null ? "—" : it.toFixed(it > 0 && it < 10 ? 1 : 0))} />
          </div>
        )
      }
    </Wait>
  );
}
