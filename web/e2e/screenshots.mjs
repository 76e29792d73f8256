// Pictures of every page in both languages, themes and widths: node e2e/screenshots.mjs FOLDER [quick]
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ask, launch, server, signInLink } from "./kit.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: node e2e/screenshots.mjs FOLDER [quick]");
mkdirSync(folder, { recursive: true });
const quick = process.argv[3] === "quick";

const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
const page = await context.newPage();
await page.goto(server() + "/sign-in");
await page.getByRole("textbox", { name: "User name" }).waitFor();
await page.screenshot({ path: join(folder, "sign-in-en-light-1280.png") });
await page.goto(signInLink());
await page.waitForURL(/\/p\/[^/]+$/);
const base = new URL(page.url()).pathname;

const pages = { home: "" };
const list = async (noun) => (await ask(page, `/${noun}`)).items;
for (const noun of ["datasets", "jobs", "runs", "models", "endpoints"]) pages[noun] = `/${noun}`;
for (const it of await list("datasets")) {
  if (pages[`dataset-${it.kind}`]) continue;
  pages[`dataset-${it.kind}`] = `/datasets/${encodeURIComponent(it.name)}`;
  pages[`dataset-${it.kind}-summary`] = `/datasets/${encodeURIComponent(it.name)}?tab=summary`;
  const found = (await ask(page, `/datasets/${encodeURIComponent(it.name)}/versions/${it.latest.number}/items?limit=1`)).items[0];
  if (found) pages[`item-${it.kind}`] = `/datasets/${encodeURIComponent(it.name)}/items/${found.id}`;
}
const [job] = await list("jobs");
if (job) for (const tab of ["log", "usage", "spec"]) pages[`job-${tab}`] = `/jobs/${job.id}?tab=${tab}`;
const runs = await list("runs");
const curved = runs.find((it) => Object.keys(it.metrics).length > 3) ?? runs[0];
if (curved) pages.run = `/runs/${curved.id}`;
if (runs.length > 1) pages.compare = `/runs/compare?run=${runs[0].id}&run=${runs[1].id}`;
const [model] = await list("models");
if (model) pages.model = `/models/${encodeURIComponent(model.name)}`;
for (const it of await list("endpoints")) pages[`endpoint-${it.task?.kind ?? "tensors"}`] = `/endpoints/${encodeURIComponent(it.name)}`;
for (const tab of ["members", "tokens", "users", "projects", "audit"]) pages[`access-${tab}`] = `/access?tab=${tab}`;

const looks = quick
  ? [["en", "light", 1280], ["zh-CN", "dark", 1920]]
  : ["en", "zh-CN"].flatMap((language) => ["light", "dark"].flatMap((theme) => [1280, 1920].map((width) => [language, theme, width])));
for (const [language, theme, width] of looks) {
  await page.setViewportSize({ width, height: width === 1280 ? 800 : 1080 });
  await page.evaluate(([l, t]) => {
    localStorage.setItem("kaogong.language", l);
    localStorage.setItem("kaogong.theme", t);
  }, [language, theme]);
  for (const [name, path] of Object.entries(pages)) {
    await page.goto(server() + base + path);
    await page.locator("h1").first().waitFor();
    await page.waitForFunction(() => !document.querySelector(".ant-skeleton") && [...document.images].slice(0, 40).every((it) => it.complete), undefined, { timeout: 15_000 }).catch(() => process.stderr.write(`${name}: still loading\n`));
    if (name.startsWith("endpoint-image") || name.startsWith("endpoint-table")) {
      const random = page.getByRole("button", { name: /random test|随机取/ });
      const found = await random.waitFor({ timeout: 5000 }).then(() => true, () => false);
      if (found) {
        await random.click();
        await page.locator(".answer .big").waitFor();
      }
    }
    await page.screenshot({ path: join(folder, `${name}-${language}-${theme}-${width}.png`) });
  }
}
await browser.close();
