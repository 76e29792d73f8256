// Wire types of the native API, field for field those of `crates/api`. Times are milliseconds since 1970, sizes are bytes.

export type Page<T> = { items: T[]; total: number };
export type Role = "viewer" | "annotator" | "developer" | "maintainer" | "owner";
export const ROLES: Role[] = ["viewer", "annotator", "developer", "maintainer", "owner"];
export const SCOPES = ["read", "infer", "write", "admin"];

export type UserView = { id: string; name: string; display_name: string; is_admin: boolean; is_disabled: boolean; created_at: number };
export type ProjectView = { id: string; name: string; title: string; organisation: string; role: string | null; created_at: number };
export type MeView = { user: UserView; project: string | null; projects: ProjectView[]; csrf_token?: string };
export type NewUserView = { user: UserView; password?: string };
export type MemberView = { user_id: string; name: string; display_name: string; role: string; since: number };
export type TokenView = {
  id: string;
  name: string;
  project: string | null;
  scopes: string[];
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
};
export type NewTokenView = { token: TokenView; secret: string };

export type ErrorView = { kind: string; message: string; hint?: string; request_id: string };

export type ColumnView = {
  name: string;
  kind: string;
  nulls: number;
  distinct: number | null;
  min: number | null;
  max: number | null;
  mean: number | null;
};
export type SummaryView = {
  kind: string;
  classes: Record<string, Record<string, number>>;
  splits: Record<string, number>;
  split_seed: number | null;
  columns: ColumnView[];
  target: string | null;
  pixels: { width_min: number; width_max: number; height_min: number; height_max: number } | null;
  skipped: { name: string; reason: string }[];
  skipped_total: number;
};
export type VersionView = {
  id: string;
  dataset: string;
  number: number;
  message: string;
  source: string;
  items: number;
  bytes: number;
  created_at: number;
  created_by: string | null;
  summary: SummaryView;
};
export type DatasetView = {
  id: string;
  name: string;
  kind: string;
  description: string;
  created_at: number;
  created_by: string | null;
  latest: VersionView | null;
  versions: number;
};
export type ItemView = {
  id: string;
  name: string;
  label: string | null;
  split: string | null;
  bytes: number;
  media_type: string | null;
  width: number | null;
  height: number | null;
  content_hash: string | null;
  values: Record<string, unknown> | null;
};

export type JobSpec = {
  name: string;
  command: string[];
  env: Record<string, string>;
  environment?: { lock: string; python?: string };
  code?: string;
  inputs: Record<string, string>;
  outputs: string[];
  resources: { cpus: number; memory_mib: number; time_limit_s: number; grace_s: number; log_bytes_max: number };
  retries: number;
};
export type AttemptView = {
  id: string;
  number: number;
  state: string;
  exit_code: number | null;
  reason: string | null;
  started_at: number | null;
  ended_at: number | null;
};
export type JobView = {
  id: string;
  name: string;
  state: string;
  reason: string | null;
  exit_code: number | null;
  cancel_asked: boolean;
  retries_left: number;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  created_by: string | null;
  spec: JobSpec;
  inputs: { alias: string; dataset: string; number: number; version_id: string }[];
  attempts: AttemptView[];
  runs: string[];
};
export type LogPiece = { offset: number; next_offset: number; text: string };
export type UsageView = { at: number[]; cpu_ms: number[]; rss_bytes: number[] };
export type ArtifactView = { path: string; hash: string; size: number };

export type ExperimentView = { id: string; name: string; runs: number; created_at: number; updated_at: number };
export type RunView = {
  id: string;
  name: string;
  status: string;
  experiment_id: string;
  experiment: string;
  user: string;
  started_at: number;
  ended_at: number | null;
  job_id: string | null;
  datasets: string[];
  params: Record<string, string>;
  metrics: Record<string, number | null>;
  tags: Record<string, string>;
  models: string[];
};
export type CurveView = { key: string; steps: number[]; at: number[]; values: (number | null)[] };

export type ModelVersionView = {
  id: string;
  model: string;
  number: number;
  status: string;
  source: string;
  run_id: string | null;
  hash: string | null;
  size: number | null;
  description: string;
  tags: Record<string, string>;
  datasets: string[];
  metrics: Record<string, number | null>;
  endpoints: string[];
  created_at: number;
};
export type ModelView = {
  id: string;
  name: string;
  description: string;
  aliases: Record<string, number>;
  tags: Record<string, string>;
  versions: ModelVersionView[];
  created_at: number;
  updated_at: number;
};

export type TensorView = { name: string; datatype: string; shape: number[] };
/** What a model is for, as its file says under `kaogong.task`. */
export type TaskView =
  | { kind: "image-classification"; width: number; height: number; channels: number; labels: string[]; input: string; output: string }
  | { kind: "table-classification"; columns: TaskColumn[]; labels: string[]; input: string; output: string }
  | { kind: "table-regression"; columns: TaskColumn[]; input: string; output: string };
export type TaskColumn = { name: string } & ({ kind: "number"; fill: number } | { kind: "category"; values: string[] });
export type EndpointView = {
  id: string;
  name: string;
  state: string;
  reason: string | null;
  model: string;
  version: number;
  engine: string;
  inputs: TensorView[];
  outputs: TensorView[];
  task: TaskView | null;
  stats: { succeeded: number; failed: number; p50_us: number | null; p99_us: number | null; per_second: number };
  created_at: number;
  created_by: string | null;
};
export type PredictionView = {
  label: string | null;
  value: number | null;
  top: { label: string; probability: number }[];
  queue_us: number;
  compute_us: number;
  total_us: number;
  model: string;
};

export type EventView = {
  seq: number;
  at: number;
  project: string | null;
  action: string;
  noun: string;
  object_id: string;
  object_name: string | null;
  actor: string;
  address: string | null;
  detail: unknown;
};
export type OverviewView = {
  counts: { datasets: number; jobs: number; runs: number; models: number; endpoints: number };
  running: JobView[];
  attention: { noun: string; id: string; name: string; text: string; at: number }[];
  changes: EventView[];
};
export type SystemView = {
  version: string;
  store: string;
  engines: { name: string; version: string }[];
  cpus: number;
  memory_bytes: number;
  limits: string;
  started_at: number;
};
