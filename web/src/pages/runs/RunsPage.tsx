import { Button, Checkbox, Input, Popover, Select, Table } from "antd";
import { useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";
import { isLogging, useExperiments, useRuns } from "../../api/hooks";
import type { RunView } from "../../api/types";
import { DatasetLink, Links, State, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { csv, saveText } from "../../lib/csv";
import { weight } from "../../lib/headline";
import { count, metric } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { pages, serverAddress } from "../../paths";
import { Empty, Fault, Page, Took, Wait, When, Why } from "../../ui/basics";
import { onRow } from "../../ui/rows";
import { differs } from "./ComparePage";

const PER_PAGE = 100;
/** Columns shown until somebody chooses. */
const FIRST = 6;

/** Names in MLflow's filter and order strings: quoted when they are not plain words. */
export const quoted = (name: string) => (/^[A-Za-z_]\w*$/.test(name) ? name : `\`${name}\``);

export function RunsPage() {
  const project = useProject();
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const page = pageParam(params);
  const experiment = params.get("experiment");
  const filter = params.get("filter");
  const order = params.get("order");
  const experiments = useExperiments(project);
  const runs = useRuns(project, { experiment, filter, order, offset: (page - 1) * PER_PAGE, limit: PER_PAGE });
  const [typed, setTyped] = useState(filter ?? "");
  useEffect(() => setTyped(filter ?? ""), [filter]);
  return (
    <Page title={t("nav.runs")}>
      <div className="row" style={{ marginBottom: 12 }}>
        <Select aria-label={t("experiment")} allowClear placeholder={t("experiment.all")} style={{ minWidth: 180 }} value={(experiments.data?.items ?? []).find((it) => it.id === experiment)?.name ?? experiment} onChange={(it: string | undefined) => setUrl({ experiment: it ?? null, page: null })} options={(experiments.data?.items ?? []).map((it) => ({ value: it.name, label: `${it.name} (${it.runs})` }))} />
        <Input.Search allowClear className="mono" style={{ width: 520 }} aria-label={t("runs.filter")} placeholder="metrics.accuracy > 0.9 and params.model = 'mlp'" value={typed} onChange={(it) => setTyped(it.target.value)} onSearch={(it) => setUrl({ filter: it.trim(), page: null })} />
      </div>
      {runs.error && runs.data ? <Fault error={runs.error} retry={() => void runs.refetch()} /> : null}
      <Wait of={runs}>
        {(data) =>
          data.total === 0 ? (
            filter || experiment ? <Empty title={t("runs.noneMatch")} /> : <Empty title={t("runs.empty")} text={t("runs.emptyText")} command={`MLFLOW_TRACKING_URI=${serverAddress()}/p/${project} python train.py`} />
          ) : (
            <RunsTable items={data.items} total={data.total} />
          )
        }
      </Wait>
    </Page>
  );
}

function useColumns(items: RunView[]) {
  const [params] = useUrl();
  const names = (pick: (run: RunView) => object, prefix: string) => [...new Set(items.flatMap((it) => Object.keys(pick(it))))].sort().map((it) => `${prefix}.${it}`);
  const metrics = names((it) => it.metrics, "metrics").sort((a, b) => weight(a) - weight(b));
  const args = names((it) => it.params, "params");
  const chosen = params.get("columns");
  // What is the same in every run tells none from another, so it is not shown until somebody asks for it.
  const telling = (columns: string[], of: (run: RunView) => Record<string, unknown>) =>
    items.length < 2 ? columns : columns.filter((it) => differs(items.map((run) => String(of(run)[it.slice(it.indexOf(".") + 1)]))));
  const first = () => [...telling(metrics, (it) => it.metrics).slice(0, FIRST), ...telling(args, (it) => it.params).slice(0, FIRST - 2)];
  const shown = chosen === null ? first() : chosen.split(",").filter((it) => metrics.includes(it) || args.includes(it));
  return { metrics, args, shown };
}

function RunsTable({ items, total }: { items: RunView[]; total: number }) {
  const project = useProject();
  const { t, language } = useWords();
  const navigate = useNavigate();
  const [params, setUrl] = useUrl();
  const { metrics, args, shown } = useColumns(items);
  const selected = params.get("selected")?.split(",").filter(Boolean) ?? [];
  const [sortKey, sortWay] = /^(.*) (ASC|DESC)$/.exec(params.get("order") ?? "")?.slice(1) ?? [];
  const wire = (column: string) => {
    const [kind = "", ...rest] = column.split(".");
    return `${kind}.${quoted(rest.join("."))}`;
  };
  const valueOf = (run: RunView, column: string): string | number | null => {
    const name = column.slice(column.indexOf(".") + 1);
    return column.startsWith("metrics.") ? (run.metrics[name] ?? null) : (run.params[name] ?? null);
  };
  const order = (column: string, at: string) => ({ key: at, sorter: true, sortOrder: sortKey === column ? (sortWay === "ASC" ? ("ascend" as const) : ("descend" as const)) : null });
  const exported = () =>
    saveText("runs.csv", csv([["id", "name", "status", "experiment", ...shown], ...items.map((it) => [it.id, it.name, it.status, it.experiment, ...shown.map((column) => valueOf(it, column))])]));
  return (
    <>
      <div className="row" style={{ marginBottom: 8 }}>
        <Why not={selected.length < 2 ? t("runs.compareWhy") : null}>
          <Button type="primary" disabled={selected.length < 2} onClick={() => void navigate(pages.compare(project, selected))}>
            {t("runs.compare", { n: selected.length })}
          </Button>
        </Why>
        {selected.length ? (
          <Button type="link" size="small" onClick={() => setUrl({ selected: null })}>
            {t("runs.clear")}
          </Button>
        ) : null}
        <span className="muted" role="status">{t("runs.count", { n: count(total, language) })}</span>
        <span className="grow" />
        <ColumnPicker metrics={metrics} args={args} shown={shown} onChange={(it) => setUrl({ columns: it.length ? it.join(",") : "none" })} />
        <Button onClick={exported}>CSV</Button>
      </div>
      <Table<RunView>
        className="clickable"
        rowKey="id"
        size="small"
        dataSource={items}
        scroll={{ x: "max-content" }}
        rowSelection={{ fixed: true, selectedRowKeys: selected, preserveSelectedRowKeys: true, onChange: (keys) => setUrl({ selected: keys.join(",") }), getTitleCheckboxProps: () => ({ "aria-label": t("selectAll") }), getCheckboxProps: (it) => ({ "aria-label": t("select", { name: it.name }) }) as object }}
        onRow={onRow((it) => void navigate(pages.run(project, it.id)))}
        onChange={(paging, _, sorter) => {
          const one = Array.isArray(sorter) ? sorter[0] : sorter;
          const wanted = one?.order ? `${String(one.columnKey)} ${one.order === "ascend" ? "ASC" : "DESC"}` : null;
          setUrl({ order: wanted, page: paging.current && paging.current > 1 ? paging.current : null });
        }}
        pagination={{ current: pageParam(params), pageSize: PER_PAGE, total, showSizeChanger: false, hideOnSinglePage: true }}
        columns={[
          { title: t("state"), dataIndex: "status", fixed: "left", render: (it: string) => <State state={it} /> },
          { title: t("name"), dataIndex: "name", fixed: "left", render: (name: string, it) => <Link to={pages.run(project, it.id)}>{name}</Link> },
          ...shown.map((column) => ({
            title: <span title={column}>{column.slice(column.indexOf(".") + 1)}</span>,
            ...order(wire(column), wire(column)),
            align: column.startsWith("metrics.") ? ("right" as const) : ("left" as const),
            render: (_: unknown, it: RunView) => {
              const value = valueOf(it, column);
              return column.startsWith("metrics.") ? metric(value as number | null) : (value ?? <span className="muted">—</span>);
            },
          })),
          { title: t("experiment"), dataIndex: "experiment" },
          { title: t("nav.datasets"), render: (_, it) => <Links>{it.datasets.map((one) => <DatasetLink key={one} pinned={one} />)}</Links> },
          { title: t("duration"), align: "right", render: (_, it) => <Took from={it.started_at} to={it.ended_at} live={isLogging(it)} /> },
          { title: t("started"), dataIndex: "started_at", ...order("attributes.start_time", "attributes.start_time"), render: (at: number) => <When at={at} /> },
        ]}
      />
    </>
  );
}

function ColumnPicker({ metrics, args, shown, onChange }: { metrics: string[]; args: string[]; shown: string[]; onChange: (columns: string[]) => void }) {
  const { t } = useWords();
  const [text, setText] = useState("");
  const part = (title: string, names: string[]) => (
    <section>
      <h2>{title}</h2>
      {names.filter((it) => it.toLowerCase().includes(text.toLowerCase())).map((it) => (
        <div key={it}>
          <Checkbox checked={shown.includes(it)} onChange={(event) => onChange(event.target.checked ? [...shown, it] : shown.filter((one) => one !== it))}>
            {it.slice(it.indexOf(".") + 1)}
          </Checkbox>
        </div>
      ))}
    </section>
  );
  const content = (
    <div className="stack" style={{ width: 260, maxHeight: 420, overflowY: "auto" }}>
      <Input aria-label={t("columns.find")} placeholder={t("columns.find")} value={text} onChange={(it) => setText(it.target.value)} />
      {part(t("metrics"), metrics)}
      {part(t("params"), args)}
    </div>
  );
  return (
    <Popover trigger="click" placement="bottomRight" content={content}>
      <Button>{t("columns.pick")}</Button>
    </Popover>
  );
}
