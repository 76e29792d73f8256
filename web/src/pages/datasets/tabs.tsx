// Versions, what is in one, and how to use it from elsewhere.
import { Table } from "antd";
import { Link } from "react-router";
import { useVersions } from "../../api/hooks";
import type { ColumnView, VersionView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, type T, useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { bytes, count, type Language, metric } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Snippet, Wait, When } from "../../ui/basics";

const PER_PAGE = 100;

export function VersionsTab({ name }: { name: string }) {
  const project = useProject();
  const { t, language } = useWords();
  const [params, setUrl] = useUrl();
  const page = pageParam(params, "versions");
  const versions = useVersions(project, name, { offset: (page - 1) * PER_PAGE, limit: PER_PAGE });
  return (
    <Wait of={versions}>
      {(data) => (
        <Table<VersionView>
          rowKey="id"
          size="small"
          dataSource={data.items}
          pagination={{ current: page, pageSize: PER_PAGE, total: data.total, onChange: (it) => setUrl({ versions: it === 1 ? null : it }), showSizeChanger: false, hideOnSinglePage: true }}
          columns={[
            { title: t("version"), dataIndex: "number", render: (n: number) => <Link to={pages.dataset(project, name, { version: n })}>v{n}</Link> },
            { title: t("message"), dataIndex: "message", render: (it: string) => it || "—" },
            { title: t("items"), dataIndex: "items", align: "right", render: (n: number) => count(n, language) },
            { title: t("size"), dataIndex: "bytes", align: "right", render: (n: number) => bytes(n) },
            { title: t("source"), dataIndex: "source", ellipsis: true },
            { title: t("created"), dataIndex: "created_at", render: (at: number) => <When at={at} /> },
            { title: t("by"), dataIndex: "created_by", render: (it: string | null) => it ?? "—" },
          ]}
        />
      )}
    </Wait>
  );
}

/** Why a column has its type, with the value that decided. */
function reason(column: ColumnView, t: T) {
  const told = column.import;
  if (!told) return "—";
  const why = t(`why.${told.why}` as Key);
  const example = told.example === null ? null : told.line === null ? <code>{told.example}</code> : <>{t("why.line", { n: told.line })} <code>{told.example}</code></>;
  return (
    <>
      {why}
      {example ? <span className="muted"> · {example}</span> : null}
      {told.renamed_from !== null ? <span className="muted"> · {t("why.renamed", { it: told.renamed_from })}</span> : null}
    </>
  );
}

/** How many values an import did not keep letter by letter. */
function changes(column: ColumnView, t: T, language: Language) {
  const told = column.import;
  if (!told) return "";
  const parts: [Key, number][] = [
    ["column.changed", told.changed],
    ["column.respelt", told.respelt],
    ["column.nullWords", told.null_words],
  ];
  return parts
    .filter(([, n]) => n > 0)
    .map(([key, n]) => t(key, { n: count(n, language) }))
    .join(" · ");
}

