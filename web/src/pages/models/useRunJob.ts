import { useQuery } from "@tanstack/react-query";
import { runQuery } from "../../api/hooks";

/** The job that logged a run; null when there is none or the run is not known. */
export function useRunJob(project: string, run: string | null): string | null {
  const found = useQuery({ ...runQuery(project, run ?? ""), enabled: run !== null });
  return found.data?.job_id ?? null;
}
