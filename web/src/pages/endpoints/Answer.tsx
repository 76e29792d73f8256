import type { PredictionView } from "../../api/types";
import { useWords } from "../../i18n";
import { metric, microseconds, percent } from "../../lib/format";

/** What the model said, how sure it is, and where the time went. */
export function Answer({ answer, truth }: { answer: PredictionView; truth: string | null }) {
  const { t } = useWords();
  const other = Math.max(0, answer.total_us - answer.queue_us - answer.compute_us);
  const parts: [string, number, string][] = [
    [t("latency.queue"), answer.queue_us, "var(--part-1)"],
    [t("latency.compute"), answer.compute_us, "var(--part-2)"],
    [t("latency.other"), other, "var(--part-3)"],
  ];
  const names = Math.min(160, 16 + 8 * Math.max(...answer.top.map((it) => it.label.length), 1));
  return (
    <section className="answer" style={{ "--name": `${names}px` } as React.CSSProperties} role="region" aria-label={t("try.answer")} aria-live="polite">
      <div className="big">{answer.label ?? metric(answer.value)}</div>
      {truth !== null ? (
        <div className="muted">
          {t("try.truth")} <span className="chip">{truth}</span> {answer.label !== null ? (answer.label === truth ? t("try.right") : t("try.wrong")) : ""}
        </div>
      ) : null}
      {answer.top.map((it) => (
        <div className="bar" key={it.label}>
          <span className="name" style={{ overflow: "hidden", textOverflow: "ellipsis" }}>{it.label}</span>
          <span className="track">
            <i style={{ width: `${it.probability * 100}%` }} />
          </span>
          <span className="num">{percent(it.probability)}</span>
        </div>
      ))}
      <div style={{ marginTop: 12 }}>
        <div className="row muted" style={{ fontSize: 12.5, justifyContent: "space-between" }}>
          <span>{t("latency.inServer", { time: microseconds(answer.total_us) })}</span>
          <span>{answer.model}</span>
        </div>
        <div className="stackbar" aria-hidden>
          {parts.map(([name, us, colour]) => (
            <i key={name} style={{ flexGrow: us, background: colour }} />
          ))}
        </div>
        <div className="row muted" style={{ fontSize: 12.5, gap: "0 12px", marginTop: 4 }}>
          {parts.map(([name, us, colour]) => (
            <span key={name}>
              <span aria-hidden style={{ display: "inline-block", width: 8, height: 8, background: colour, marginRight: 6 }} />
              {name} {microseconds(us)}
            </span>
          ))}
        </div>
      </div>
    </section>
  );
}
