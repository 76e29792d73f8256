import { DeleteOutlined, DownloadOutlined } from "@ant-design/icons";
import { Button, Dropdown, Select, Tabs } from "antd";
import { Link, useNavigate, useParams } from "react-router";
import { call } from "../../api/client";
import { useChange, useDataset, useVersion, useVersionChoices } from "../../api/hooks";
import type { VersionView } from "../../api/types";
import { useMay, useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { bytes, count } from "../../lib/format";
import { oneOf, useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Copy, Empty, Facts, Page, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";
import { BrowseImages } from "./BrowseImages";
import { BrowseTable } from "./BrowseTable";
import { SummaryTab, UseTab, VersionsTab } from "./tabs";

const TABS = ["browse", "versions", "summary", "use"] as const;

export function DatasetPage() {
  const project = useProject();
  const name = useParams()["name"] ?? "";
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const dataset = useDataset(project, name);
  const wanted = params.get("version") ?? "latest";
  const version = useVersion(project, name, wanted);
  return (
    <Page
      title={dataset.data?.title ?? name}
      crumbs={<Link to={pages.datasets(project)}>{t("nav.datasets")}</Link>}
      state={
        version.error && !version.data ? null : <VersionSelect name={name} value={version.data?.number ?? null} onChange={(it) => setUrl({ version: it, page: null, label: null, split: null })} />
      }
      actions={version.data ? <Actions version={version.data} /> : null}
    >
      {dataset.data && !dataset.data.latest ? (
        <Empty title={t("dataset.noVersion")} command={`kaogong datasets import PATH --name ${name}${inProject(project)}`} />
      ) : (
        <Wait of={version} rows={12}>
          {(it) => <Body version={it} description={dataset.data?.description ?? ""} />}
        </Wait>
      )}
    </Page>
  );
}

function VersionSelect({ name, value, onChange }: { name: string; value: number | null; onChange: (number: number) => void }) {
  const project = useProject();
  const { t } = useWords();
  const versions = useVersionChoices(project, name);
  const more = (box: HTMLElement) => {
    if (box.scrollHeight - box.scrollTop - box.clientHeight < 200 && versions.hasNextPage && !versions.isFetchingNextPage) void versions.fetchNextPage();
  };
  const known = versions.data?.pages.flatMap((it) => it.items) ?? [];
  return (
    <Select
      aria-label={t("version")}
      value={value}
      popupMatchSelectWidth={false}
      style={{ minWidth: 88 }}
      loading={versions.isFetchingNextPage}
      onPopupScroll={(it) => more(it.currentTarget)}
      onChange={onChange}
      options={known.map((it) => ({ value: it.number, label: `v${it.number}${it.message ? ` · ${it.message}` : ""}` }))}
      labelRender={(it) => `v${it.value}`}
    />
  );
}

function Actions({ version }: { version: VersionView }) {
  const project = useProject();
  const { t } = useWords();
  const { why } = useMay();
  const confirm = useConfirm();
  const navigate = useNavigate();
  const remove = useChange(() => call(api.dataset(project, version.dataset), { method: "DELETE" }), [[project, "datasets"]]);
  const formats = version.summary.kind === "images" ? ["images"] : ["csv", "parquet", "original"];
  const href = (format: string) => api.exported(project, version.dataset, version.number, { format, manifest: format === "images" });
  const ask = () =>
    confirm({
      title: t("dataset.deleteAsk", { name: version.dataset }),
      text: t("dataset.deleteText"),
      ok: t("delete"),
      act: async () => {
        await remove.mutateAsync(undefined);
        void navigate(pages.datasets(project));
      },
    });
  return (
    <>
      <Dropdown
        trigger={["click"]}
        menu={{
          items: formats.map((it) => ({
            key: it,
            label: (
              <a href={href(it)} download>
                {t(`export.${it}` as Key)}
              </a>
            ),
          })),
        }}
      >
        <Button icon={<DownloadOutlined />}>{t("export")}</Button>
      </Dropdown>
      <Why not={why("maintainer")}>
        <Button aria-label={t("delete")} icon={<DeleteOutlined />} disabled={why("maintainer") !== null} onClick={ask} />
      </Why>
    </>
  );
}

function Body({ version, description }: { version: VersionView; description: string }) {
  const { t, language } = useWords();
  const [params, setUrl] = useUrl();
  const tab = oneOf(params, "tab", TABS, "browse");
  const px = version.summary.pixels;
  const folders = version.summary.folders;
  const range = (low: number, high: number) => (low === high ? String(low) : `${low}–${high}`);
  return (
    <div className="with-facts">
      <Tabs
        activeKey={tab}
        onChange={(it) => setUrl({ tab: it === "browse" ? null : it })}
        destroyOnHidden
        items={[
          { key: "browse", label: t("tab.browse"), children: version.summary.kind === "table" ? <BrowseTable version={version} /> : <BrowseImages version={version} /> },
          { key: "versions", label: t("versions"), children: <VersionsTab name={version.dataset} /> },
          { key: "summary", label: t("tab.summary"), children: <SummaryTab version={version} /> },
          { key: "use", label: t("tab.use"), children: <UseTab version={version} /> },
        ]}
      />
      <Facts
        rows={[
          [t("name"), <span key="name" className="mono">{version.dataset} <Copy text={version.dataset} /></span>],
          [t("description"), description || null],
          [t("items"), count(version.items, language)],
          [t("size"), bytes(version.bytes)],
          [t("kind"), t(`kind.${version.summary.kind}` as Key)],
          [t("classes"), Object.keys(version.summary.classes).length || null],
          [t("split"), Object.entries(version.summary.splits).map(([k, n]) => <div key={k}>{t(`split.${k}` as Key)} {count(n, language)}</div>)],
          [t("dataset.seed"), version.summary.split_seed === null ? null : <code>{version.summary.split_seed}</code>],
          [t("dataset.pixels"), px ? `${range(px.width_min, px.width_max)} × ${range(px.height_min, px.height_max)} px` : null],
          [t("dataset.samples"), Object.keys(version.summary.samples ?? {}).length
            ? Object.entries(version.summary.samples ?? {}).map(([sample, n]) => <div key={sample}>{sample}: {count(n, language)}</div>) : null],
          [t("dataset.classLevel"), folders && folders.levels.length > 1 ? (
            <div key="folders">
              {t("dataset.classLevelText", { level: folders.class_level ?? "-", n: folders.levels.length })}
              {folders.levels.map((it) => <div key={it.level} className="muted">{it.level}: {it.examples.join(", ")}{it.names > it.examples.length ? ", …" : ""}</div>)}
              {folders.is_unsure ? <div>{t("dataset.classLevelUnsure")} <code>--class-level</code></div> : null}
            </div>
          ) : null],
          [t("dataset.target"), version.summary.target ? <code>{version.summary.target}</code> : null],
          [t("dataset.skipped"), version.summary.skipped_total ? count(version.summary.skipped_total, language) : null],
          [t("message"), version.message || null],
          [t("source"), version.source || null],
          [t("created"), <When key="at" at={version.created_at} />],
          [t("by"), version.created_by],
          ["ID", <span key="id" className="mono">{version.id} <Copy text={version.id} /></span>],
        ]}
      />
    </div>
  );
}
