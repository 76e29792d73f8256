// What pages ask the server for. Keys begin with project and noun, so that a change of a noun makes exactly its lists stale.
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api } from "../paths";
import { read, rememberCsrf } from "./client";
import type * as W from "./types";

/** Fallback where no event tells of a change, in milliseconds. */
const SLOW = 5_000;
const active = new Set(["queued", "admitted", "starting", "running"]);
export const isActive = (state: string) => active.has(state);

export const useMe = () =>
  useQuery({
    queryKey: ["me"],
    queryFn: async () => {
      const me = await read<W.MeView>(api.session);
      rememberCsrf(me.csrf_token);
      return me;
    },
    staleTime: 60_000,
    retry: false,
  });

export const useSystem = () => useQuery({ queryKey: ["system"], queryFn: () => read<W.SystemView>(api.system), staleTime: 300_000 });
export const useOverview = (p: string) => useQuery({ queryKey: [p, "overview"], queryFn: () => read<W.OverviewView>(api.overview(p)) });

export const useDatasets = (p: string, enabled = true) =>
  useQuery({ queryKey: [p, "datasets"], queryFn: () => read<W.Page<W.DatasetView>>(api.datasets(p)), enabled });
export const useDataset = (p: string, name: string) =>
  useQuery({ queryKey: [p, "datasets", name], queryFn: () => read<W.DatasetView>(api.dataset(p, name)) });
export const useVersions = (p: string, name: string) =>
  useQuery({ queryKey: [p, "datasets", name, "versions"], queryFn: () => read<W.Page<W.VersionView>>(api.versions(p, name)) });
export const useVersion = (p: string, name: string, number: string) =>
  useQuery({ queryKey: [p, "datasets", name, "version", number], queryFn: () => read<W.VersionView>(api.version(p, name, number)) });

export type ItemFilter = { label?: string | null; split?: string | null; text?: string | null; offset?: number; limit?: number };
export const useItems = (p: string, name: string, number: number | undefined, filter: ItemFilter, enabled = true) =>
  useQuery({
    queryKey: [p, "items", name, number, filter],
    queryFn: () => read<W.Page<W.ItemView>>(api.items(p, name, number ?? 0, filter)),
    enabled: enabled && number !== undefined,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });
export const useItem = (p: string, name: string, number: number | undefined, item: string) =>
  useQuery({
    queryKey: [p, "items", name, number, item],
    queryFn: () => read<W.ItemView>(api.item(p, name, number ?? 0, item)),
    enabled: number !== undefined,
    staleTime: Infinity,
  });

export type JobFilter = { state?: string | null; text?: string | null; offset?: number; limit?: number };
export const useJobs = (p: string, filter: JobFilter, enabled = true) =>
  useQuery({ queryKey: [p, "jobs", filter], queryFn: () => read<W.Page<W.JobView>>(api.jobs(p, filter)), placeholderData: keepPreviousData, enabled });
export const useJob = (p: string, id: string, enabled = true) =>
  useQuery({ queryKey: [p, "jobs", id], queryFn: () => read<W.JobView>(api.job(p, id)), enabled });
export const useUsage = (p: string, id: string, attempt: number | undefined, live: boolean) =>
  useQuery({
    queryKey: [p, "jobs", id, "usage", attempt],
    queryFn: () => read<W.UsageView>(api.jobUsage(p, id, { attempt })),
    refetchInterval: live ? SLOW : false,
  });
export const useJobArtifacts = (p: string, id: string) =>
  useQuery({ queryKey: [p, "jobs", id, "artifacts"], queryFn: () => read<W.Page<W.ArtifactView>>(api.jobArtifacts(p, id)) });

export type RunFilter = { experiment?: string | null; filter?: string | null; order?: string | null; offset?: number; limit?: number };
export const useExperiments = (p: string) =>
  useQuery({ queryKey: [p, "runs", "experiments"], queryFn: () => read<W.Page<W.ExperimentView>>(api.experiments(p)) });
export const useRuns = (p: string, filter: RunFilter, enabled = true) =>
  useQuery({ queryKey: [p, "runs", filter], queryFn: () => read<W.Page<W.RunView>>(api.runs(p, filter)), placeholderData: keepPreviousData, enabled });
export const useRun = (p: string, id: string) =>
  useQuery({
    queryKey: [p, "runs", id],
    queryFn: () => read<W.RunView>(api.run(p, id)),
    refetchInterval: (it) => (it.state.data?.status === "RUNNING" ? SLOW : false),
  });
export const useCurves = (p: string, id: string, live: boolean) =>
  useQuery({
    queryKey: [p, "runs", id, "curves"],
    queryFn: () => read<W.CurveView[]>(api.runMetrics(p, id)),
    refetchInterval: live ? SLOW : false,
  });
export const useRunArtifacts = (p: string, id: string) =>
  useQuery({ queryKey: [p, "runs", id, "artifacts"], queryFn: () => read<W.Page<W.ArtifactView>>(api.runArtifacts(p, id)) });

export const useModels = (p: string, enabled = true) =>
  useQuery({ queryKey: [p, "models"], queryFn: () => read<W.Page<W.ModelView>>(api.models(p)), enabled });
export const useModel = (p: string, name: string, enabled = true) =>
  useQuery({ queryKey: [p, "models", name], queryFn: () => read<W.ModelView>(api.model(p, name)), enabled });
export const useEndpoints = (p: string, enabled = true, live = true) =>
  useQuery({
    queryKey: [p, "endpoints"],
    queryFn: () => read<W.Page<W.EndpointView>>(api.endpoints(p)),
    enabled,
    refetchInterval: live ? SLOW : false,
  });
export const useEndpoint = (p: string, name: string) =>
  useQuery({ queryKey: [p, "endpoints", name], queryFn: () => read<W.EndpointView>(api.endpoint(p, name)), refetchInterval: SLOW });

export const useMembers = (p: string) => useQuery({ queryKey: [p, "access", "members"], queryFn: () => read<W.Page<W.MemberView>>(api.members(p)) });
export const useTokens = () => useQuery({ queryKey: ["tokens"], queryFn: () => read<W.Page<W.TokenView>>(api.tokens) });
export const useUsers = (enabled: boolean) => useQuery({ queryKey: ["users"], queryFn: () => read<W.Page<W.UserView>>(api.users), enabled });
export const useProjects = (enabled: boolean) =>
  useQuery({ queryKey: ["projects"], queryFn: () => read<W.Page<W.ProjectView>>(api.projects), enabled });
export const useAudit = (q: { before?: number; noun?: string | null; limit?: number }) =>
  useQuery({ queryKey: ["audit", q], queryFn: () => read<W.Page<W.EventView>>(api.audit(q)), placeholderData: keepPreviousData });

/** A change on the server; what it made stale is asked for again. */
export function useChange<I, O>(work: (input: I) => Promise<O>, stale: unknown[][]) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: work,
    onSuccess: async () => {
      await Promise.all(stale.map((queryKey) => client.invalidateQueries({ queryKey })));
    },
  });
}
