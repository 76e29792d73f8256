// State of a page lives in its address: what is read from it is always valid, what is default is left out.
import { useCallback } from "react";
import { useSearchParams } from "react-router";

export function withParams(now: URLSearchParams, change: Record<string, string | number | null | undefined>): URLSearchParams {
  const next = new URLSearchParams(now);
  for (const [key, value] of Object.entries(change)) {
    if (value === null || value === undefined || value === "") next.delete(key);
    else next.set(key, String(value));
  }
  return next;
}

export function pageParam(params: URLSearchParams, key = "page"): number {
  const value = Number(params.get(key));
  return Number.isInteger(value) && value >= 1 ? value : 1;
}

export function oneOf<T extends string>(params: URLSearchParams, key: string, allowed: readonly T[], otherwise: T): T {
  const value = params.get(key) as T | null;
  return value !== null && allowed.includes(value) ? value : otherwise;
}

export function useUrl() {
  const [params, setParams] = useSearchParams();
  const set = useCallback(
    (change: Record<string, string | number | null | undefined>) => setParams((now) => withParams(now, change), { replace: true }),
    [setParams],
  );
  return [params, set] as const;
}
