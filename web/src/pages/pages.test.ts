import { describe, expect, it } from "vitest";
import { everyRow } from "../api/hooks";
import type { EndpointView, ItemView, ModelView } from "../api/types";
import { jumpOf, ranked, searchWord } from "../components/Palette";
import { inProject } from "../lib/command";
import { isForRow } from "../ui/rows";
import { SECRET_NAME } from "./access/SecretsTab";
import { servable } from "./endpoints/EndpointForm";
import { snippets } from "./endpoints/snippets";
import { rowOf, shortest } from "./endpoints/TryRow";
import { basePathOf, underBasePath } from "../paths";
import { fromMlflow } from "./home/HomePage";
import { append, fit } from "./jobs/useLog";
import { cpuPercent } from "./jobs/UsageTab";
import { differs } from "./runs/ComparePage";
import { quoted } from "./runs/RunsPage";
import { safeNext } from "./session/SignInPage";

describe("secrets", () => {
  it("have the names that the server takes", () => {
    const good = ["HF_TOKEN", "a", "_", "a1", "x".repeat(64)];
    const bad = ["", "1a", "a-b", "a b", "密钥", "a\n", "x".repeat(65)];
    expect([...good, ...bad].filter((it) => SECRET_NAME.test(it))).toEqual(good);
  });
});

describe("endpoints", () => {
  it("serve aliases and the versions that have a file", () => {
    const version = (number: number, hash: string | null) => ({ number, hash }) as ModelView["versions"][number];
    const model = { name: "m", aliases: { champion: 2 }, versions: [version(3, null), version(2, "ab")] } as unknown as ModelView;
    expect(servable([model])).toEqual(["m@champion", "m@2"]);
    expect(servable([])).toEqual([]);
  });
});

describe("log", () => {
  it("joins pieces that end in the middle of a line", () => {
    const one = append({ lines: [], dropped: 0 }, "a\nb");
    expect(append(one, "c\nd\n").lines).toEqual(["a", "bc", "d", ""]);
  });
  it("shows the last form of a progress bar, without colours", () => {
    expect(append({ lines: [], dropped: 0 }, "1 %\r2 %\r3 %\n\u001b[31mred\u001b[0m").lines).toEqual(["3 %", "red"]);
  });
  it("is read again from its beginning where a piece does not follow", () => {
    expect([fit(0, { offset: 0 }), fit(40, { offset: 40 }), fit(40, { offset: 0 }), fit(40, { offset: 20 }), fit(40, { offset: 60 })]).toEqual(["follows", "follows", "begins", "lost", "lost"]);
  });
  it("keeps a bounded number of lines and counts the rest", () => {
    expect(append({ lines: [], dropped: 0 }, "a\nb\nc\nd", 2)).toEqual({ lines: ["c", "d"], dropped: 2 });
  });
});

describe("the numbers of a form", () => {
  it("have no more digits than they need", () => {
    expect([15.904999732971191, 0, -2.5, 3.4028234663852886e38, 16777217, 1 / 3].map(shortest)).toEqual([15.905, 0, -2.5, 3.4028235e38, 16777217, 0.33333333]);
  });
});

describe("usage", () => {
  it("is the share of one core between two samples", () => {
    expect(cpuPercent({ at: [0, 1000, 2000], cpu_ms: [0, 500, 2500], rss_bytes: [0, 0, 0] })).toEqual([null, 50, 200]);
  });
});

describe("runs", () => {
  it("quotes names that are not plain words", () => {
    expect([quoted("accuracy"), quoted("val/loss")]).toEqual(["accuracy", "`val/loss`"]);
  });
  it("sees a missing value as a difference", () => {
    expect([differs(["1", "1"]), differs(["1", undefined])]).toEqual([false, true]);
  });
});

describe("addresses that the MLflow client prints", () => {
  it("lead to runs", () => {
    expect(fromMlflow("p", "#/experiments/exp_1/runs/run_2")).toBe("/p/p/runs/run_2");
    expect(fromMlflow("p", "#/experiments/exp_1")).toBe("/p/p/runs?experiment=exp_1");
    expect(fromMlflow("p", "#/experiments/0/runs/run_2/artifacts?x=1")).toBe("/p/p/runs/run_2");
    expect(fromMlflow("p", "#/experiments/0/models/m-1")).toBe("/p/p/runs?experiment=0");
    expect(fromMlflow("p", "#/experiments")).toBe("/p/p/runs");
    expect(fromMlflow("p", "#other")).toBeNull();
    expect(fromMlflow("p", "")).toBeNull();
  });
  it("lead to models and comparisons", () => {
    expect(fromMlflow("p", "#/models/a%20b/versions/3")).toBe("/p/p/models/a%20b?version=3");
    expect(fromMlflow("p", "#/models/100%")).toBe("/p/p/models/100%25");
    expect(fromMlflow("p", "#/models")).toBe("/p/p/models");
    expect(fromMlflow("p", '#/compare-runs?runs=%5B%22run_1%22,%22run_2%22%5D&experiments=%5B%220%22%5D')).toBe("/p/p/runs/compare?run=run_1&run=run_2");
    expect(fromMlflow("p", "#/compare-runs?runs=x")).toBe("/p/p/runs/compare");
  });
});

