// The project's event stream: every change makes the lists of its noun stale, a few times a second at most.
import { type Query, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api } from "../paths";
import { openStream } from "./stream";
import type { EventView } from "./types";

/** Nouns whose lists show things of the named noun. */
export const SHOWN_WITH: Record<string, string[]> = {
  datasets: ["datasets"],
  jobs: ["jobs"],
  runs: ["runs", "jobs", "models"],
  models: ["models", "runs"],
  endpoints: ["endpoints", "models"],
  access: ["access"],
};

/** How long changes are gathered before they are asked for, in milliseconds. */
const GATHER = 400;
/** The same for metrics, which a run logs all the time. */
const GATHER_METRICS = 1_000;

export type Live = "connecting" | "on" | "lost";

/** Whether what a query holds moves when these runs log a metric: the runs, their curves, and the lists of runs. */
export function movesWith(project: string, runs: ReadonlySet<string>, key: readonly unknown[]): boolean {
  const [of, noun, which, part] = key;
  if (of !== project || noun !== "runs") return false;
  return typeof which === "string" ? runs.has(which) && part !== "artifacts" : typeof which === "object";
}

/** Calls `work` with all that was put in, a little after the first of it came. */
function gather(afterMs: number, work: (all: Set<string>) => void) {
  let all = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    const now = all;
    all = new Set();
    timer = undefined;
    work(now);
  };
  return {
    put: (...names: string[]) => {
      for (const it of names) all.add(it);
      timer ??= setTimeout(flush, afterMs);
    },
    drop: () => clearTimeout(timer),
  };
}

function follow(client: QueryClient, project: string, setLive: (it: Live) => void) {
  const changes = gather(GATHER, (nouns) => {
    for (const noun of nouns) void client.invalidateQueries({ queryKey: [project, noun] });
  });
  const metrics = gather(GATHER_METRICS, (runs) => {
    const predicate = (it: Query) => movesWith(project, runs, it.queryKey);
    // An answer on its way is waited for: asking anew each time would never end where answers are slow.
    void client.invalidateQueries({ predicate }, { cancelRefetch: false });
  });
  const stream = openStream({
    url: () => api.eventStream(project),
    on: {
      change: (data) => {
        const event = JSON.parse(data) as EventView;
        changes.put("overview", ...(SHOWN_WITH[event.noun] ?? [event.noun]));
      },
      metrics: (data) => metrics.put((JSON.parse(data) as { run_id: string }).run_id),
    },
    onOpen: (gap) => {
      setLive("on");
      // What changed while nobody listened is not told again; look once.
      if (gap) void client.invalidateQueries({ queryKey: [project] });
    },
    onLost: () => setLive("lost"),
    onRefused: () => void client.invalidateQueries({ queryKey: ["me"], exact: true }),
  });
  return () => {
    stream.close();
    changes.drop();
    metrics.drop();
  };
}

export function useLive(project: string): Live {
  const client = useQueryClient();
  const [live, setLive] = useState<Live>("connecting");
  useEffect(() => follow(client, project, setLive), [client, project]);
  return live;
}
