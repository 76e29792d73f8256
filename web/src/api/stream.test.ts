import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openStream, type Stream } from "./stream";

class FakeSource {
  static CLOSED = 2;
  static made: FakeSource[] = [];
  readyState = 0;
  onopen = () => undefined;
  onerror = () => undefined;
  heard = new Map<string, (it: { data: string }) => void>();
  constructor(readonly url: string) {
    FakeSource.made.push(this);
  }
  addEventListener(name: string, act: (it: { data: string }) => void) {
    this.heard.set(name, act);
  }
  close() {
    this.readyState = 2;
  }
  refuse() {
    this.readyState = 2;
    this.onerror();
  }
}

const page = { hidden: false, seen: () => undefined as void };
const said: string[] = [];
let stream: Stream;
const newest = () => FakeSource.made.at(-1) as FakeSource;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSource.made = [];
  said.length = 0;
  page.hidden = false;
  vi.stubGlobal("EventSource", FakeSource);
  vi.stubGlobal("document", {
    get hidden() {
      return page.hidden;
    },
    addEventListener: (_: string, act: () => void) => (page.seen = act),
    removeEventListener: () => (page.seen = () => undefined),
  });
  stream = openStream({
    url: () => `/s?n=${FakeSource.made.length}`,
    on: { news: (it) => said.push(it) },
    onOpen: (gap) => said.push(gap ? "open after a gap" : "open"),
    onLost: () => said.push("lost"),
    onRefused: () => said.push("refused"),
  });
});
afterEach(() => {
  stream.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a stream", () => {
  it("leaves a broken connection to the browser", () => {
    newest().onopen();
    newest().onerror();
    vi.advanceTimersByTime(60_000);
    expect(FakeSource.made).toHaveLength(1);
    expect(said).toEqual(["open", "lost"]);
  });
  it("comes back after a refusal, more and more slowly, and fast again once it was heard", () => {
    for (const wait of [2, 4, 8, 16, 30, 30]) {
      const before = FakeSource.made.length;
      newest().refuse();
      vi.advanceTimersByTime(wait * 1000 - 1);
      expect(FakeSource.made).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(FakeSource.made).toHaveLength(before + 1);
    }
    newest().onopen();
    newest().refuse();
    vi.advanceTimersByTime(2000);
    expect(FakeSource.made).toHaveLength(8);
    expect(said.filter((it) => it === "refused")).toHaveLength(7);
    expect(said.filter((it) => it.startsWith("open"))).toEqual(["open after a gap"]);
  });
  it("rests while nobody looks, and begins anew with an address of that moment", () => {
    newest().onopen();
    page.hidden = true;
    page.seen();
    expect(newest().readyState).toBe(2);
    page.hidden = false;
    page.seen();
    newest().onopen();
    expect(FakeSource.made.map((it) => it.url)).toEqual(["/s?n=0", "/s?n=1"]);
    expect(said).toEqual(["open", "open after a gap"]);
  });
  it("hears nothing of a connection that it has left", () => {
    const first = newest();
    stream.restart();
    first.heard.get("news")?.({ data: "late" });
    newest().heard.get("news")?.({ data: "now" });
    expect(said).toEqual(["now"]);
  });
  it("does not come back once closed", () => {
    newest().refuse();
    stream.close();
    vi.advanceTimersByTime(60_000);
    page.seen();
    expect(FakeSource.made).toHaveLength(1);
  });
});
