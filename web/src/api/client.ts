// The one place that calls the server: adds the CSRF header, and turns every failure into an ApiError.
import type { ErrorView } from "./types";

export class ApiError extends Error {
  readonly kind: string;
  readonly hint: string | undefined;
  readonly requestId: string;
  readonly status: number;

  constructor(status: number, view: ErrorView) {
    super(view.message);
    this.status = status;
    this.kind = view.kind;
    this.hint = view.hint;
    this.requestId = view.request_id;
  }
}

const KINDS: Record<number, string> = {
  400: "invalid",
  401: "unauthenticated",
  403: "forbidden",
  404: "not_found",
  409: "conflict",
  413: "invalid",
  422: "invalid",
  429: "too_many",
  502: "unavailable",
  503: "unavailable",
  504: "unavailable",
};

/** The error of an answer: the envelope when there is one, else what the status alone says. */
export function errorOf(status: number, body: string, requestId: string | null): ApiError {
  try {
    const view = (JSON.parse(body) as { error?: Partial<ErrorView> }).error;
    if (view && typeof view.message === "string" && typeof view.kind === "string") {
      const found: ErrorView = { kind: view.kind, message: view.message, request_id: view.request_id ?? requestId ?? "" };
      if (view.hint) found.hint = view.hint;
      return new ApiError(status, found);
    }
  } catch {
    // Not the envelope: a proxy in between, or a server that is going down. The status is all there is.
  }
  const kind = KINDS[status] ?? (status >= 500 ? "bug" : "invalid");
  return new ApiError(status, { kind, message: `HTTP ${status}`, request_id: requestId ?? "" });
}

export function unreachable(cause: unknown): ApiError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ApiError(0, { kind: "unreachable", message: reason, request_id: "" });
}

let csrf: string | undefined;
export function rememberCsrf(token: string | undefined): void {
  csrf = token;
}

type Options = { method?: string; json?: unknown; body?: BodyInit; type?: string; signal?: AbortSignal };

export async function call(path: string, options: Options = {}): Promise<Response> {
  const method = options.method ?? "GET";
  const headers: Record<string, string> = { accept: "application/json" };
  if (method !== "GET" && csrf) headers["x-csrf-token"] = csrf;
  if (options.json !== undefined) headers["content-type"] = "application/json";
  else if (options.type) headers["content-type"] = options.type;
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      body: options.json !== undefined ? JSON.stringify(options.json) : (options.body ?? null),
      signal: options.signal ?? null,
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw unreachable(cause);
  }
  if (!answer.ok) throw errorOf(answer.status, await answer.text().catch(() => ""), answer.headers.get("x-request-id"));
  return answer;
}

export async function read<T>(path: string, options: Options = {}): Promise<T> {
  return (await (await call(path, options)).json()) as T;
}
