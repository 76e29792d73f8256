import { describe, expect, it } from "vitest";
import { en } from "./en";
import { firstLanguage, translate } from "./index";
import { zh } from "./zh";

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
  it("are written in their language", () => {
    const same = (Object.keys(en) as (keyof typeof en)[]).filter((key) => en[key] === zh[key]);
    expect(same).toEqual(["export.csv", "export.parquet"]);
  });
});

describe("translate", () => {
  it("fills in values", () => {
    expect(translate("en", "items.count", { n: 3 })).toBe("3 items");
    expect(translate("zh-CN", "items.count", { n: 3 })).toBe("3 个样本");
  });
  it("begins with the stored language, else the browser's", () => {
    expect(firstLanguage("en", ["zh-CN"])).toBe("en");
    expect(firstLanguage(null, ["zh-TW", "en"])).toBe("zh-CN");
    expect(firstLanguage(null, ["fr"])).toBe("en");
  });
});
