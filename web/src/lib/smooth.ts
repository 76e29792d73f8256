/** Exponential moving average with bias correction; `weight` 0 leaves the line as it is. Gaps stay gaps. */
export function smooth(values: (number | null)[], weight: number): (number | null)[] {
  if (weight <= 0) return values;
  let last = 0;
  let seen = 0;
  return values.map((it) => {
    if (it === null) return null;
    last = last * weight + (1 - weight) * it;
    seen += 1;
    return last / (1 - weight ** seen);
  });
}
