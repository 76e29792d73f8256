/** Counts of `values` in `n` bins of equal width between the smallest and the largest. */
export function bins(values: number[], n: number): number[] {
  const out = new Array<number>(n).fill(0);
  if (values.length === 0) return out;
  let low = Infinity;
  let high = -Infinity;
  for (const it of values) {
    if (it < low) low = it;
    if (it > high) high = it;
  }
  for (const it of values) {
    const at = high === low ? 0 : Math.min(n - 1, Math.floor(((it - low) / (high - low)) * n));
    out[at] = (out[at] ?? 0) + 1;
  }
  return out;
}
