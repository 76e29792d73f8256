// A random test item of the dataset that the model's run read.
import { call, read } from "../../api/client";
import type { ItemView, Page, VersionView } from "../../api/types";
import { api } from "../../paths";

export async function randomItem(project: string, pinned: string): Promise<ItemView | null> {
  const [name = "", number = "latest"] = pinned.split("@");
  const version = await read<VersionView>(api.version(project, name, number));
  const split = version.summary.splits["test"] ? "test" : null;
  const total = split ? (version.summary.splits["test"] ?? 0) : version.items;
  if (total === 0) return null;
  const found = await read<Page<ItemView>>(api.items(project, name, version.number, { split, offset: Math.floor(Math.random() * total), limit: 1 }));
  return found.items[0] ?? null;
}

export async function contentOf(project: string, pinned: string, item: string): Promise<Blob> {
  const [name = "", number = "1"] = pinned.split("@");
  return (await call(api.content(project, name, Number(number), item))).blob();
}
