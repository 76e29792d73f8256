// One item, large; the arrow keys walk through the items of the filter that led here.
import { DownloadOutlined, LeftOutlined, RightOutlined } from "@ant-design/icons";
import { Button } from "antd";
import { useEffect } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { useDataset, useItem, useItems, useVersion } from "../../api/hooks";
import type { ItemView, VersionView } from "../../api/types";
import { isTyping } from "../../components/Shortcuts";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { bytes, count } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Copy, Facts, KeyValues, Page, Wait, Why } from "../../ui/basics";
import { PER_PAGE } from "./BrowseImages";

/** The items before and after this one, across the edges of a page. */
function useNeighbours(version: VersionView | undefined) {
  const number = version?.number;
  const perPage = version?.summary.kind === "table" ? PER_PAGE.table : PER_PAGE.images;
  const project = useProject();
  const { name = "", item = "" } = useParams();
  const [params] = useUrl();
  const filter = { label: params.get("label"), split: params.get("split"), text: params.get("text") };
  const page = pageParam(params);
  const at = (n: number) => ({ ...filter, offset: (n - 1) * perPage, limit: perPage });
  const here = useItems(project, name, number, at(page));
  const items = here.data?.items ?? [];
  const index = here.isPlaceholderData ? -1 : items.findIndex((it) => it.id === item);
  const pagesInAll = Math.ceil((here.data?.total ?? 0) / perPage);
  const before = useItems(project, name, number, at(page - 1), index === 0 && page > 1);
  const after = useItems(project, name, number, at(page + 1), index === items.length - 1 && index >= 0 && page < pagesInAll);
  const to = (found: ItemView | undefined, n: number) => (found ? pages.item(project, name, found.id, { version: number, ...filter, page: n === 1 ? null : n }) : null);
  const previous = index > 0 ? to(items[index - 1], page) : index === 0 && page > 1 ? to(before.data?.items.at(-1), page - 1) : null;
  const next = index >= 0 && index < items.length - 1 ? to(items[index + 1], page) : index >= 0 && page < pagesInAll ? to(after.data?.items[0], page + 1) : null;
  // Why there is no way on: the list ends, or it is not the list that this item is in, or it is still on its way.
  const whyNot = (isEnd: boolean, end: Key): Key => (index < 0 ? (here.data && !here.isPlaceholderData ? "items.elsewhere" : "loading") : isEnd ? end : "loading");
  const first = whyNot(index === 0 && page === 1, "items.first");
  const last = whyNot(index === items.length - 1 && page >= pagesInAll, "items.last");
  return { previous, next, first, last, position: index < 0 ? null : (page - 1) * perPage + index + 1, total: here.data?.total ?? 0 };
}

export function ItemPage() {
  const project = useProject();
  const { name = "", item: id = "" } = useParams();
  const { t, language } = useWords();
  const [params] = useUrl();
  const navigate = useNavigate();
  const dataset = useDataset(project, name);
  const version = useVersion(project, name, params.get("version") ?? "latest");
  const number = version.data?.number;
  const item = useItem(project, name, number, id);
  const { previous, next, first, last, position, total } = useNeighbours(version.data);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTyping(event.target)) return;
      const to = event.key === "ArrowLeft" ? previous : event.key === "ArrowRight" ? next : null;
      if (to) void navigate(to, { replace: true });
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [previous, next, navigate]);
  // The server names rows "row 12"; the number is the name, the word is the reader's.
  const row = item.data?.values ? /^row (\d+)$/.exec(item.data.name)?.[1] : undefined;
  const title = row ? t("item.row", { n: count(Number(row), language) }) : (item.data?.name ?? id);
  const back = pages.dataset(project, name, { version: number, label: params.get("label"), split: params.get("split"), text: params.get("text"), page: params.get("page") });
  return (
    <Page
      title={title}
      crumbs={
        <>
          <Link to={pages.datasets(project)}>{t("nav.datasets")}</Link> / <Link to={back}>{dataset.data?.title ?? name}{number ? ` v${number}` : ""}</Link>
        </>
      }
      actions={
        <>
          {position ? <span className="muted">{count(position, language)} / {count(total, language)}</span> : null}
          <Why not={previous ? null : t(first)}>
            <Button aria-label={t("previous")} icon={<LeftOutlined />} disabled={!previous} onClick={() => previous && void navigate(previous, { replace: true })} />
          </Why>
          <Why not={next ? null : t(last)}>
            <Button aria-label={t("next")} icon={<RightOutlined />} disabled={!next} onClick={() => next && void navigate(next, { replace: true })} />
          </Why>
          {item.data?.media_type && number ? (
            <Button icon={<DownloadOutlined />} href={api.content(project, name, number, id)} download={item.data.name.split("/").pop()}>
              {t("downloadOriginal")}
            </Button>
          ) : null}
        </>
      }
    >
      <Wait of={{ ...item, error: item.error ?? version.error, refetch: () => void (version.error ? version.refetch() : item.refetch()) }} rows={10}>
        {(it) => (
          <div className="with-facts">
            {it.values ? <section className="panel"><KeyValues rows={inOrder(it.values, version.data).map(([key, value]) => [key, value === null ? "—" : String(value)])} /></section> : <Picture item={it} src={api.content(project, name, number ?? 0, id)} />}
            <Facts
              rows={[
                [t(it.values ? "dataset.target" : "class"), it.label ? <span className="chip">{it.label}</span> : it.values ? null : t("unlabelled")],
                [t("split"), it.split ? t(`split.${it.split}` as Key) : null],
                [t("dataset.pixels"), it.width ? `${it.width} × ${it.height} px` : null],
                [t("size"), it.bytes ? bytes(it.bytes) : null],
                [t("mediaType"), it.media_type],
                ["BLAKE3", it.content_hash ? <span className="mono">{it.content_hash.slice(0, 16)}… <Copy text={it.content_hash} /></span> : null],
                ["ID", <span key="id" className="mono">{it.id} <Copy text={it.id} /></span>],
              ]}
            />
          </div>
        )}
      </Wait>
    </Page>
  );
}

/** What is in the row, in the order of the table's columns. */
function inOrder(values: Record<string, unknown>, version: VersionView | undefined): [string, unknown][] {
  const place = new Map(version?.summary.columns.map((it, at) => [it.name, at]));
  return Object.entries(values).sort(([a], [b]) => (place.get(a) ?? place.size) - (place.get(b) ?? place.size));
}

function Picture({ item, src }: { item: ItemView; src: string }) {
  const tiny = Math.max(item.width ?? 999, item.height ?? 999) <= 64;
  return (
    <div className="stage">
      <img className={tiny ? "pixel" : ""} src={src} alt={`${item.name} ${item.label ?? ""}`} />
    </div>
  );
}
