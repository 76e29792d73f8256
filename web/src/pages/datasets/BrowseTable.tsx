// Rows of a table with what each column holds above them.
import { Pagination, Table } from "antd";
import { useMemo } from "react";
import { Link } from "react-router";
import { useItems } from "../../api/hooks";
import type { ColumnView, ItemView, VersionView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { bins } from "../../lib/bins";
import { count, metric } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { pages } from "../../paths";
import { Empty, useRoom, Wait } from "../../ui/basics";
import { Histogram, PER_PAGE, SplitSelect, TextFilter } from "./BrowseImages";

/** Rows that the small histograms are drawn from. */
const SAMPLE = 500;

export function BrowseTable({ version }: { version: VersionView }) {
  const project = useProject();
  const { t, language } = useWords();
  const [params, setUrl] = useUrl();
  const page = pageParam(params);
  const filter = { label: params.get("label"), split: params.get("split"), text: params.get("text") };
  const items = useItems(project, version.dataset, version.number, { ...filter, offset: (page - 1) * PER_PAGE.table, limit: PER_PAGE.table });
  const sample = useItems(project, version.dataset, version.number, { limit: SAMPLE });
  const keep = { version: version.number, ...filter, page: page === 1 ? null : page };
  const hasText = version.summary.columns.some((it) => it.kind === "text");
  const hasClasses = Object.keys(version.summary.classes).length > 0;
  const target = version.summary.target;
  const room = useRoom(368, 320);
  const columns = [
    { title: "#", key: "at", width: version.items < 10_000 ? 56 : 88, fixed: "left" as const, render: (_: unknown, it: ItemView, at: number) => <Link to={pages.item(project, version.dataset, it.id, keep)}>{count((page - 1) * PER_PAGE.table + at + 1, language)}</Link> },
    { title: t("split"), key: "split", width: 80, render: (_: unknown, it: ItemView) => (it.split ? t(`split.${it.split}` as Key) : "—") },
    // What is to be told comes first; of many columns it is often the last.
    ...[...version.summary.columns].sort((a, b) => Number(b.name === target) - Number(a.name === target)).map((column) => ({
      title: <ColumnHead column={column} target={column.name === target} rows={sample.data?.items ?? []} />,
      key: column.name,
      width: Math.min(240, Math.max(column.kind === "text" ? 144 : 124, 36 + 9 * column.name.length + (column.name === target ? 72 : 0))),
      ellipsis: true,
      align: column.kind === "integer" || column.kind === "number" ? ("right" as const) : ("left" as const),
      render: (_: unknown, it: ItemView) => cell(it.values?.[column.name]),
    })),
  ];
  return (
    <div className={hasClasses ? "browse wide" : ""}>
      {hasClasses ? <Histogram version={version} split={filter.split} chosen={filter.label} onChoose={(label) => setUrl({ label, page: null })} /> : null}
      <div>
        <div className="row" style={{ marginBottom: 12 }}>
          <SplitSelect version={version} />
          {hasText ? <TextFilter label={t("filter.columns")} /> : null}
          <span className="muted" role="status">
            {items.data ? t("rows.count", { n: count(items.data.total, language) }) : ""}
          </span>
        </div>
        <Wait of={items} rows={12}>
          {(data) =>
            data.total === 0 ? (
              <Empty title={t("rows.none")} />
            ) : (
              <>
                <Table<ItemView> rowKey="id" size="small" virtual scroll={{ x: columns.reduce((sum, it) => sum + it.width, 0), y: room }} dataSource={data.items} columns={columns} pagination={false} />
                <Pagination
                  style={{ marginTop: 12 }}
                  current={page}
                  pageSize={PER_PAGE.table}
                  total={data.total}
                  showSizeChanger={false}
                  showQuickJumper
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

function cell(value: unknown) {
  if (value === null || value === undefined) return <span className="muted">—</span>;
  if (typeof value === "number") return metric(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function ColumnHead({ column, target, rows }: { column: ColumnView; target: boolean; rows: ItemView[] }) {
  const { t, language } = useWords();
  const heights = useMemo(() => {
    const values = rows.map((it) => it.values?.[column.name]).filter((it): it is number => typeof it === "number" && Number.isFinite(it));
    return values.length > 1 ? bins(values, 12) : null;
  }, [rows, column.name]);
  const most = Math.max(1, ...(heights ?? []));
  const range = column.min !== null && column.max !== null ? `${metric(column.min)} … ${metric(column.max)}` : column.distinct === null ? t("column.many") : t("column.distinct", { n: count(column.distinct, language) });
  return (
    <div style={{ fontWeight: 400, minWidth: 0 }}>
      <div style={{ fontWeight: 600, overflow: "hidden", textOverflow: "ellipsis" }} title={column.name}>
        {column.name}
        {target ? <span className="muted"> · {t("dataset.target")}</span> : null}
      </div>
      <div className="mini" title={t("column.sample", { n: rows.length })} aria-hidden>
        {heights?.map((it, at) => <i key={at} style={{ height: `${(it / most) * 100}%` }} />)}
      </div>
      <div className="muted" style={{ fontSize: 12 }}>
        {range}
        {column.nulls > 0 ? ` · ${t("column.nulls", { n: count(column.nulls, language) })}` : ""}
      </div>
    </div>
  );
}
