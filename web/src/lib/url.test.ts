import { describe, expect, it } from "vitest";
import { api, pageOf, pages, query } from "../paths";
import { oneOf, pageParam, withParams } from "./url";

describe("state in the address", () => {
  it("leaves out what is default and keeps the rest", () => {
    const now = new URLSearchParams("label=7&page=3");
    expect(withParams(now, { page: null, split: "test" }).toString()).toBe("label=7&split=test");
    expect(now.toString()).toBe("label=7&page=3");
  });
  it("reads pages and tabs, and falls back on nonsense", () => {
    expect(["2", "0", "-1", "x", "1.5"].map((it) => pageParam(new URLSearchParams({ page: it })))).toEqual([2, 1, 1, 1, 1]);
    expect(oneOf(new URLSearchParams("tab=use"), "tab", ["browse", "use"] as const, "browse")).toBe("use");
    expect(oneOf(new URLSearchParams("tab=evil"), "tab", ["browse", "use"] as const, "browse")).toBe("browse");
  });
});

describe("paths", () => {
  it("encodes names, so that text never becomes a path", () => {
    expect(pages.dataset("p", "a/b ?", { version: 2 })).toBe("/p/p/datasets/a%2Fb%20%3F?version=2");
    expect(api.jobArtifact("p", "job_1", "out/a b.onnx")).toBe("/api/v1/projects/p/jobs/job_1/artifacts/out/a%20b.onnx");
  });
  it("repeats lists and drops empty values", () => {
    expect(query({ key: ["a", "b"], x: "", y: null, z: 0 })).toBe("?key=a&key=b&z=0");
  });
  it("finds the page of what an event names", () => {
    expect(pageOf("p", "jobs", "job_1", "x")).toBe("/p/p/jobs/job_1");
    expect(pageOf("p", "models", "mv_1", "digits@2")).toBe("/p/p/models/digits");
    expect(pageOf("p", "unknown", "1", null)).toBeNull();
  });
});
