import { Button, Form, Input, Modal, Select, Table } from "antd";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { read } from "../../api/client";
import { useChange, useEndpoints, useModels, useSystem } from "../../api/hooks";
import type { EndpointView } from "../../api/types";
import { ModelLink, State, useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { count, microseconds } from "../../lib/format";
import { api, pages } from "../../paths";
import { Empty, Fault, Page, Wait, When, Why } from "../../ui/basics";
import { onRow } from "../../ui/rows";

export function EndpointsPage() {
  const project = useProject();
  const { t, language } = useWords();
  const { why } = useMay();
  const navigate = useNavigate();
  const endpoints = useEndpoints(project);
  const [making, setMaking] = useState(false);
  return (
    <Page
      title={t("nav.endpoints")}
      actions={
        <Why not={why("maintainer")}>
          <Button type="primary" disabled={why("maintainer") !== null} onClick={() => setMaking(true)}>
            {t("endpoint.create")}
          </Button>
        </Why>
      }
    >
      <Wait of={endpoints}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("endpoints.empty")} text={t("endpoints.emptyText")} command={`kaogong endpoints create NAME --model MODEL@1${inProject(project)}`} />
          ) : (
            <Table<EndpointView>
              className="clickable"
              rowKey="id"
              size="small"
              dataSource={data.items}
              pagination={data.items.length > 100 ? { pageSize: 100 } : false}
              onRow={onRow((it) => void navigate(pages.endpoint(project, it.name)))}
              columns={[
                { title: t("state"), dataIndex: "state", width: 110, render: (it: string) => <State state={it} /> },
                {
                  title: t("name"),
                  dataIndex: "name",
                  render: (name: string, it) => (
                    <>
                      <Link to={pages.endpoint(project, name)}>{name}</Link>
                      {it.reason ? <div className="muted">{it.reason}</div> : null}
                    </>
                  ),
                },
                { title: t("model"), render: (_, it) => <ModelLink version={`${it.model}@${it.version}`} /> },
                { title: t("engine"), dataIndex: "engine" },
                { title: t("latency.p50Head"), align: "right", render: (_, it) => microseconds(it.stats.p50_us) },
                { title: t("latency.p99Head"), align: "right", render: (_, it) => microseconds(it.stats.p99_us) },
                { title: t("perSecond"), align: "right", render: (_, it) => it.stats.per_second.toFixed(1) },
                { title: t("answered"), align: "right", render: (_, it) => count(it.stats.succeeded, language) },
                { title: t("failedCalls"), align: "right", render: (_, it) => count(it.stats.failed, language) },
                { title: t("created"), dataIndex: "created_at", render: (at: number) => <When at={at} /> },
              ]}
            />
          )
        }
      </Wait>
      {making ? <NewEndpoint onClose={() => setMaking(false)} /> : null}
    </Page>
  );
}

function NewEndpoint({ onClose }: { onClose: () => void }) {
  const project = useProject();
  const { t } = useWords();
  const navigate = useNavigate();
  const models = useModels(project);
  const system = useSystem();
  const [form] = Form.useForm<{ name: string; model: string; engine?: string }>();
  const make = useChange((it: { name: string; model: string; engine?: string }) => read<EndpointView>(api.endpoints(project), { method: "POST", json: it }), [[project, "endpoints"], [project, "models"]]);
  const choices = (models.data?.items ?? []).flatMap((it) => [
    ...Object.keys(it.aliases).map((alias) => `${it.name}@${alias}`),
    ...it.versions.filter((one) => one.hash).map((one) => `${it.name}@${one.number}`),
  ]);
  return (
    <Modal open title={t("endpoint.create")} okText={t("endpoint.create")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={make.isPending}>
      <Form form={form} layout="vertical" onFinish={(it) => make.mutate(it, { onSuccess: (made) => void navigate(pages.endpoint(project, made.name)) })}>
        <Form.Item name="name" label={t("name")} rules={[{ required: true, message: t("required") }]}>
          <Input autoFocus />
        </Form.Item>
        <Form.Item name="model" label={t("model")} rules={[{ required: true, message: t("required") }]} extra={choices.length ? null : t("endpoint.noModel")}>
          <Select showSearch options={choices.map((it) => ({ value: it, label: it }))} />
        </Form.Item>
        <Form.Item name="engine" label={t("engine")}>
          <Select allowClear placeholder={t("engine.best")} options={(system.data?.engines ?? []).map((it) => ({ value: it.name, label: `${it.name} ${it.version}` }))} />
        </Form.Item>
      </Form>
      {make.error ? <Fault error={make.error} /> : null}
    </Modal>
  );
}
