// Thumbnails with their class; the histogram of classes filters.
import { Input, Pagination, Select } from "antd";
import { type CSSProperties, useEffect, useState } from "react";
import { Link } from "react-router";
import { useItems } from "../../api/hooks";
import type { ItemView, VersionView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { count } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Empty, Wait } from "../../ui/basics";

const PER_PAGE = 96;

export function BrowseImages({ version }: { version: VersionView }) {
  const project = useProject();
  const { t, language } = useWords();
  const [params, setUrl] = useUrl();
  const filter = { label: params.get("label"), split: params.get("split"), text: params.get("text") };
  const page = pageParam(params);
  const items = useItems(project, version.dataset, version.number, { ...filter, offset: (page - 1) * PER_PAGE, limit: PER_PAGE });
  return (
    <div className="browse">
      <Histogram version={version} split={filter.split} chosen={filter.label} onChoose={(label) => setUrl({ label, page: null })} />
      <div>
        <div className="row" style={{ marginBottom: 12 }}>
          <SplitSelect version={version} />
          <TextFilter />
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
                <div className="thumbs" role="list" aria-label={t("items")} style={{ opacity: items.isPlaceholderData ? 0.6 : 1 }}>
                  {data.items.map((it) => (
                    <Thumb key={it.id} item={it} version={version} params={params} />
                  ))}
                </div>
                <Pagination
                  style={{ marginTop: 16 }}
                  current={page}
                  pageSize={PER_PAGE}
                  total={data.total}
                  showSizeChanger={false}
                  showQuickJumper={data.total > PER_PAGE * 10}
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

export function TextFilter() {
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const inUrl = params.get("text") ?? "";
  const [typed, setTyped] = useState(inUrl);
  useEffect(() => setTyped(inUrl), [inUrl]);
  useEffect(() => {
    if (typed === inUrl) return;
    const timer = setTimeout(() => setUrl({ text: typed, page: null }), 250);
    return () => clearTimeout(timer);
  }, [typed, inUrl, setUrl]);
  return <Input.Search allowClear aria-label={t("filter.name")} placeholder={t("filter.name")} style={{ width: 240 }} value={typed} onChange={(it) => setTyped(it.target.value)} />;
}
