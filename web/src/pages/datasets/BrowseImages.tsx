// Thumbnails with their class; the histogram of classes filters.
import { Input, Pagination, Select } from "antd";
import { type CSSProperties, type KeyboardEvent } from "react";
import { Link } from "react-router";
import { useItems } from "../../api/hooks";
import type { ItemView, VersionView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { count } from "../../lib/format";
import { pageParam, useTyped, useUrl } from "../../lib/url";
import { neighbour } from "../../lib/walk";
import { api, pages } from "../../paths";
import { Empty, Wait } from "../../ui/basics";

/** Items of a page: the page of an item walks through the same pages. */
export const PER_PAGE = { images: 96, table: 100 };

/** In the grid arrows move and space opens, as in any grid of files. */
function walk(event: KeyboardEvent<HTMLElement>) {
  const links = [...event.currentTarget.querySelectorAll<HTMLElement>("a.thumb")];
  const at = links.findIndex((it) => it === document.activeElement);
  const here = links[at];
  if (!here) return;
  const top = links[0]?.getBoundingClientRect().top;
  const columns = Math.max(1, links.filter((it) => it.getBoundingClientRect().top === top).length);
  const to = neighbour(event.key, at, columns, links.length);
  if (event.key === " ") here.click();
  else if (to !== null) links[to]?.focus();
  else return;
  event.preventDefault();
}

export function BrowseImages({ version }: { version: VersionView }) {
  const project = useProject();
  const { t, language } = useWords();
  const [params, setUrl] = useUrl();
  const filter = { label: params.get("label"), split: params.get("split"), text: params.get("text") };
  const page = pageParam(params);
  const items = useItems(project, version.dataset, version.number, { ...filter, offset: (page - 1) * PER_PAGE.images, limit: PER_PAGE.images });
  return (
    <div className="browse">
      <Histogram version={version} split={filter.split} chosen={filter.label} onChoose={(label) => setUrl({ label, page: null })} />
      <div>
        <div className="row" style={{ marginBottom: 12 }}>
          <SplitSelect version={version} />
          <TextFilter label={t("filter.name")} />
          <span className="muted" role="status">
            {items.data ? t("items.count", { n: count(items.data.total, language) }) : ""}
          </span>
        </div>
        <Wait of={items} rows={10}>
          {(data) =>
            data.total === 0 ? (
              <Empty title={t("items.none")} />
            ) : (
              <>
                <div className="thumbs" role="list" aria-label={t("items")} onKeyDown={walk} style={{ opacity: items.isPlaceholderData ? 0.6 : 1 }}>
                  {data.items.map((it) => (
                    <Thumb key={it.id} item={it} version={version} params={params} />
                  ))}
                </div>
                <Pagination
                  style={{ marginTop: 16 }}
                  current={page}
                  pageSize={PER_PAGE.images}
                  total={data.total}
                  showSizeChanger={false}
                  showQuickJumper={data.total > PER_PAGE.images * 10}
                  hideOnSinglePage
                  onChange={(it) => setUrl({ page: it === 1 ? null : it })}
                />
              </>
            )
          }
        </Wait>
      </div>
    </div>
  );
}

function Thumb({ item, version, params }: { item: ItemView; version: VersionView; params: URLSearchParams }) {
  const project = useProject();
  const { t } = useWords();
  const keep = { version: version.number, label: params.get("label"), split: params.get("split"), text: params.get("text"), page: params.get("page") };
  const tiny = Math.max(item.width ?? 999, item.height ?? 999) <= 64;
  return (
    <div role="listitem">
      <Link className="thumb" to={pages.item(project, version.dataset, item.id, keep)} title={item.name} aria-label={`${item.name} ${item.label ?? ""}`}>
        <div className="pic">
          <img className={tiny ? "pixel" : ""} loading="lazy" decoding="async" alt="" src={api.thumbnail(project, version.dataset, version.number, item.id, 128)} />
        </div>
        <div className="cap">
          <span className="chip">{item.label ?? t("unlabelled")}</span>
          <span className="muted">{item.split ? t(`split.${item.split}` as Key) : ""}</span>
        </div>
      </Link>
    </div>
  );
}

type HistogramProps = { version: VersionView; split: string | null; chosen: string | null; onChoose: (label: string | null) => void };

export function Histogram({ version, split, chosen, onChoose }: HistogramProps) {
  const { t, language } = useWords();
  const rows = Object.entries(version.summary.classes)
    .map(([name, splits]): [string, number] => [name, split ? (splits[split] ?? 0) : Object.values(splits).reduce((a, b) => a + b, 0)])
    .sort(([a], [b]) => a.localeCompare(b, language, { numeric: true }));
  const most = Math.max(1, ...rows.map(([, n]) => n));
  if (rows.length === 0) return <div className="muted">{t("classes.none")}</div>;
  return (
    <section>
      <h2>{t("classes")}</h2>
      <div className="histo" role="group" aria-label={t("classes")} style={{ "--name": `${Math.min(12, Math.max(2, ...rows.map(([name]) => name.length)))}ch` } as CSSProperties}>
        {rows.map(([name, n]) => (
          <button key={name} aria-pressed={chosen === name} aria-label={`${name} ${n}`} onClick={() => onChoose(chosen === name ? null : name)}>
            <span className="name" title={name}>
              {name}
            </span>
            <span className="track">
              <i style={{ width: `${(n / most) * 100}%` }} />
            </span>
            <span className="muted">{count(n, language)}</span>
          </button>
        ))}
      </div>
    </section>
  );
}

export function SplitSelect({ version }: { version: VersionView }) {
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  return (
    <Select
      aria-label={t("split")}
      allowClear
      placeholder={t("split.all")}
      style={{ width: 150 }}
      value={params.get("split")}
      onChange={(it: string | undefined) => setUrl({ split: it ?? null, page: null })}
      options={Object.keys(version.summary.splits).map((it) => ({ value: it, label: t(`split.${it}` as Key) }))}
    />
  );
}

export function TextFilter({ label }: { label: string }) {
  const [typed, setTyped] = useTyped("text");
  return <Input.Search allowClear aria-label={label} placeholder={label} style={{ width: 240 }} value={typed} onChange={(it) => setTyped(it.target.value)} />;
}
