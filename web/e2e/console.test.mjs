// The console in a real browser: one story through every noun, by roles and names as people and screen readers find them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, launch, post, server, signInLink } from "./kit.mjs";

let browser, page, home;
const faults = [];

before(async () => {
  browser = await launch();
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
  page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (it) => faults.push(String(it)));
  page.on("console", (it) => /Content Security Policy|Refused to/.test(it.text()) && faults.push(it.text()));
});
after(() => browser?.close());

const button = (name) => page.getByRole("button", { name });
const go = (name) => page.getByRole("navigation", { name: "Main navigation" }).getByRole("link", { name, exact: true }).click();

test("a stranger is asked to sign in, and the one-time link does", async () => {
  await page.goto(`${server()}/p/default/jobs`);
  await page.getByRole("textbox", { name: "User name" }).waitFor();
  assert.match(page.url(), /\/sign-in\?next=/);
  await page.goto(signInLink());
  await page.waitForURL(/\/p\/[^/]+$/);
  await page.getByText("What changed").waitFor();
  await page.getByRole("status").filter({ hasText: "Live" }).waitFor({ timeout: 30_000 });
  home = page.url();
});

test("a dataset shows its pictures with labels, and a class filters them", async () => {
  await go("Datasets");
  const { items } = await ask(page, "/datasets");
  const dataset = items.find((it) => it.kind === "images");
  assert.ok(dataset, "the server under test has an image dataset");
  await page.getByRole("link", { name: dataset.name, exact: true }).click();
  const grid = page.getByRole("list", { name: "Items" });
  await grid.getByRole("listitem").first().waitFor();
  const name = Object.keys(dataset.latest.summary.classes)[0];
  const total = Object.values(dataset.latest.summary.classes[name]).reduce((a, b) => a + b, 0);
  await page.getByRole("group", { name: "Classes" }).getByRole("button").filter({ hasText: name }).first().click();
  await page.getByText(`${total.toLocaleString("en")} items`).waitFor();
  assert.match(page.url(), /label=/);
  const first = grid.getByRole("listitem").first();
  await first.getByText(name, { exact: true }).waitFor();
  const loaded = first.getByRole("link").locator("img");
  await loaded.scrollIntoViewIfNeeded();
  await page.waitForFunction((it) => it.complete && it.naturalWidth > 0, await loaded.elementHandle());
});

test("an item opens large, and the arrow keys walk", async () => {
  await page.getByRole("list", { name: "Items" }).getByRole("link").first().click();
  await page.waitForURL(/\/items\//);
  const before = page.url();
  await button("Next").waitFor();
  await page.waitForFunction(() => !document.querySelector('button[aria-label="Next"]').disabled);
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((it) => location.href !== it, before);
  await page.getByRole("link", { name: /Original/ }).waitFor();
});

test("the grid is walked with the arrows, and space opens", async () => {
  await page.goBack();
  const links = page.getByRole("list", { name: "Items" }).getByRole("link");
  await links.first().focus();
  await page.keyboard.press("ArrowRight");
  const second = await links.nth(1).getAttribute("href");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), second);
  await page.keyboard.press(" ");
  await page.waitForURL((it) => it.pathname + it.search === second);
});

