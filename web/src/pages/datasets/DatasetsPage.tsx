import { Table } from "antd";
import { Link, useNavigate } from "react-router";
import { useDatasets } from "../../api/hooks";
import type { DatasetView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { bytes, count } from "../../lib/format";
import { pageParam, useUrl } from "../../lib/url";
import { pages } from "../../paths";
import { Empty, HowTo, Page, Wait, When } from "../../ui/basics";
import { onRow } from "../../ui/rows";

const PER_PAGE = 100;

type Order = (a: DatasetView, b: DatasetView) => number;
/** An order only where every row is in the page: to sort one page of many would show a wrong first row. */
const sorted = (data: { items: DatasetView[]; total: number }, order: Order) => (data.total === data.items.length ? order : false);

export function DatasetsPage() {
  const project = useProject();
  const { t, language } = useWords();
  const navigate = useNavigate();
  const [params, setUrl] = useUrl();
  const page = pageParam(params);
  const datasets = useDatasets(project, { offset: (page - 1) * PER_PAGE, limit: PER_PAGE });
  const command = `kaogong datasets import PATH --name NAME${inProject(project)}`;
  return (
    <Page title={t("nav.datasets")} actions={datasets.data?.total ? <HowTo label={t("datasets.import")} text={t("datasets.emptyText")} command={command} /> : null}>
      <Wait of={datasets}>
        {(data) =>
          data.total === 0 ? (
            <Empty title={t("datasets.empty")} text={t("datasets.emptyText")} command={command} />
          ) : (
            <Table<DatasetView>
              className="clickable"
              rowKey="id"
              size="small"
              dataSource={data.items}
              pagination={{ current: page, pageSize: PER_PAGE, total: data.total, onChange: (it) => setUrl({ page: it === 1 ? null : it }), showSizeChanger: false, hideOnSinglePage: true }}
              onRow={onRow((it) => void navigate(pages.dataset(project, it.name)))}
              columns={[
                {
                  title: t("name"),
                  dataIndex: "name",
                  sorter: sorted(data, (a, b) => a.title.localeCompare(b.title, language)),
                  render: (name: string, it) => (
                    <>
                      <Link to={pages.dataset(project, name)}>{it.title}</Link>
                      {it.title === name ? null : <div className="muted mono">{name}</div>}
                      {it.description ? <div className="muted">{it.description}</div> : null}
                    </>
                  ),
                },
                { title: t("kind"), dataIndex: "kind", render: (it: string) => t(`kind.${it}` as Key) },
                { title: t("items"), align: "right", sorter: sorted(data, (a, b) => (a.latest?.items ?? 0) - (b.latest?.items ?? 0)), render: (_, it) => (it.latest ? count(it.latest.items, language) : "—") },
                { title: t("size"), align: "right", sorter: sorted(data, (a, b) => (a.latest?.bytes ?? 0) - (b.latest?.bytes ?? 0)), render: (_, it) => (it.latest ? bytes(it.latest.bytes) : "—") },
                { title: t("classes"), align: "right", render: (_, it) => Object.keys(it.latest?.summary.classes ?? {}).length || "—" },
                { title: t("versions"), dataIndex: "versions", align: "right" },
                { title: t("changed"), sorter: sorted(data, (a, b) => (a.latest?.created_at ?? 0) - (b.latest?.created_at ?? 0)), render: (_, it) => <When at={it.latest?.created_at ?? it.created_at} /> },
                { title: t("by"), render: (_, it) => it.latest?.created_by ?? it.created_by ?? "—" },
              ]}
            />
          )
        }
      </Wait>
    </Page>
  );
}