export function SummaryTab({ version }: { version: VersionView }) {
  const { t, language } = useWords();
  const { summary } = version;
  const splits = Object.keys(summary.splits);
  const classes = Object.entries(summary.classes).sort(([a], [b]) => a.localeCompare(b, language, { numeric: true }));
  return (
    <div className="stack">
      {summary.columns.length > 0 ? (
        <section>
          <h2>{t("columns")}</h2>
          <Table<ColumnView>
            rowKey="name"
            size="small"
            scroll={{ x: 700 }}
            pagination={summary.columns.length > 50 ? { pageSize: 50 } : false}
            dataSource={summary.columns}
            columns={[
              { title: t("name"), dataIndex: "name", render: (it: string) => (it === summary.target ? `${it} · ${t("dataset.target")}` : it) },
              { title: t("kind"), dataIndex: "kind", render: (it: string) => t(`column.${it}` as Key) },
              { title: t("column.nullsHead"), dataIndex: "nulls", align: "right", render: (n: number) => count(n, language) },
              { title: t("column.distinctHead"), dataIndex: "distinct", align: "right", render: (n: number | null) => (n === null ? "> 1000" : count(n, language)) },
              { title: t("column.min"), dataIndex: "min", align: "right", render: metric },
              { title: t("column.mean"), dataIndex: "mean", align: "right", render: metric },
              { title: t("column.max"), dataIndex: "max", align: "right", render: metric },
              { title: t("column.changedHead"), key: "changed", render: (_, it) => changes(it, t, language) || "—" },
              { title: t("column.whyHead"), key: "why", render: (_, it) => reason(it, t) },
            ]}
          />
          {summary.notes.map((it) => (
            <p key={it.kind} className="muted">
              {t(`note.${it.kind}` as Key, { it: it.detail })}
            </p>
          ))}
        </section>
      ) : null}
      {classes.length > 0 ? (
        <section>
          <h2>{t("classes")}</h2>
          <Table<[string, Record<string, number>]>
            rowKey={(it) => it[0]}
            size="small"
            pagination={classes.length > 50 ? { pageSize: 50 } : false}
            dataSource={classes}
            columns={[
              { title: t("class"), render: (_, it) => it[0] },
              ...splits.map((split) => ({ title: t(`split.${split}` as Key), align: "right" as const, render: (_: unknown, it: [string, Record<string, number>]) => count(it[1][split] ?? 0, language) })),
              { title: t("total"), align: "right", render: (_, it) => count(Object.values(it[1]).reduce((a, b) => a + b, 0), language) },
            ]}
          />
        </section>
      ) : null}
      <section>
        <h2>{t("dataset.skipped")}</h2>
        {summary.skipped_total === 0 ? (
          <span className="muted">{t("dataset.skippedNone")}</span>
        ) : (
          <>
            <p className="muted">{t("dataset.skippedText", { shown: summary.skipped.length, n: count(summary.skipped_total, language) })}</p>
            <Table rowKey="name" size="small" pagination={summary.skipped.length > 50 ? { pageSize: 50 } : false} dataSource={summary.skipped} columns={[{ title: t("file"), dataIndex: "name", width: "55%", render: (it: string) => <span className="anywhere">{it}</span> }, { title: t("reason"), dataIndex: "reason" }]} />
          </>
        )}
      </section>
    </div>
  );
}

export function UseTab({ version }: { version: VersionView }) {
  const project = useProject();
  const { t } = useWords();
  const pin = `${version.dataset}@${version.number}`;
  const url = `${location.origin}${api.exported(project, version.dataset, version.number, { format: version.summary.kind === "images" ? "images" : "csv" })}`;
  const file = version.summary.kind === "images" ? `${version.dataset}.tar` : `${version.dataset}.csv`;
  const python = version.summary.kind === "images"
    ? `import io, os, tarfile, urllib.request\n\nrequest = urllib.request.Request(\n    "${url}",\n    headers={"authorization": "Bearer " + os.environ["KAOGONG_TOKEN"]},\n)\nwith urllib.request.urlopen(request) as answer:\n    with tarfile.open(fileobj=answer, mode="r|") as tar:\n        for entry in tar:\n            print(entry.name, entry.size)`
    : `import os, urllib.request\nimport pandas as pd\n\nrequest = urllib.request.Request(\n    "${url}",\n    headers={"authorization": "Bearer " + os.environ["KAOGONG_TOKEN"]},\n)\nwith urllib.request.urlopen(request) as answer:\n    frame = pd.read_csv(answer)`;
  const parts: [string, string][] = [
    [t("use.cli"), `kaogong datasets export ${pin} ./${version.dataset}${inProject(project)}`],
    [t("use.job"), `[inputs]\ndata = "${pin}"`],
    ["curl", `curl -fH "authorization: Bearer $KAOGONG_TOKEN" -o ${file} \\\n  "${url}"`],
    ["Python", python],
  ];
  return (
    <div className="stack" style={{ maxWidth: 860 }}>
      {parts.map(([name, text]) => (
        <section key={name}>
          <h2>{name}</h2>
          <Snippet text={text} label={name} />
        </section>
      ))}
    </div>
  );
}
