import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiError, call, errorOf, rememberCsrf } from "./client";

afterEach(() => vi.unstubAllGlobals());

describe("errors", () => {
  it("carry what the envelope says", () => {
    const body = JSON.stringify({ error: { kind: "conflict", message: "dataset `a` exists", hint: "choose another name", request_id: "req_1" } });
    expect(errorOf(409, body, null)).toMatchObject({ kind: "conflict", message: "dataset `a` exists", hint: "choose another name", requestId: "req_1", status: 409 });
  });
  it("are still told apart when a proxy answers in its own words", () => {
    expect(errorOf(502, "<html>", "req_2")).toMatchObject({ kind: "unavailable", requestId: "req_2" });
    expect(errorOf(500, "", null).kind).toBe("bug");
    expect(errorOf(401, "{}", null).kind).toBe("unauthenticated");
    expect(errorOf(418, "null", null).kind).toBe("invalid");
  });
  it("say that the server is away when nothing answers", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed")));
    await expect(call("/x")).rejects.toMatchObject({ kind: "unreachable" });
    await expect(call("/x")).rejects.toBeInstanceOf(ApiError);
  });
});

describe("calls", () => {
  it("send the CSRF token with changes only", async () => {
    const seen: [string, Record<string, string>][] = [];
    vi.stubGlobal("fetch", (_: string, init: { method: string; headers: Record<string, string> }) => {
      seen.push([init.method, init.headers]);
      return Promise.resolve(new Response("{}"));
    });
    rememberCsrf("secret");
    await call("/x");
    await call("/x", { method: "POST", json: {} });
    expect(seen[0]?.[1]).not.toHaveProperty("x-csrf-token");
    expect(seen[1]?.[1]["x-csrf-token"]).toBe("secret");
  });
});
