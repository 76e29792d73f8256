// The console under a sub-path, behind a real nginx: once with a proxy that passes the path on, once with one that takes it away.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { launch } from "./kit.mjs";

const need = (name) => process.env[name] ?? assert.fail(`${name} is not set; run scripts/test-console`);
const run = promisify(execFile);
const BASE = "/kaogong";

let folder, address, server, nginx, browser, token;
const proxies = {};

const freePort = () =>
  new Promise((done, failed) => {
    const probe = createServer().once("error", failed);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });

// What the operations guide says, on ports and in a folder of its own.
const config = (port, behind, own) => `
  server {
    listen 127.0.0.1:${port};
    location ${BASE}/ {
      proxy_pass ${behind};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
      client_max_body_size 0;
    }
    location / { return 404 "outside of ${own}"; }
  }`;

const cli = async (...words) => {
  const { stdout } = await run(need("KAOGONG_PROGRAM"), [...words, "--output", "json"], { env: { ...process.env, KAOGONG_HOME: folder, KAOGONG_URL: address, KAOGONG_TOKEN: token } });
  return JSON.parse(stdout);
};

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kaogong-base-"));
  const words = ["up", "--data-dir", folder, "--listen", "127.0.0.1:0", "--base-path", `${BASE}/`, "--trusted-proxy", "127.0.0.1"];
  server = spawn(need("KAOGONG_PROGRAM"), words, { env: { ...process.env, KAOGONG_HOME: folder }, stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await new Promise((done, failed) => {
    createInterface({ input: server.stdout }).once("line", (it) => done([it]));
    server.once("exit", () => failed(new Error("the server ended")));
  });
  address = JSON.parse(line).address;
  assert.ok(address.endsWith(BASE), address);
  token = JSON.parse(await readFile(join(folder, "profile.json"), "utf8")).token;
  await cli("datasets", "import", need("KAOGONG_DIGITS"), "--name", "digits");
  const plain = address.slice(0, -BASE.length);
  for (const [name, behind] of [["passing", plain], ["stripping", `${plain}/`]]) proxies[name] = { port: await freePort(), behind };
  const servers = Object.entries(proxies).map(([name, it]) => config(it.port, it.behind, name));
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((it) => `${it}_temp_path ${folder}/nginx-${it};`).join(" ");
  await writeFile(join(folder, "nginx.conf"), `daemon off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log; events {} http { access_log off; ${places} ${servers.join("")} }`);
  nginx = spawn(process.env.KAOGONG_NGINX ?? "/usr/sbin/nginx", ["-e", join(folder, "nginx.log"), "-c", join(folder, "nginx.conf")], { stdio: "inherit" });
  for (const it of Object.values(proxies)) await answers(`http://127.0.0.1:${it.port}${BASE}/healthz`);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  for (const child of [nginx, server]) {
    if (!child || child.exitCode !== null) continue;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    await ended;
  }
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function answers(url) {
  for (let tries = 0; tries < 200; tries++) {
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.fail(`${url} does not answer; see ${await readFile(join(folder, "nginx.log"), "utf8").catch(() => "")}`);
}

for (const name of ["passing", "stripping"])
  test(`one story behind a proxy that is ${name} the path`, async () => {
    const host = `http://127.0.0.1:${proxies[name].port}`;
    const at = `${host}${BASE}`;
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const faults = [];
    page.on("pageerror", (it) => faults.push(String(it)));
    page.on("request", (it) => new URL(it.url()).pathname.startsWith(`${BASE}/`) || faults.push(`outside of the base path: ${it.url()}`));
    page.on("response", (it) => it.status() === 404 && faults.push(`404: ${it.url()}`));

    await page.goto(`${at}/p/default/jobs`);
    await page.getByRole("textbox", { name: "User name" }).waitFor();
    assert.equal(new URL(page.url()).pathname, `${BASE}/sign-in`);
    const link = (await cli("open")).url;
    assert.ok(link.startsWith(`${address}/sign-in?code=`), link);
    await page.goto(`${at}/sign-in${new URL(link).search}`);
    await page.waitForURL(`${at}/p/default`);
    await page.getByRole("status").filter({ hasText: "Live" }).waitFor({ timeout: 30_000 });
    const cookies = await context.cookies(`${at}/`);
    assert.deepEqual(cookies.map((it) => it.path), [BASE]);

    await page.goto(`${at}/p/default/datasets/`);
    await page.getByRole("link", { name: "digits", exact: true }).click();
    const picture = page.getByRole("list", { name: "Items" }).getByRole("listitem").first().getByRole("link").locator("img");
    await picture.scrollIntoViewIfNeeded();
    await page.waitForFunction((it) => it.complete && it.naturalWidth > 0, await picture.elementHandle());
    await page.goBack();
    await page.waitForURL(`${at}/p/default/datasets/`);

    const made = await page.evaluate(async (base) => {
      const { csrf_token } = await (await fetch(`${base}/api/v1/session`)).json();
      const headers = { "content-type": "application/json", "x-csrf-token": csrf_token };
      const send = async (path, body) => (await fetch(`${base}${path}`, { method: "POST", headers, body: JSON.stringify(body) })).json();
      const job = await send("/api/v1/projects/default/jobs", { spec: { name: "watched", command: ["sh", "-c", "echo first; sleep 2; echo second"] } });
      const run = await send("/p/default/api/2.0/mlflow/runs/create", { experiment_id: "0", run_name: "linked" });
      return { job: job.name, run: run.run.info.run_id };
    }, BASE);
    await page.goto(`${at}/p/default/jobs`);
    await page.getByRole("link", { name: made.job, exact: true }).first().click();
    await page.getByRole("log").getByText("second").waitFor();
    await page.locator(".page-head").getByText("Succeeded").waitFor();
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
    assert.equal(Buffer.concat(await (await file.createReadStream()).toArray()).toString(), "first\nsecond\n");

    await page.goto(`${at}/p/default/#/experiments/0/runs/${made.run}`);
    await page.waitForURL(`${at}/p/default/runs/${made.run}`);
    await page.getByRole("heading", { name: "linked" }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: "linked" }).waitFor();

    const bearer = { headers: { authorization: `Bearer ${token}` } };
    for (const path of ["/p/default/v2/health/live", "/p/default/api/2.0/mlflow/experiments/get?experiment_id=0", "/v2/health/ready"])
      assert.equal((await fetch(`${at}${path}`, bearer)).status, 200, path);
    const description = await (await fetch(`${at}/api/v1/openapi.json`)).json();
    assert.deepEqual(description.servers.map((it) => it.url), [BASE]);
    if (process.env.KAOGONG_PICTURES) await page.screenshot({ path: join(process.env.KAOGONG_PICTURES, `base-path-${name}.png`) });
    assert.deepEqual(faults, []);
    await context.close();
  });

test("the server itself, without a proxy, leads to the same pages", async () => {
  const plain = address.slice(0, -BASE.length);
  const page = await browser.newPage();
  const link = new URL((await cli("open")).url);
  await page.goto(`${plain}/sign-in${link.search}`);
  await page.waitForURL(`${address}/p/default`);
  await page.getByText("What changed").waitFor();
  await page.goto(`${plain}/p/default/runs?q=1`);
  await page.waitForURL(`${address}/p/default/runs?q=1`);
  await page.close();
});
