// A job's log: what is there, then what comes. The newest lines are kept, within a bound.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { openStream } from "../../api/stream";
import type { LogPiece } from "../../api/types";
import { api } from "../../paths";

/** Lines kept in the page; the whole log can be downloaded. */
export const LINES_MAX = 50_000;

export type Log = { lines: string[]; dropped: number; ended: boolean; connected: boolean; problem: string | null };

/** A server that has a problem says so at once; after this long without a word it has none any more. */
const QUIET_MS = 1_500;

const EMPTY: Log = { lines: [], dropped: 0, ended: false, connected: false, problem: null };

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

/**
 * How a piece goes with the `have` bytes before it: it follows them; it is the log's beginning once more, as from a
 * server that does not know how far a reader was; or it fits nowhere, and the log must be read again.
 */
export function fit(have: number, piece: { offset: number }): "follows" | "begins" | "lost" {
  if (piece.offset === have) return "follows";
  return piece.offset === 0 ? "begins" : "lost";
}

/** Follows one attempt's log; `change` gets how the log looks after each step. */
export function followLog(url: (offset: number) => string, change: (step: (now: Log) => Log) => void, onRefused: () => void): () => void {
  let offset = 0;
  let pending = "";
  let frame = 0;
  let healed: ReturnType<typeof setTimeout> | undefined;
  const drop = () => {
    offset = 0;
    pending = "";
    change((now) => ({ ...now, lines: [], dropped: 0 }));
  };
  const flush = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    const text = pending;
    pending = "";
    if (text) change((now) => ({ ...now, ...append(now, text), connected: true, problem: null }));
  };
  const stream = openStream({
    url: () => url(offset),
    on: {
      log: (data) => {
        const piece = JSON.parse(data) as LogPiece;
        const how = fit(offset, piece);
        if (how !== "follows") drop();
        if (how === "lost") return stream.restart();
        offset = piece.next_offset;
        pending += piece.text;
        frame ||= requestAnimationFrame(flush);
      },
      problem: (data) => {
        clearTimeout(healed);
        // What came before it is shown first, for text that comes says that the problem is over.
        flush();
        change((now) => ({ ...now, problem: (JSON.parse(data) as { message: string }).message }));
      },
      end: () => {
        stream.close();
        flush();
        change((now) => ({ ...now, ended: true, problem: null }));
      },
    },
    onOpen: () => {
      change((now) => ({ ...now, connected: true }));
      healed = setTimeout(() => change((now) => ({ ...now, problem: null })), QUIET_MS);
    },
    onLost: () => change((now) => ({ ...now, connected: false })),
    onRefused,
  });
  return () => {
    stream.close();
    clearTimeout(healed);
    cancelAnimationFrame(frame);
  };
}

export function useLog(project: string, job: string, attempt: number | undefined): Log {
  const client = useQueryClient();
  const [log, setLog] = useState<Log>(EMPTY);
  useEffect(() => {
    if (attempt === undefined) return;
    setLog(EMPTY);
    const expired = () => void client.invalidateQueries({ queryKey: ["me"], exact: true });
    return followLog((offset) => api.jobLogStream(project, job, { attempt, offset }), setLog, expired);
  }, [client, project, job, attempt]);
  return log;
}
