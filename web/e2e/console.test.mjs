// The console in a real browser: one story through every noun, by roles and names as people and screen readers find them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, launch, server, signInLink } from "./kit.mjs";

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
    data.items.add(new File([blob], "drawn.png", { type: "image/png" }));
    return data;
  }, [endpoint.task.width, endpoint.task.height]);
  await drop.dispatchEvent("drop", { dataTransfer: transfer });
  const answer = page.getByRole("region", { name: "Answer" });
  await answer.getByText(/in the server/).waitFor();
  assert.match(await answer.innerText(), /%/);
  const random = page.getByRole("button", { name: /random test picture/ });
  if (await random.count()) {
    await random.click();
    await answer.getByText("Labelled").waitFor();
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
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("cell", { name, exact: true }).waitFor({ state: "detached" });
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

test("signing out ends the session", async () => {
  await page.getByRole("button", { name: /的账号$/ }).click();
  await page.getByRole("menuitem", { name: "退出登录" }).click();
  await page.waitForURL(/sign-in/);
  await page.goto(`${home}/jobs`);
  await page.waitForURL(/sign-in/);
});

test("no page failed or broke the content policy on the way", () => assert.deepEqual(faults, []));
