import { Table } from "antd";
import { Link, useNavigate } from "react-router";
import { useDatasets } from "../../api/hooks";
import type { DatasetView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { bytes, count } from "../../lib/format";
import { pages } from "../../paths";
import { Empty, Page, Wait, When } from "../../ui/basics";

export function DatasetsPage() {
  const project = useProject();
  const { t, language } = useWords();
  const navigate = useNavigate();
  const datasets = useDatasets(project);
  return (
    <Page title={t("nav.datasets")}>
      <Wait of={datasets}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("datasets.empty")} text={t("datasets.emptyText")} command={`kaogong datasets import PATH --name NAME --project ${project}`} />
          ) : (
            <Table<DatasetView>
              className="clickable"
              rowKey="id"
              size="small"
              dataSource={data.items}
              pagination={data.items.length > 100 ? { pageSize: 100 } : false}
              onRow={(it) => ({ onClick: () => void navigate(pages.dataset(project, it.name)) })}
              columns={[
                {
                  title: t("name"),
                  dataIndex: "name",
                  sorter: (a, b) => a.name.localeCompare(b.name),
                  render: (name: string, it) => (
                    <>
                      <Link to={pages.dataset(project, name)} onClick={(event) => event.stopPropagation()}>
                        {name}
                      </Link>
                      {it.description ? <div className="muted">{it.description}</div> : null}
                    </>
                  ),
                },
                { title: t("kind"), dataIndex: "kind", render: (it: string) => t(`kind.${it}` as Key) },
                { title: t("items"), align: "right", sorter: (a, b) => (a.latest?.items ?? 0) - (b.latest?.items ?? 0), render: (_, it) => (it.latest ? count(it.latest.items, language) : "—") },
                { title: t("size"), align: "right", sorter: (a, b) => (a.latest?.bytes ?? 0) - (b.latest?.bytes ?? 0), render: (_, it) => (it.latest ? bytes(it.latest.bytes) : "—") },
                { title: t("classes"), align: "right", render: (_, it) => Object.keys(it.latest?.summary.classes ?? {}).length || "—" },
                { title: t("versions"), dataIndex: "versions", align: "right" },
                { title: t("changed"), sorter: (a, b) => (a.latest?.created_at ?? 0) - (b.latest?.created_at ?? 0), render: (_, it) => <When at={it.latest?.created_at ?? it.created_at} /> },
                { title: t("by"), render: (_, it) => it.latest?.created_by ?? it.created_by ?? "—" },
              ]}
            />
          )
        }
      </Wait>
    </Page>
  );
}
