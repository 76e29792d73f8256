// The project's event stream: every change makes the lists of its noun stale, a few times a second at most.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { api } from "../paths";
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

export type Live = "connecting" | "on" | "lost";

export function useLive(project: string): Live {
  const client = useQueryClient();
  const [connected, setConnected] = useState<Live>("connecting");
  useEffect(() => {
    const stale = new Set<string>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let lost = false;
    const flush = () => {
      timer = undefined;
      for (const noun of stale) void client.invalidateQueries({ queryKey: [project, noun] });
      stale.clear();
    };
    const source = new EventSource(api.eventStream(project));
    source.onopen = () => {
      setConnected("on");
      // What changed while nobody listened is not told again by every proxy; look once.
      if (lost) void client.invalidateQueries({ queryKey: [project] });
      lost = false;
    };
    source.onerror = () => {
      setConnected("lost");
      lost = true;
    };
    source.addEventListener("change", (message: MessageEvent<string>) => {
      const event = JSON.parse(message.data) as EventView;
      for (const noun of SHOWN_WITH[event.noun] ?? [event.noun]) stale.add(noun);
      stale.add("overview");
      timer ??= setTimeout(flush, 400);
    });
    return () => {
      source.close();
      clearTimeout(timer);
    };
  }, [client, project]);
  return connected;
}
