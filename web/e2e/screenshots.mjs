// Pictures of every page in both languages, themes and widths: node e2e/screenshots.mjs FOLDER [quick]
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ask, launch, post, server, signInLink } from "./kit.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: node e2e/screenshots.mjs FOLDER [quick]");
mkdirSync(folder, { recursive: true });
const quick = process.argv[3] === "quick";
const looks = quick
  ? [["en", "light", 1280], ["zh-CN", "dark", 1920]]
  : ["en", "zh-CN"].flatMap((language) => ["light", "dark"].flatMap((theme) => [1280, 1920].map((width) => [language, theme, width])));

const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US" });
const page = await context.newPage();
const NOUNS = ["datasets", "jobs", "runs", "models", "endpoints"];
const e = encodeURIComponent;

async function dress([language, theme, width]) {
  await page.setViewportSize({ width, height: width === 1280 ? 800 : 1080 });
  await page.evaluate(([l, t]) => {
    localStorage.setItem("kaogong.language", l);
    localStorage.setItem("kaogong.theme", t);
  }, [language, theme]);
}

const shot = (name, look) => page.screenshot({ path: join(folder, `${name}-${look.join("-")}.png`) });

/** Waits until everything on the page has come; a page that takes too long is taken as it is, and named. */
async function settled(name) {
  await page.locator("h1").first().waitFor();
  const still = () => !document.querySelector(".ant-skeleton") && [...document.images].slice(0, 40).every((it) => it.complete);
  await page.waitForFunction(still, undefined, { timeout: 15_000 }).catch(() => process.stderr.write(`${name}: still loading\n`));
}

/** Waits until what fades in has done so: the colour of a button that has just become usable; a state that breathes never ends. */
async function faded() {
  const over = () => document.getAnimations().every((it) => it.playState !== "running" || it.effect?.getTiming().iterations === Infinity);
  await page.waitForFunction(over, undefined, { timeout: 3_000 }).catch(() => undefined);
}

/** Steps that a page needs before it shows what the picture is of. */
const STEPS = {
  "endpoint-image": tryRandom,
  "endpoint-table": tryRandom,
  // A dataset of one item has no next one.
  "item-": () => page.locator("button[aria-label=Next]:enabled, button[aria-label=下一条]:enabled").waitFor({ timeout: 5000 }).catch(() => undefined),
  error: () => page.getByRole("alert").first().waitFor(),
  palette: async () => {
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox").last().fill("di");
    await page.locator(".palette-list li").first().waitFor();
    await page.waitForTimeout(600); // the dialog's opening
  },
  "job-log": () => page.locator(".log .line").first().waitFor(),
  "job-live": () => page.getByRole("log").getByText(/step \d+/).first().waitFor(),
};

async function tryRandom() {
  const random = page.getByRole("button", { name: /random test|随机取/ });
  const found = await random.waitFor({ timeout: 5000 }).then(() => true, () => false);
  if (!found) return;
  await random.click();
  await page.locator(".answer .big").waitFor();
}

/** Every page of the project by the name of its picture, with things that it has. */
async function filled() {
  const list = async (noun) => (await ask(page, `/${noun}`)).items;
  const pages = { home: "", palette: "" };
  for (const noun of NOUNS) pages[noun] = `/${noun}`;
  for (const it of await list("datasets")) {
    if (pages[`dataset-${it.kind}`]) continue;
    const path = `/datasets/${e(it.name)}`;
    pages[`dataset-${it.kind}`] = path;
    pages[`dataset-${it.kind}-summary`] = `${path}?tab=summary`;
    const [found] = (await ask(page, `${path}/versions/${it.latest.number}/items?limit=1`)).items;
    if (found) pages[`item-${it.kind}`] = `${path}/items/${found.id}`;
  }
  const [job] = await list("jobs");
  if (job) for (const tab of ["log", "usage", "spec"]) pages[`job-${tab}`] = `/jobs/${job.id}?tab=${tab}`;
  const runs = await list("runs");
  const curved = runs.find((it) => Object.keys(it.metrics).length > 3) ?? runs[0];
  if (curved) pages.run = `/runs/${curved.id}`;
  if (runs.length > 1) pages.compare = `/runs/compare?run=${runs[0].id}&run=${runs[1].id}`;
  const [model] = await list("models");
  if (model) pages.model = `/models/${e(model.name)}`;
  for (const it of await list("endpoints")) pages[`endpoint-${it.task?.kind ?? "tensors"}`] = `/endpoints/${e(it.name)}`;
  for (const tab of ["members", "tokens", "users", "projects", "audit"]) pages[`access-${tab}`] = `/access?tab=${tab}`;
  pages.error = "/datasets/there-is-no-such-dataset";
  return pages;
}

await page.goto(`${server()}/sign-in`);
for (const look of looks) {
  await dress(look);
  await page.reload();
  await page.locator("#name, input[autocomplete=username]").first().waitFor();
  await shot("sign-in", look);
}

await page.goto(signInLink());
await page.waitForURL(/\/p\/[^/]+$/);
const base = new URL(page.url()).pathname;
const places = Object.fromEntries(Object.entries(await filled()).map(([name, path]) => [name, base + path]));
const empty = await post(page, "/api/v1/projects", { name: `empty-${Date.now()}`, title: "Empty" });
for (const noun of ["", ...NOUNS]) places[`empty-${noun || "home"}`] = `/p/${e(empty.name)}${noun && `/${noun}`}`;
const count = "i=0; while true; do i=$((i+1)); echo \"step $i  loss 0.$((900000 / (i + 9)))\"; sleep 0.2; done";
const live = await post(page, "/jobs", { spec: { name: "live-log", command: ["sh", "-c", count], resources: { cpus: 0.1, memory_mib: 64 } } });
places["job-live"] = `${base}/jobs/${live.id}`;

for (const look of looks) {
  await dress(look);
  for (const [name, path] of Object.entries(places)) {
    await page.goto(server() + path);
    await settled(name);
    await Object.entries(STEPS).find(([it]) => name.startsWith(it))?.[1]();
    await faded();
    await shot(name, look);
  }
}
await page.goto(server() + base);
await post(page, `/jobs/${live.id}/cancel`);
await browser.close();
