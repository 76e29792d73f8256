/** Where an arrow key leads in a grid of `n` things, `columns` wide; null where the key is no arrow or leads out. */
export function neighbour(key: string, at: number, columns: number, n: number): number | null {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (step === undefined) return null;
  const to = at + step;
  return to >= 0 && to < n ? to : null;
}
