// Fails the build when the first page needs more script than it may: everything that index.html loads before a page's own part.
import { readFileSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";

const limit = 500 * 1024;
const manifest = JSON.parse(readFileSync("dist/.vite/manifest.json", "utf8"));
const size = (file) => gzipSync(readFileSync(`dist/${file}`)).length;

function closure(name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const it of manifest[name]?.imports ?? []) closure(it, seen);
  return seen;
}

const entry = closure("index.html");
const home = Object.keys(manifest).find((it) => it.endsWith("pages/home/HomePage.tsx"));
const first = home ? new Set([...entry, ...closure(home)]) : entry;
const total = [...first].reduce((sum, it) => sum + size(manifest[it].file), 0);
const kb = (bytes) => `${(bytes / 1024).toFixed(1)} kB`;
console.log(`first page: ${kb(total)} of JavaScript, gzip (limit ${kb(limit)})`);
rmSync("dist/.vite", { recursive: true });
if ([...first].some((it) => /echarts/i.test(manifest[it].file))) {
  console.error("the first page loads the chart library; load it on demand");
  process.exit(1);
}
if (total > limit) {
  console.error("too much script for the first page: load what only some pages need on demand");
  process.exit(1);
}
