import { describe, expect, it } from "vitest";
import { bins } from "./bins";
import { csv, fileName } from "./csv";
import { bytes, count, duration, metric, microseconds, percent, relative, shortId } from "./format";
import { headline } from "./headline";
import { sameLines } from "./lines";
import { smooth } from "./smooth";
import { neighbour } from "./walk";

describe("numbers", () => {
  it("groups thousands", () => {
    expect(count(1234567, "en")).toBe("1,234,567");
    expect(count(1234567, "zh-CN")).toBe("1,234,567");
  });
  it("writes sizes with three figures in binary units", () => {
    expect([0, 1023, 1024, 1536, 10 * 1024 ** 2, 1024 ** 3 - 1].map(bytes)).toEqual(["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "10.0 MiB", "1.00 GiB"]);
  });
  it("writes metrics with four figures, and a dash for what is not a number", () => {
    expect([0.123456, 12, 1e-7, 123456789, null, undefined].map(metric)).toEqual(["0.1235", "12", "1.000e-7", "1.235e+8", "—", "—"]);
  });
  it("writes latencies in the unit that fits", () => {
    expect([999, 1500, 2_500_000, null].map(microseconds)).toEqual(["999 µs", "1.5 ms", "2.5 s", "—"]);
  });
  it("never rounds an unsure answer up to certain", () => {
    expect([0, 0.5, 0.99995, 1, 0.0001, 0.00001].map(percent)).toEqual(["0 %", "50.0 %", "100.00 %", "100 %", "0.01 %", "< 0.01 %"]);
  });
});

describe("times", () => {
  it("says a span in its two largest units", () => {
    expect([duration(0, "en"), duration(20, "en"), duration(20, "zh-CN")]).toEqual(["0.0 s", "< 0.1 s", "< 0.1 秒"]);
    expect(duration(1500, "en")).toBe("1.5 s");
    expect(duration(61_000, "en")).toBe("1 min 1 s");
    expect(duration(3_600_000, "en")).toBe("1 h");
    expect(duration(90_061_000, "en")).toBe("1 d 1 h");
    expect(duration(61_000, "zh-CN")).toBe("1 分 1 秒");
  });
  it("says how long ago in the reader's language", () => {
    const now = 1_700_000_000_000;
    expect(relative(now - 1000, now, "en")).toBe("now");
    expect(relative(now - 120_000, now, "en")).toBe("2 min. ago");
    expect(relative(now - 2 * 86_400_000, now, "zh-CN")).toBe("前天");
  });
});

describe("the rest", () => {
  it("shows first what says most about a model", () => {
    expect(headline({ epochs: 3, train_loss: 0.1, validation_accuracy: 0.9 }, 2)).toBe("validation_accuracy 0.9 · train_loss 0.1");
  });
  it("shortens ids but keeps their kind", () => {
    expect(shortId("job_01hzabcdefghijkl")).toBe("job_…ghijkl");
    expect(shortId("short")).toBe("short");
  });
  it("quotes cells where it must", () => {
    expect(csv([["a", 'b"c', null], ["x,y", 1, 2]])).toBe('a,"b""c",\n"x,y",1,2\n');
  });
  it("names files in any script", () => {
    expect(["val/loss (每步)", "内存", "../..", "a.b-c"].map(fileName)).toEqual(["val-loss-每步", "内存", "chart", "a.b-c"]);
  });
  it("sees whether lines have changed", () => {
    const line = (...y: (number | null)[]) => [{ name: "a", x: y.map((_, at) => at), y }];
    expect([sameLines(line(1, NaN), line(1, NaN)), sameLines(line(1), line(1, 2)), sameLines(line(1), line(null)), sameLines([], line())]).toEqual([true, false, false, false]);
  });
  it("walks a grid without leaving it", () => {
    const from = (key: string) => neighbour(key, 4, 3, 8);
    expect([from("ArrowLeft"), from("ArrowRight"), from("ArrowUp"), from("ArrowDown"), from("Enter")]).toEqual([3, 5, 1, 7, null]);
    expect([neighbour("ArrowUp", 1, 3, 8), neighbour("ArrowDown", 5, 3, 8), neighbour("ArrowRight", 7, 3, 8)]).toEqual([null, null, null]);
  });
  it("counts values in bins, also when all are equal", () => {
    expect(bins([0, 1, 2, 3], 2)).toEqual([2, 2]);
    expect(bins([5, 5], 3)).toEqual([2, 0, 0]);
  });
  it("smooths without drifting to zero at the start, and keeps gaps", () => {
    expect(smooth([4, null, 4], 0.9).map((it) => (it === null ? null : Math.round(it * 1e6) / 1e6))).toEqual([4, null, 4]);
    expect(smooth([1, 2], 0)).toEqual([1, 2]);
  });
});
