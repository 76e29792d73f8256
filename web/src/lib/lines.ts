/** A line of a chart. */
export type Line = { name: string; x: number[]; y: (number | null)[] };

const same = <T>(one: T[], two: T[]) => one === two || (one.length === two.length && one.every((it, at) => Object.is(it, two[at])));

/** Whether two sets of lines look the same: most answers of a poll bring nothing new. */
export function sameLines(a: Line[], b: Line[]): boolean {
  return (
    a.length === b.length &&
    a.every((line, at) => {
      const other = b[at];
      return other !== undefined && line.name === other.name && same(line.x, other.x) && same(line.y, other.y);
    })
  );
}
