// State of a page lives in its address: what is read from it is always valid, what is default is left out.
import { useCallback, useEffect, useRef, useState } from "react";
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
    // Read from the address itself: of two changes in one moment, the second must not undo the first.
    (change: Record<string, string | number | null | undefined>) => setParams(() => withParams(new URLSearchParams(location.search), change), { replace: true }),
    [setParams],
  );
  return [params, set] as const;
}

/** How long typing must pause before it is asked for, in milliseconds. */
const PAUSE = 250;

/** The value once it has stayed the same for a moment. */
export function useSettled<T>(value: T): T {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => set(value), PAUSE);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

/** A text field that is written to the address when typing pauses, and follows the address when that changes elsewhere. */
export function useTyped(key: string) {
  const [params, setUrl] = useUrl();
  const inUrl = params.get(key) ?? "";
  const [typed, setTyped] = useState(inUrl);
  // What this field wrote last: it comes back as a change of the address, by which time more may have been typed.
  const written = useRef(inUrl);
  useEffect(() => {
    if (inUrl === written.current) return;
    written.current = inUrl;
    setTyped(inUrl);
  }, [inUrl]);
  useEffect(() => {
    if (typed === written.current) return;
    const timer = setTimeout(() => {
      written.current = typed;
      setUrl({ [key]: typed, page: null });
    }, PAUSE);
    return () => clearTimeout(timer);
  }, [typed, key, setUrl]);
  return [typed, setTyped] as const;
}
