import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { en } from "./en";
import { firstLanguage, translate, worded } from "./index";
import { zh } from "./zh";

const events = new URL("../../../crates/domain/src/events.rs", import.meta.url);
// Words that are picked by a number are for languages that have a plural.
const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((it) => it[1]).sort();

describe("dictionaries", () => {
  it("have the same keys", () => {
    expect(Object.keys(zh).sort()).toEqual(Object.keys(en).sort());
  });
  it("fill the same holes, and leave no text empty", () => {
    for (const key of Object.keys(en) as (keyof typeof en)[]) {
      expect(holes(zh[key]), key).toEqual(holes(en[key]));
      expect(zh[key].trim(), key).not.toBe("");
    }
  });
  it("name every state, role and scope", () => {
    for (const it of ["queued", "admitted", "starting", "running", "succeeded", "failed", "cancelled", "lost", "RUNNING", "FINISHED", "KILLED", "ready", "loading"]) expect(en).toHaveProperty([`state.${it}`]);
    for (const it of ["viewer", "annotator", "developer", "maintainer", "owner"]) expect(en).toHaveProperty([`role.${it}.may`]);
  });
  it("have words for every action", () => {
    const actions = [...readFileSync(events, "utf8").matchAll(/^ {4}\w+ = \w+ "([a-z_]+\.[a-z_]+)";/gm)].map((it) => it[1] ?? "");
    expect(actions.length).toBeGreaterThan(60);
    for (const it of actions) {
      expect(worded("en", "action", it), it).not.toBe(it);
      expect(worded("zh-CN", "action", it), it).toMatch(/\p{Script=Han}/u);
    }
  });
  it("are written in their language", () => {
    const same = (Object.keys(en) as (keyof typeof en)[]).filter((key) => en[key] === zh[key]);
    expect(same).toEqual(["export.csv", "export.parquet"]);
  });
});

describe("codes", () => {
  it("are shown as they are when there is no word for them yet", () => {
    expect([worded("zh-CN", "state", "running"), worded("zh-CN", "state", "paused")]).toEqual(["运行中", "paused"]);
  });
});

describe("translate", () => {
  it("fills in values", () => {
    expect(translate("en", "items.count", { n: 3 })).toBe("3 items");
    expect(translate("zh-CN", "items.count", { n: 3 })).toBe("3 个样本");
  });
  it("picks the word that goes with the number", () => {
    expect([0, 1, 2, "1,000"].map((n) => translate("en", "items.count", { n }))).toEqual(["0 items", "1 item", "2 items", "1,000 items"]);
  });
  it("begins with the stored language, else the browser's", () => {
    expect(firstLanguage("en", ["zh-CN"])).toBe("en");
    expect(firstLanguage(null, ["zh-TW", "en"])).toBe("zh-CN");
    expect(firstLanguage(null, ["fr"])).toBe("en");
  });
});
