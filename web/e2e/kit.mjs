// A browser, and the two addresses that every script here is given: the server, and a link that signs in once.
import { chromium } from "playwright-core";

const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; see web/README.md`);
  return value;
};

export const server = () => need("KAOGONG_URL").replace(/\/$/, "");
/** The link of `kaogong open`, moved to the address under test. */
export const signInLink = () => {
  const link = new URL(need("KAOGONG_SIGN_IN_CODE_URL"), server());
  return `${server()}${link.pathname}${link.search}`;
};

export const launch = () =>
  chromium.launch({
    executablePath: process.env.KAOGONG_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });

/** Lists of the project, asked for by the page itself, so that its session is used. */
export const ask = (page, path) =>
  page.evaluate(async (it) => {
    const answer = await fetch(`/api/v1/projects/${location.pathname.split("/")[2]}${it}`);
    if (!answer.ok) throw new Error(`${it}: ${answer.status}`);
    return answer.json();
  }, path);

/** A change, asked for by the page itself; `path` is below the project unless it begins with `/api`. */
export const post = (page, path, json = {}) =>
  page.evaluate(async ([it, body]) => {
    const { csrf_token } = await (await fetch("/api/v1/session")).json();
    const answer = await fetch(it.startsWith("/api") ? it : `/api/v1/projects/${location.pathname.split("/")[2]}${it}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf-token": csrf_token },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${it}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }, [path, json]);