describe("sign-in", () => {
  it("goes on to paths of this console only", () => {
    expect(["/p/a/jobs", "//evil.example", "/\\evil", "https://evil.example", null].map(safeNext)).toEqual(["/p/a/jobs", "/", "/", "/", "/"]);
  });
});

describe("palette", () => {
  it("wants every word, and shows first what begins with the text", () => {
    const entries = [{ label: "my digits", kind: "Dataset" }, { label: "digits", kind: "Model" }, { label: "wine", kind: "Dataset" }];
    expect(ranked(entries, "dig").map((it) => it.label)).toEqual(["digits", "my digits"]);
    expect(ranked(entries, "dig dataset").map((it) => it.label)).toEqual(["my digits"]);
  });
});

describe("what the palette asks the server for", () => {
  it("is the word that names something", () => {
    expect(["train digits job", "job", "run", "", "  "].map((it) => searchWord(it, ["Job", "Run"]))).toEqual(["digits", "job", "run", "", ""]);
  });
  it("is not an id, which leads there by itself", () => {
    const id = "job_01hzy3k8q2v9x4w7n5m6p0r1st";
    expect(searchWord(id, [])).toBe("");
    expect(jumpOf(` ${id.toUpperCase()} `)).toEqual({ noun: "job", id });
    expect([jumpOf("job_01"), jumpOf("ds_01hzy3k8q2v9x4w7n5m6p0r1st")]).toEqual([null, null]);
  });
});

describe("rows that lead somewhere", () => {
  const click = (found: string | null, more: object = {}) => isForRow({ button: 0, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, target: { closest: () => found } as unknown as EventTarget, ...more });
  it("leave alone what is in them, and clicks that mean another tab", () => {
    expect([click(null), click("a"), click(null, { ctrlKey: true }), click(null, { metaKey: true }), click(null, { button: 1 })]).toEqual([true, false, false, false, false]);
  });
});

describe("copied commands", () => {
  it("name the project, save the one that is meant anyway", () => {
    expect([inProject("default"), inProject("vision")]).toEqual(["", " --project vision"]);
  });
});

describe("lists that come in pieces", () => {
  it("are read to their end, also when they shrink meanwhile", async () => {
    const list = (total: number, really = total) => everyRow(({ offset = 0, limit = 0 }) => Promise.resolve({ items: Array.from({ length: Math.max(0, Math.min(limit, really - offset)) }, (_, at) => offset + at), total }));
    expect((await list(1203)).length).toBe(1203);
    expect((await list(1203, 700)).at(-1)).toBe(699);
    expect(await list(0)).toEqual([]);
  });
});

describe("trying an endpoint", () => {
  const endpoint = {
    name: "e",
    inputs: [{ name: "x", datatype: "FP32", shape: [-1, 2] }],
    outputs: [{ name: "p", datatype: "FP32", shape: [-1, 3] }],
    task: { kind: "table-regression", columns: [{ name: "it's", kind: "number", fill: 1.5 }, { name: "c", kind: "category", values: ["a"] }], input: "x", output: "p" },
  } as unknown as EndpointView;
  it("writes calls with the model's own tensors and columns", () => {
    const found = Object.fromEntries(snippets(endpoint, "vision", "http://h:1"));
    expect(found["tritonclient"]).toContain('InferenceServerClient("h:1/p/vision")');
    expect(found["tritonclient"]).toContain("np.zeros([1, 2], dtype=np.float32)");
    expect(found["curl"]).toContain(`it'\\''s`);
  });
  it("takes from a row what the model asks for", () => {
    const item = { values: { a: "2", b: null, extra: 1 } } as unknown as ItemView;
    expect(rowOf(item, [{ name: "a", kind: "number", fill: 0 }, { name: "b", kind: "category", values: [] }])).toEqual({ a: 2, b: null });
  });
});

describe("base path", () => {
  it("is read from the page's own base", () => {
    expect(["http://h:1/", "https://h/kaogong/", "https://h/a/b/"].map(basePathOf)).toEqual(["", "/kaogong", "/a/b"]);
  });
  it("is put before an address that lacks it, and only then", () => {
    const at = (pathname: string) => ({ pathname, search: "?q=1", hash: "#h" });
    expect(underBasePath("/kaogong", at("/p/x"))).toBe("/kaogong/p/x?q=1#h");
    expect(underBasePath("/kaogong", at("/kaogongs"))).toBe("/kaogong/kaogongs?q=1#h");
    expect(underBasePath("/kaogong", at("/kaogong/p/x"))).toBeNull();
    expect(underBasePath("/kaogong", at("/kaogong"))).toBeNull();
    expect(underBasePath("", at("/p/x"))).toBeNull();
  });
});
