// Small parts that know nothing of the platform's nouns.
import { CheckOutlined, CopyOutlined } from "@ant-design/icons";
import { Button, Popover, Skeleton, Tooltip } from "antd";
import { type ReactNode, useEffect, useState } from "react";
import { ApiError } from "../api/client";
import { useWords, worded } from "../i18n";
import { absolute, duration, relative } from "../lib/format";

/** What the tab of the browser says. */
export function useTitle(title: ReactNode) {
  const { t } = useWords();
  const brand = t("brand");
  useEffect(() => {
    document.title = typeof title === "string" && title && title !== brand ? `${title} · ${brand}` : brand;
  }, [title, brand]);
}

export function Page({ title, crumbs, state, actions, children }: { title: ReactNode; crumbs?: ReactNode; state?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useTitle(title);
  return (
    <div className="page">
      {crumbs ? <nav className="crumbs">{crumbs}</nav> : null}
      <header className="page-head">
        <div className="title">
          <h1>{title}</h1>
          {state}
        </div>
        <div className="actions">{actions}</div>
      </header>
      {children}
    </div>
  );
}

let clock = Date.now();
const ticking = new Set<() => void>();
setInterval(() => {
  clock = Date.now();
  for (const it of ticking) it();
}, 15_000);

/** The time that relative texts count from; one timer for the whole page. */
export function useNow(everyMs = 15_000): number {
  const [now, set] = useState(() => Date.now());
  useEffect(() => {
    if (everyMs < 15_000) {
      const timer = setInterval(() => set(Date.now()), everyMs);
      return () => clearInterval(timer);
    }
    const tick = () => set(clock);
    ticking.add(tick);
    return () => void ticking.delete(tick);
  }, [everyMs]);
  return now;
}

export function When({ at }: { at: number | null | undefined }) {
  const { language } = useWords();
  const now = useNow();
  if (at === null || at === undefined) return <>—</>;
  return (
    <Tooltip title={absolute(at, language)}>
      <time dateTime={new Date(at).toISOString()}>{relative(at, Math.max(now, Date.now() - 15_000), language)}</time>
    </Tooltip>
  );
}

/** Pixels of height left below `taken`, at least `least`; follows the window. */
export function useRoom(taken: number, least: number): number {
  const room = () => Math.max(least, window.innerHeight - taken);
  const [height, set] = useState(room);
  useEffect(() => {
    const resized = () => set(Math.max(least, window.innerHeight - taken));
    window.addEventListener("resize", resized);
    return () => window.removeEventListener("resize", resized);
  }, [taken, least]);
  return height;
}

/** How long something took, or has taken so far. */
export function Took({ from, to, live }: { from: number | null; to: number | null; live: boolean }) {
  const { language } = useWords();
  const now = useNow(live ? 1000 : 15_000);
  if (!from || (!to && !live)) return <>—</>;
  return <>{duration((to ?? now) - from, language)}</>;
}

export function Copy({ text }: { text: string }) {
  const { t } = useWords();
  const [done, setDone] = useState(false);
  const copy = async () => {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <Tooltip title={done ? t("copied") : t("copy")}>
      <Button size="small" type="text" aria-label={t("copy")} icon={done ? <CheckOutlined /> : <CopyOutlined />} onClick={() => void copy()} />
    </Tooltip>
  );
}

// The clipboard API is absent on plain http from another machine; a hidden text area still works there.
function copyBySelection(text: string) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Text to copy; `shown` stands for it where the whole would drown the page. */
export function Snippet({ text, shown = text, label, tall = false }: { text: string; shown?: string; label?: string; tall?: boolean }) {
  return (
    <div className={tall ? "snippet tall" : "snippet"} role="group" aria-label={label}>
      <pre tabIndex={tall ? 0 : undefined}>{shown}</pre>
      <Copy text={text} />
    </div>
  );
}

export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {rows
        .filter(([, it]) => it !== null && it !== undefined && it !== false)
        .map(([name, it]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{it}</dd>
          </div>
        ))}
    </dl>
  );
}

