// What pages ask the server for. Keys begin with project and noun, so that a change of a noun makes exactly its lists stale.
import { keepPreviousData, queryOptions, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api } from "../paths";
import { read, rememberCsrf } from "./client";
import type * as W from "./types";

/** Fallback where no event tells of a change, in milliseconds. */
const SLOW = 5_000;
/** The same for what a running run logs; the event stream mostly tells of it sooner. */
const RUNNING = 2_000;
/** The most rows that the server gives at once. */
const ROWS_MAX = 500;
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

export type Slice = { offset?: number; limit?: number };
export const useDatasets = (p: string, slice: Slice) =>
  useQuery({ queryKey: [p, "datasets", slice], queryFn: () => read<W.Page<W.DatasetView>>(api.datasets(p, slice)), placeholderData: keepPreviousData });
/** Every dataset of the project: the server cannot look for a name yet, so the palette does. */
export const useAllDatasets = (p: string) =>
  useQuery({ queryKey: [p, "datasets", { all: true }], queryFn: () => everyRow((slice) => read<W.Page<W.DatasetView>>(api.datasets(p, slice))) });
export const useDataset = (p: string, name: string) =>
  useQuery({ queryKey: [p, "datasets", name], queryFn: () => read<W.DatasetView>(api.dataset(p, name)) });
export const useVersions = (p: string, name: string, slice: Slice) =>
  useQuery({ queryKey: [p, "datasets", name, "versions", slice], queryFn: () => read<W.Page<W.VersionView>>(api.versions(p, name, slice)), placeholderData: keepPreviousData });
/** Versions to choose from, newest first; more of them when the list is scrolled to its end. */
export const useVersionChoices = (p: string, name: string) =>
  useInfiniteQuery({
    queryKey: [p, "datasets", name, "versions", "choices"],
    queryFn: ({ pageParam }) => read<W.Page<W.VersionView>>(api.versions(p, name, { offset: pageParam, limit: ROWS_MAX })),
    initialPageParam: 0,
    getNextPageParam: (last, all) => nextOffset(last.total, all.reduce((sum, it) => sum + it.items.length, 0), last.items.length),
  });
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
export const isLogging = (run: { status: string } | undefined) => run?.status === "RUNNING";
export const useExperiments = (p: string) =>
  useQuery({ queryKey: [p, "runs", "experiments"], queryFn: () => read<W.Page<W.ExperimentView>>(api.experiments(p)) });
export const useRuns = (p: string, filter: RunFilter, enabled = true) =>
  useQuery({
    queryKey: [p, "runs", filter],
    queryFn: () => read<W.Page<W.RunView>>(api.runs(p, filter)),
    placeholderData: keepPreviousData,
    enabled,
    refetchInterval: (it) => (it.state.data?.items.some(isLogging) ? RUNNING : false),
  });
export const runQuery = (p: string, id: string) =>
  queryOptions({ queryKey: [p, "runs", id], queryFn: () => read<W.RunView>(api.run(p, id)), refetchInterval: (it) => (isLogging(it.state.data) ? RUNNING : false) });
export const curvesQuery = (p: string, id: string, live: boolean) =>
  queryOptions({ queryKey: [p, "runs", id, "curves"], queryFn: () => read<W.CurveView[]>(api.runMetrics(p, id)), refetchInterval: live ? RUNNING : false });
export const useRun = (p: string, id: string) => useQuery(runQuery(p, id));
export const useCurves = (p: string, id: string, live: boolean) => useQuery(curvesQuery(p, id, live));
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
export const useSecrets = (p: string, enabled: boolean) =>
  useQuery({ queryKey: [p, "access", "secrets"], queryFn: () => read<W.Page<W.SecretView>>(api.secrets(p)), enabled });
export const useTokens = () => useQuery({ queryKey: ["tokens"], queryFn: () => read<W.Page<W.TokenView>>(api.tokens) });
export const useUsers = (enabled: boolean) => useQuery({ queryKey: ["users"], queryFn: () => read<W.Page<W.UserView>>(api.users), enabled });
export const useProjects = (enabled: boolean) =>
  useQuery({ queryKey: ["projects"], queryFn: () => read<W.Page<W.ProjectView>>(api.projects), enabled });
export const useAudit = (q: { before?: number; noun?: string | null; limit?: number }) =>
  useQuery({ queryKey: ["audit", q], queryFn: () => read<W.Page<W.EventView>>(api.audit(q)), placeholderData: keepPreviousData });

/** Where the rows after those that are there begin; undefined when there are none. */
export function nextOffset(total: number, have: number, came: number): number | undefined {
  return came > 0 && have < total ? have : undefined;
}

/** All rows of a list that the server gives in pieces. */
export async function everyRow<T>(piece: (slice: Slice) => Promise<W.Page<T>>): Promise<T[]> {
  const rows: T[] = [];
  for (let offset: number | undefined = 0; offset !== undefined; ) {
    const found: W.Page<T> = await piece({ offset, limit: ROWS_MAX });
    rows.push(...found.items);
    offset = nextOffset(found.total, rows.length, found.items.length);
  }
  return rows;
}

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
