// Numbers, sizes and times as people read them; pure, so that tests need no clock and no browser.

export type Language = "en" | "zh-CN";

export function count(value: number, language: Language): string {
  return new Intl.NumberFormat(language).format(value);
}

/** Bytes in binary units, three figures. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let size = value / 1024;
  let unit = 0;
  while (size >= 1023.5 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size >= 100 ? size.toFixed(0) : size >= 10 ? size.toFixed(1) : size.toFixed(2)} ${units[unit]}`;
}

/** A measured value: four significant figures, an exponent only where needed; a dash for NaN. */
export function metric(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "—";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(3);
  return String(Number(value.toPrecision(4)));
}

export function microseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "—";
  if (value < 1000) return `${value} µs`;
  if (value < 1_000_000) return `${Number((value / 1000).toPrecision(3))} ms`;
  return `${Number((value / 1_000_000).toPrecision(3))} s`;
}

/** A span of time in its two largest units. */
export function duration(ms: number, language: Language): string {
  const zh = language === "zh-CN";
  const s = Math.max(0, ms) / 1000;
  if (ms > 0 && s < 0.05) return zh ? "< 0.1 秒" : "< 0.1 s";
  if (s < 10) return `${s.toFixed(1)}${zh ? " 秒" : " s"}`;
  const whole = Math.round(s);
  const d = Math.floor(whole / 86400);
  const h = Math.floor((whole % 86400) / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const words: [number, string][] = [
    [d, zh ? " 天" : " d"],
    [h, zh ? " 小时" : " h"],
    [m, zh ? " 分" : " min"],
    [whole % 60, zh ? " 秒" : " s"],
  ];
  const start = words.findIndex(([n]) => n > 0);
  return words
    .slice(start < 0 ? 3 : start, (start < 0 ? 3 : start) + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n}${unit}`)
    .join(" ");
}

export function relative(at: number, now: number, language: Language): string {
  const seconds = Math.round((at - now) / 1000);
  const size = Math.abs(seconds);
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  if (size < 45) return format.format(0, "second");
  if (size < 45 * 60) return format.format(Math.round(seconds / 60), "minute");
  if (size < 22 * 3600) return format.format(Math.round(seconds / 3600), "hour");
  // "Next month" would be too vague for the day when something expires.
  if (size < 100 * 86400) return format.format(Math.round(seconds / 86400), "day");
  if (size < 540 * 86400) return format.format(Math.round(seconds / (30 * 86400)), "month");
  return format.format(Math.round(seconds / (365 * 86400)), "year");
}

export function absolute(at: number, language: Language): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(at);
}

export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.005) return "< 0.01 %";
  return `${value >= 99.95 || value < 0.05 ? value.toFixed(value === 0 || value === 100 ? 0 : 2) : value.toFixed(1)} %`;
}

export function shortId(id: string): string {
  const at = id.indexOf("_");
  return at < 0 || id.length < 16 ? id : `${id.slice(0, at + 1)}…${id.slice(-6)}`;
}