export function Empty({ title, text, command, children }: { title: string; text?: string; command?: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <strong>{title}</strong>
      {text ? <span>{text}</span> : null}
      {command ? <Snippet text={command} /> : null}
      {children}
    </div>
  );
}

/** The command that makes one more thing of a list, behind the button where people look for it. */
export function HowTo({ label, text, command }: { label: string; text: string; command: string }) {
  return (
    <Popover
      trigger="click"
      placement="bottomRight"
      content={
        <div className="stack" style={{ gap: 8, maxWidth: 520 }}>
          <span>{text}</span>
          <Snippet text={command} label={label} />
        </div>
      }
    >
      <Button type="primary">{label}</Button>
    </Popover>
  );
}

/** Text of the server, with what it puts between backticks set as code. */
function Coded({ text }: { text: string }) {
  return <>{text.split("`").map((it, at) => (at % 2 ? <code key={at}>{it}</code> : it))}</>;
}

export function Fault({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t, language } = useWords();
  const known = error instanceof ApiError ? error : null;
  const message = known?.kind === "unreachable" ? t("error.unreachable") : known ? known.message : String(error);
  const hint = known?.hint ?? (known?.kind === "unreachable" ? t("error.unreachableHint") : undefined);
  // The server speaks English; readers of another language get the kind of the failure in theirs first.
  const headline = language !== "en" && known && known.kind !== "unreachable" ? worded(language, "error", known.kind) : null;
  return (
    <div className="fault" role="alert">
      <div className="grow">
        {headline ? <b>{headline}</b> : null}
        <div>{headline ? <Coded text={message} /> : <b><Coded text={message} /></b>}</div>
        {hint ? <div><Coded text={hint} /></div> : null}
        {known?.requestId ? (
          <div className="muted mono">
            {t("error.request")} {known.requestId} <Copy text={known.requestId} />
          </div>
        ) : null}
      </div>
      {retry ? <Button onClick={retry}>{t("retry")}</Button> : null}
    </div>
  );
}

type Loaded<D> = { data: D | undefined; error: unknown; isPending: boolean; refetch: () => unknown };

/** Shows what came, a skeleton until then, or what went wrong with a way to try again. */
export function Wait<D>({ of, rows = 6, children }: { of: Loaded<D>; rows?: number; children: (data: D) => ReactNode }) {
  const { t } = useWords();
  if (of.data !== undefined) return <>{children(of.data)}</>;
  if (of.error) return <Fault error={of.error} retry={() => void of.refetch()} />;
  return (
    <div role="status" aria-label={t("loading")}>
      <Skeleton active paragraph={{ rows }} title={false} />
    </div>
  );
}

export function Pill({ tone, children }: { tone: "ok" | "run" | "wait" | "bad" | "off"; children: ReactNode }) {
  return <span className={`pill ${tone}`}>{children}</span>;
}

/** A control that may not be used says why, to the pointer and to the keyboard; one that may shows nothing more. */
export function Why({ not, children }: { not: string | null; children: ReactNode }) {
  // The same elements either way, so that a control keeps its focus when it becomes usable.
  return (
    <Tooltip title={not}>
      <span {...(not ? { tabIndex: 0, role: "group", "aria-label": not } : {})}>{children}</span>
    </Tooltip>
  );
}

export function KeyValues({ rows, empty, keys = "45%" }: { rows: [string, ReactNode][]; empty?: string; keys?: string | number }) {
  if (rows.length === 0) return <span className="muted">{empty ?? "—"}</span>;
  return (
    <table className="kv">
      <tbody>
        {rows.map(([key, value]) => (
          <tr key={key}>
            <th scope="row" style={{ width: keys }}>
              {key}
            </th>
            <td>{value}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
