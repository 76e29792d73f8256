// Names for the types that `npm run types` generates from openapi.json, which a test of the server keeps current.
import type { components } from "./schema";

/** The server writes absent values as `null` and never leaves a field out, save for those named in `Sparse`. */
type Full<T> = T extends (infer I)[]
  ? Full<I>[]
  : T extends object
    ? { [K in keyof T as string extends K ? K : K extends Sparse ? never : K]-?: Full<T[K]> } & { [K in keyof T as string extends K ? never : K extends Sparse ? K : never]?: NonNullable<T[K]> }
    : T;
type Sparse = "csrf_token" | "password" | "hint";
type Wire<K extends keyof components["schemas"]> = Full<components["schemas"][K]>;

export type Page<T> = { items: T[]; total: number };
export type Role = "viewer" | "annotator" | "developer" | "maintainer" | "owner";
export const ROLES: Role[] = ["viewer", "annotator", "developer", "maintainer", "owner"];
export const SCOPES = ["read", "infer", "write", "admin"];
export const BATCHING = ["auto", "on", "off"] as const;

export type UserView = Wire<"UserView">;
export type ProjectView = Wire<"ProjectView">;
export type MeView = Wire<"MeView">;
export type NewUserView = Wire<"NewUserView">;
export type MemberView = Wire<"MemberView">;
export type TokenView = Wire<"TokenView">;
export type NewTokenView = Wire<"NewTokenView">;
export type SecretView = Wire<"SecretView">;
export type ErrorView = Wire<"ErrorView">;

export type ColumnView = Wire<"ColumnView">;
export type SummaryView = Wire<"SummaryView">;
export type VersionView = Wire<"VersionView">;
export type DatasetView = Wire<"DatasetView">;
export type ItemView = Omit<Wire<"ItemView">, "values"> & { values: Record<string, unknown> | null };

export type AttemptView = Wire<"AttemptView">;
export type JobSpec = Wire<"JobSpec">;
export type JobView = Wire<"JobView">;
export type UsageView = Wire<"UsageView">;
export type ArtifactView = Wire<"ArtifactView">;
/** One piece of a log, as an event of the live stream; streams are not part of the description. */
export type LogPiece = { offset: number; next_offset: number; text: string };

export type ExperimentView = Wire<"ExperimentView">;
export type RunView = Wire<"RunView">;
export type CurveView = Wire<"CurveView">;
export type ModelVersionView = Wire<"ModelVersionView">;
export type ModelView = Wire<"ModelView">;

export type TensorView = Wire<"TensorView">;
/** What a model is for, as its file says under `kaogong.task`; the description leaves it open. */
export type TaskView =
  | { kind: "image-classification"; width: number; height: number; channels: number; labels: string[]; input: string; output: string }
  | { kind: "table-classification"; columns: TaskColumn[]; labels: string[]; input: string; output: string }
  | { kind: "table-regression"; columns: TaskColumn[]; input: string; output: string };
export type TaskColumn = { name: string } & ({ kind: "number"; fill: number } | { kind: "category"; values: string[] });
export type EndpointView = Omit<Wire<"EndpointView">, "task"> & { task: TaskView | null };
export type PredictionView = Wire<"PredictionView">;

export type EventView = Omit<Wire<"EventView">, "detail"> & { detail: unknown };
export type OverviewView = Omit<Wire<"OverviewView">, "changes"> & { changes: EventView[] };
export type SystemView = Wire<"SystemView">;
