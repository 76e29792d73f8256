// A job's log: what is there, then what comes. The newest lines are kept, within a bound.
import { useEffect, useRef, useState } from "react";
import type { LogPiece } from "../../api/types";
import { api } from "../../paths";

/** Lines kept in the page; the whole log can be downloaded. */
export const LINES_MAX = 50_000;

export type Log = { lines: string[]; dropped: number; ended: boolean; connected: boolean };

/** Lines after `text` came; the last line may be unfinished and grows, and a carriage return writes it anew. */
export function append(log: { lines: string[]; dropped: number }, text: string, max = LINES_MAX): { lines: string[]; dropped: number } {
  const parts = text.replaceAll("\r\n", "\n").split("\n");
  const lines = log.lines.length ? log.lines.slice() : [""];
  lines[lines.length - 1] = rewritten((lines.at(-1) ?? "") + (parts[0] ?? ""));
  for (const it of parts.slice(1)) lines.push(rewritten(it));
  const over = Math.max(0, lines.length - max);
  return { lines: over ? lines.slice(over) : lines, dropped: log.dropped + over };
}

// Progress bars write a line again and again; only its last form is shown. Colours of terminals are left out.
function rewritten(line: string): string {
  const at = line.lastIndexOf("\r", line.length - 2);
  // eslint-disable-next-line no-control-regex
  return (at >= 0 ? line.slice(at + 1) : line).replace(/\u001b\[[0-9;]*[A-Za-z]/g, "");
}

export function useLog(project: string, job: string, attempt: number | undefined): Log {
  const [log, setLog] = useState<Log>({ lines: [], dropped: 0, ended: false, connected: false });
  const offset = useRef(0);
  useEffect(() => {
    if (attempt === undefined) return;
    offset.current = 0;
    let pending = "";
    let frame = 0;
    setLog({ lines: [], dropped: 0, ended: false, connected: false });
    const source = new EventSource(api.jobLogStream(project, job, { attempt, offset: 0 }));
    const flush = () => {
      frame = 0;
      const text = pending;
      pending = "";
      if (text) setLog((now) => ({ ...now, ...append(now, text), connected: true }));
    };
    source.onopen = () => setLog((now) => ({ ...now, connected: true }));
    source.onerror = () => setLog((now) => ({ ...now, connected: false }));
    source.addEventListener("log", (message: MessageEvent<string>) => {
      const piece = JSON.parse(message.data) as LogPiece;
      // After a reconnect the stream may begin at its first byte again.
      if (piece.next_offset <= offset.current) return;
      offset.current = piece.next_offset;
      pending += piece.text;
      frame ||= requestAnimationFrame(flush);
    });
    source.addEventListener("end", () => {
      source.close();
      cancelAnimationFrame(frame);
      flush();
      setLog((now) => ({ ...now, ended: true }));
    });
    return () => {
      source.close();
      cancelAnimationFrame(frame);
    };
  }, [project, job, attempt]);
  return log;
}
