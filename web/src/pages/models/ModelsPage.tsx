import { Table } from "antd";
import { Link, useNavigate } from "react-router";
import { useModels } from "../../api/hooks";
import type { ModelView } from "../../api/types";
import { EndpointLink, Links, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { headline } from "../../lib/headline";
import { pages } from "../../paths";
import { Empty, HowTo, Page, Wait, When } from "../../ui/basics";
import { onRow } from "../../ui/rows";

export function ModelsPage() {
  const project = useProject();
  const { t } = useWords();
  const navigate = useNavigate();
  const models = useModels(project);
  const command = `kaogong models register NAME model.onnx${inProject(project)}`;
  return (
    <Page title={t("nav.models")} actions={models.data?.items.length ? <HowTo label={t("models.register")} text={t("models.emptyText")} command={command} /> : null}>
      <Wait of={models}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("models.empty")} text={t("models.emptyText")} command={command} />
          ) : (
            <Table<ModelView>
              className="clickable"
              rowKey="id"
              size="small"
              dataSource={data.items}
              pagination={data.items.length > 100 ? { pageSize: 100 } : false}
              onRow={onRow((it) => void navigate(pages.model(project, it.name)))}
              columns={[
                {
                  title: t("name"),
                  dataIndex: "name",
                  sorter: (a, b) => a.name.localeCompare(b.name),
                  render: (name: string, it) => (
                    <>
                      <Link to={pages.model(project, name)}>{name}</Link>
                      {it.description ? <div className="muted">{it.description}</div> : null}
                    </>
                  ),
                },
                { title: t("model.newest"), align: "right", render: (_, it) => (it.versions[0] ? `v${it.versions[0].number}` : "—") },
                { title: t("aliases"), render: (_, it) => <Links>{Object.entries(it.aliases).map(([alias, n]) => <span className="chip" key={alias}>{`${alias} → v${n}`}</span>)}</Links> },
                { title: t("metrics"), render: (_, it) => <span className="muted">{headline(it.versions[0]?.metrics ?? {})}</span> },
                { title: t("nav.endpoints"), render: (_, it) => <Links>{[...new Set(it.versions.flatMap((one) => one.endpoints))].map((one) => <EndpointLink key={one} name={one} />)}</Links> },
                { title: t("changed"), dataIndex: "updated_at", sorter: (a, b) => a.updated_at - b.updated_at, render: (at: number) => <When at={at} /> },
              ]}
            />
          )
        }
      </Wait>
    </Page>
  );
}
