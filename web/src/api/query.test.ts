import { describe, expect, it } from "vitest";
import { errorOf } from "./client";
import { movesWith } from "./live";
import { makeClient } from "./query";

describe("an answer that says that the session has ended", () => {
  const ended = () => Promise.reject(errorOf(401, "{}", null));
  it("makes stale who is signed in, whatever was asked", async () => {
    const client = makeClient();
    client.setQueryData(["me"], {});
    await client.fetchQuery({ queryKey: ["p", "jobs"], queryFn: ended }).catch(() => undefined);
    expect(client.getQueryState(["me"])?.isInvalidated).toBe(true);
  });
  it("leaves alone a project of that name", async () => {
    const client = makeClient();
    client.setQueryData(["me", "jobs"], {});
    await client.fetchQuery({ queryKey: ["p", "jobs"], queryFn: ended }).catch(() => undefined);
    expect(client.getQueryState(["me", "jobs"])?.isInvalidated).toBe(false);
  });
});

describe("a metric that came", () => {
  it("moves the run, its curves and the lists of runs, and nothing else", () => {
    const moves = (...key: unknown[]) => movesWith("p", new Set(["run_1"]), key);
    expect([moves("p", "runs", "run_1"), moves("p", "runs", "run_1", "curves"), moves("p", "runs", { offset: 0 })]).toEqual([true, true, true]);
    expect([moves("p", "runs", "run_2"), moves("p", "runs", "run_1", "artifacts"), moves("p", "runs", "experiments"), moves("q", "runs", "run_1"), moves("p", "jobs", "run_1")]).toEqual([false, false, false, false, false]);
  });
});
