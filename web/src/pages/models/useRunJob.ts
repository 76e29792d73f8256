import { useQuery } from "@tanstack/react-query";
import { read } from "../../api/client";
import type { RunView } from "../../api/types";
import { api } from "../../paths";

/** The job that logged a run; null when there is none or the run is not known. */
export function useRunJob(project: string, run: string | null): string | null {
  const found = useQuery({ queryKey: [project, "runs", run], queryFn: () => read<RunView>(api.run(project, run ?? "")), enabled: run !== null });
  return found.data?.job_id ?? null;
}