test("a row of a table opens as an item", async (t) => {
  const { items } = await ask(page, "/datasets");
  const dataset = items.find((it) => it.kind === "table");
  if (!dataset) return t.skip("the server under test has no table");
  await page.goto(`${home}/datasets/${dataset.name}`);
  await page.getByRole("link", { name: "2", exact: true }).click();
  await page.waitForURL(/\/items\//);
  const column = dataset.latest.summary.columns[0].name;
  await page.getByRole("rowheader", { name: column, exact: true }).waitFor();
  await page.getByText(`2 / ${dataset.latest.items.toLocaleString("en")}`).waitFor();
  assert.equal(await page.getByText("Size", { exact: true }).count(), 0);
  await button("Previous").click();
  await page.getByRole("group", { name: "This is the first item" }).waitFor();
});

test("a job is watched until it ends, without loading the page again", async () => {
  const job = await post(page, "/jobs", { spec: { name: `watched-${Date.now()}`, command: ["sh", "-c", "echo first; sleep 3; echo second"] } });
  await go("Jobs");
  await page.getByRole("link", { name: job.name, exact: true }).click();
  await page.evaluate(() => (window.stillTheSamePage = true));
  const log = page.getByRole("log");
  await log.getByText("first").waitFor();
  await button("Cancel job").waitFor();
  await log.getByText("second").waitFor();
  await page.locator(".page-head").getByText("Succeeded").waitFor();
  await page.getByText("Complete ·").waitFor();
  await button("Cancel job").waitFor({ state: "detached" });
  assert.ok(await page.evaluate(() => window.stillTheSamePage), "the page was not loaded again");
  assert.equal(await page.title(), `${job.name} · Kaogong`);
});

test("the whole log can be downloaded", async () => {
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
  const text = await (await file.createReadStream()).toArray();
  assert.equal(Buffer.concat(text).toString(), "first\nsecond\n");
});

test("a job's log is whole once it has ended", async () => {
  await go("Jobs");
  await page.getByText("Succeeded").first().waitFor();
  await page.getByRole("row").filter({ hasText: "Succeeded" }).first().getByRole("link").first().click();
  await page.getByRole("log").waitFor();
  await page.getByText("Complete ·").waitFor();
  assert.ok((await page.getByRole("log").innerText()).trim().length > 0);
  await page.getByRole("tab", { name: "Specification" }).click();
  await page.getByRole("group", { name: "Command" }).waitFor();
});

test("two runs are compared", async () => {
  await go("Runs");
  const boxes = page.getByRole("checkbox", { name: /^Select (?!all)/ });
  await boxes.nth(1).waitFor();
  await boxes.nth(0).click();
  await button("Compare (1)").waitFor();
  await boxes.nth(1).click();
  await button("Compare (2)").click();
  await page.waitForURL(/runs\/compare\?run=.*&run=/);
  await page.getByText("Parameters and metrics").waitFor();
  assert.ok((await page.getByText("differs", { exact: true }).count()) > 0, "two runs differ in something");
  await page.getByRole("img").first().waitFor();
});

test("a link in a row goes where it says, and the rest of the row to its own page", async () => {
  await go("Endpoints");
  const row = page.getByRole("row").filter({ hasText: "Ready" }).first();
  const version = row.getByRole("link", { name: /@\d+$/ });
  const model = (await version.innerText()).split("@")[0];
  await version.click();
  await page.getByRole("heading", { level: 1, name: model, exact: true }).waitFor();
  assert.match(page.url(), /\/models\//);
  await go("Endpoints");
  await row.getByRole("cell", { name: /^(onnxruntime|tract)$/ }).click();
  await page.waitForURL(/\/endpoints\/[^/?]+$/);
});

test("an endpoint answers a dropped picture", async () => {
  const { items } = await ask(page, "/endpoints");
  const endpoint = items.find((it) => it.state === "ready" && it.task?.kind === "image-classification");
  assert.ok(endpoint, "the server under test serves a picture model");
  await go("Endpoints");
  await page.getByRole("link", { name: endpoint.name, exact: true }).click();
  const drop = page.locator(".drop");
  await drop.waitFor();
  const transfer = await page.evaluateHandle(async ([width, height]) => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").fillRect(width / 4, 0, width / 4, height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    const data = new DataTransfer();
    data.items.add(new File([blob], `${"drawn_".repeat(30)}.png`, { type: "image/png" }));
    return data;
  }, [endpoint.task.width, endpoint.task.height]);
  await drop.dispatchEvent("drop", { dataTransfer: transfer });
  const answer = page.getByRole("region", { name: "Answer" });
  await answer.getByText(/in the server/).waitFor();
  assert.match(await answer.innerText(), /%/);
  const [over, right] = await drop.evaluate((it) => [it.scrollWidth - it.clientWidth, it.getBoundingClientRect().right]);
  assert.ok(over === 0 && right <= (await answer.boundingBox()).x, "the picture and its name stay beside the answer");
  const random = page.getByRole("button", { name: /random test picture/ });
  if (await random.count()) {
    await random.click();
    await answer.getByText("Labelled").waitFor();
  }
});

test("who may not call an endpoint is told so before trying", async () => {
  const { items } = await ask(page, "/endpoints");
  const endpoint = items.find((it) => it.state === "ready" && it.task?.kind === "image-classification");
  const [name, password] = [`e2e-${Date.now()}`, "a long pass phrase"];
  await post(page, "/api/v1/users", { name, password });
  await page.evaluate(async (it) => {
    const { csrf_token } = await (await fetch("/api/v1/session")).json();
    const members = `/api/v1/projects/${location.pathname.split("/")[2]}/members/${it}`;
    const answer = await fetch(members, { method: "PUT", headers: { "content-type": "application/json", "x-csrf-token": csrf_token }, body: JSON.stringify({ role: "viewer" }) });
    if (!answer.ok) throw new Error(await answer.text());
  }, name);
  const context = await browser.newContext({ locale: "en-US" });
  const theirs = await context.newPage();
  await theirs.goto(`${home}/endpoints/${endpoint.name}`);
  await theirs.getByRole("textbox", { name: "User name" }).fill(name);
  await theirs.locator("input[type=password]").fill(password);
  await theirs.getByRole("button", { name: "Sign in" }).click();
  await theirs.locator(".drop").getByText("This needs the role Annotator; yours is Viewer.").waitFor();
  assert.ok(await theirs.locator(".drop input").isDisabled());
  await context.close();
});

test("the tables of a dataset's summary stay within their column", async () => {
  const { items } = await ask(page, "/datasets");
  for (const dataset of items.filter((it) => it.latest)) {
    await page.goto(`${home}/datasets/${dataset.name}?tab=summary`);
    await page.locator(".facts").waitFor();
    await page.getByRole("tabpanel").locator("h2").first().waitFor();
    const over = await page.locator(".ant-tabs").first().evaluate((it) => {
      const edge = it.getBoundingClientRect().right + 1;
      const cells = [...it.querySelectorAll("td, th")].filter((cell) => !cell.closest(".ant-table-content, .ant-table-body"));
      return it.scrollWidth - it.clientWidth + cells.filter((cell) => cell.getBoundingClientRect().right > edge).length;
    });
    assert.equal(over, 0, dataset.name);
  }
});

test("the palette finds things, and keys go places", async () => {
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Search" }).fill("failed");
  await page.getByRole("option", { name: /Failed jobs/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/jobs\?state=failed/);
  await page.keyboard.press("g");
  await page.keyboard.press("m");
  await page.waitForURL(/\/models$/);
  const { items } = await ask(page, "/jobs");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Search" }).fill(items[0].id);
  await page.getByRole("option", { name: items[0].id }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL((it) => it.pathname.endsWith(items[0].id));
});

test("the address that the MLflow client prints after a run opens that run", async () => {
  const { items } = await ask(page, "/runs?limit=1");
  const run = items[0];
  await page.goto(`${home}/#/experiments/${run.experiment_id}/runs/${run.id}`);
  await page.waitForURL(`${home}/runs/${run.id}`);
  await page.getByRole("heading", { name: run.name }).waitFor();
  await page.goto(`${home}/#/experiments/${run.experiment_id}`);
  await page.getByRole("link", { name: run.name, exact: true }).first().waitFor();
  assert.match(page.url(), /\/runs\?experiment=/);
  await page.goto(`${server()}/#/experiments/0/runs/${run.id}`);
  await page.waitForURL(`${home}/runs/${run.id}`);
});

test("every page opens with a slash at its end, too", async () => {
  for (const [path, title] of [["", null], ["/datasets", "Datasets"], ["/jobs", "Jobs"], ["/runs", "Runs"], ["/models", "Models"], ["/endpoints", "Endpoints"], ["/access", "Access"]]) {
    const answer = await page.goto(`${home}${path}/`);
    assert.equal(answer.status(), 200, path);
    await (title ? page.getByRole("heading", { name: title, exact: true }) : page.getByText("What changed")).first().waitFor();
  }
});

test("a token's secret is shown once", async () => {
  await page.goto(`${home}/access?tab=tokens`);
  await button("Create token").click();
  const name = `e2e-${Date.now()}`;
  await page.getByRole("textbox", { name: /What it is for/ }).fill(name);
  await page.getByRole("dialog").getByRole("button", { name: "Create token" }).click();
  await page.getByRole("group", { name: "Secret" }).waitFor();
  await button("Done").click();
  await page.getByRole("button", { name: `Delete token ${name}` }).click();
  // What goes wrong is said in the question, which stays open for another try.
  const busy = { error: { kind: "unavailable", message: "the store is busy", request_id: "req_e2e" } };
  await page.route("**/api/v1/tokens/*", (it) => it.fulfill({ status: 503, json: busy }), { times: 1 });
  const sure = page.getByRole("dialog").getByRole("button", { name: "Delete" });
  await sure.click();
  await page.getByRole("dialog").getByRole("alert").getByText("the store is busy").waitFor();
  await sure.click();
  await page.getByRole("cell", { name, exact: true }).waitFor({ state: "detached" });
});

test("a secret is set, replaced and deleted, and its value never shown", async () => {
  await page.goto(`${home}/access?tab=secrets`);
  const name = `E2E_${Date.now()}`;
  await page.getByRole("button", { name: "Set secret" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("not-a-name");
  await dialog.getByLabel("Value").fill("correct horse");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("This is no name of a secret.").waitFor();
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByLabel("Value").fill("short");
  await dialog.getByRole("button", { name: "Save" }).click();
  // The server says why.
  await dialog.getByText(/a secret has 8 to \d+ bytes; this one has 5/).waitFor();
  await dialog.getByLabel("Value").fill("correct horse");
  await dialog.getByRole("button", { name: "Save" }).click();
  const cell = page.getByRole("cell", { name, exact: true });
  await cell.waitFor();
  await page.getByRole("button", { name: `New value of ${name}` }).click();
  await page.getByRole("dialog").getByLabel("Value").fill("battery staple");
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const { items } = await ask(page, "/secrets");
  assert.deepEqual(Object.keys(items.find((it) => it.name === name)).sort(), ["name", "updated_at", "updated_by"]);
  assert.doesNotMatch(await page.content(), /correct horse|battery staple/);
  await page.getByRole("button", { name: `Delete secret ${name}` }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await cell.waitFor({ state: "detached" });
});

test("an endpoint's batching is changed, and it goes on", async () => {
  const { items } = await ask(page, "/endpoints");
  const endpoint = items.find((it) => it.state === "ready" && it.batching === "auto");
  assert.ok(endpoint, "the server under test serves a model");
  await page.goto(`${home}/endpoints/${endpoint.name}`);
  for (const [word, batching] of [["Off", "off"], ["Automatic", "auto"]]) {
    await page.getByRole("button", { name: "Change endpoint" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Batching").click();
    await page.locator(".ant-select-item-option").filter({ hasText: word }).click();
    await dialog.getByRole("button", { name: "Change endpoint" }).click();
    await dialog.waitFor({ state: "detached", timeout: 60_000 });
    const changed = await ask(page, `/endpoints/${endpoint.name}`);
    assert.deepEqual([changed.state, changed.batching, changed.version], ["ready", batching, endpoint.version]);
    await page.locator("dl.facts").getByText(word, { exact: true }).waitFor();
  }
});

test("language and theme change at once and are kept", async () => {
  await page.getByRole("button", { name: /^Account of/ }).click();
  await page.getByRole("menuitem", { name: "简体中文" }).click();
  await page.getByRole("link", { name: "数据集", exact: true }).waitFor();
  await page.getByRole("button", { name: /的账号$/ }).click();
  await page.getByRole("menuitem", { name: "深色" }).click();
  await page.reload();
  await page.getByRole("link", { name: "数据集", exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
});

test("a thing that does not exist says so, with a number to quote", async () => {
  await page.goto(`${home}/datasets/there-is-no-such-dataset`);
  await page.getByRole("alert").getByText("请求编号").first().waitFor();
  await page.getByRole("button", { name: "重试" }).first().waitFor();
});

test("signing out ends the session, in every tab", async () => {
  const context = await browser.newContext({ storageState: await page.context().storageState() });
  const other = await context.newPage();
  await other.goto(home);
  await other.getByText("最近变更").waitFor();
  await page.getByRole("button", { name: /的账号$/ }).click();
  await page.getByRole("menuitem", { name: "退出登录" }).click();
  await page.waitForURL(/sign-in/);
  await page.goto(`${home}/jobs`);
  await page.waitForURL(/sign-in/);
  await other.getByRole("link", { name: "作业", exact: true }).click();
  await other.waitForURL(/sign-in/);
});

test("no page failed or broke the content policy on the way", () => assert.deepEqual(faults, []));
