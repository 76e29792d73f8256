// Which metrics say most where there is room for a few: held-out data before training, quality before bookkeeping.
import { metric } from "./format";

export function weight(name: string): number {
  const bare = name.slice(name.indexOf(".") + 1);
  return (/valid|test|eval/i.test(bare) ? 0 : 2) + (/acc|f1|auc|map|iou|loss|error|mae|rmse|r2/i.test(bare) ? 0 : 4);
}

export function headline(metrics: Record<string, number | null>, n = 3): string {
  return Object.entries(metrics)
    .sort(([a], [b]) => weight(a) - weight(b))
    .slice(0, n)
    .map(([key, value]) => `${key} ${metric(value)}`)
    .join(" · ");
}
