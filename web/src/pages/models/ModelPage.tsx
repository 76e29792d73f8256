import { CloseOutlined, DownloadOutlined } from "@ant-design/icons";
import { Button, Form, Input, Modal, Select, Table } from "antd";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { call, read } from "../../api/client";
import { useChange, useModel } from "../../api/hooks";
import type { ModelVersionView, ModelView } from "../../api/types";
import { Lineage } from "../../components/Lineage";
import { State, useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { bytes, metric } from "../../lib/format";
import { headline } from "../../lib/headline";
import { useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Copy, Empty, Facts, Fault, KeyValues, Page, Snippet, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";
import { onRow } from "../../ui/rows";
import { useRunJob } from "./useRunJob";

export function ModelPage() {
  const project = useProject();
  const name = useParams()["name"] ?? "";
  const { t } = useWords();
  const { why } = useMay();
  const model = useModel(project, name);
  const [aliasing, setAliasing] = useState(false);
  return (
    <Page
      title={name}
      crumbs={<Link to={pages.models(project)}>{t("nav.models")}</Link>}
      actions={
        model.data?.versions.length ? (
          <Why not={why("maintainer")}>
            <Button type="primary" disabled={why("maintainer") !== null} onClick={() => setAliasing(true)}>
              {t("alias.set")}
            </Button>
          </Why>
        ) : null
      }
    >
      <Wait of={model} rows={12}>{(it) => <Body model={it} />}</Wait>
      {aliasing && model.data ? <AliasForm model={model.data} onClose={() => setAliasing(false)} /> : null}
    </Page>
  );
}

function Body({ model }: { model: ModelView }) {
  const project = useProject();
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const chosen = model.versions.find((it) => String(it.number) === params.get("version")) ?? model.versions[0];
  const choose = onRow<ModelVersionView>((it) => setUrl({ version: it.number }));
  return (
    <div className="with-facts">
      <div className="stack">
        {chosen ? <Version key={chosen.id} version={chosen} /> : <Empty title={t("model.noVersion")} command={`kaogong models register ${model.name} model.onnx${inProject(project)}`} />}
        <section>
          <h2>{t("versions")}</h2>
          <Table<ModelVersionView>
            className="clickable"
            rowKey="id"
            size="small"
            dataSource={model.versions}
            pagination={model.versions.length > 50 ? { pageSize: 50 } : false}
            onRow={(it) => ({ ...choose(it), "aria-current": it.id === chosen?.id })}
            columns={[
              { title: t("version"), render: (_, it) => <Link to={`?version=${it.number}`}>v{it.number}</Link> },
              { title: t("aliases"), render: (_, it) => Object.entries(model.aliases).filter(([, n]) => n === it.number).map(([alias]) => <span className="chip" key={alias}>{alias}</span>) },
              { title: t("state"), render: (_, it) => <State state={it.status} /> },
              { title: t("metrics"), render: (_, it) => <span className="muted">{headline(it.metrics, 2) || "—"}</span> },
              { title: t("size"), align: "right", render: (_, it) => (it.size === null ? "—" : bytes(it.size)) },
              { title: t("created"), render: (_, it) => <When at={it.created_at} /> },
            ]}
          />
        </section>
      </div>
      <Facts
        rows={[
          [t("description"), model.description || null],
          [t("aliases"), <Aliases key="a" model={model} />],
          [t("tags"), Object.keys(model.tags).length ? Object.entries(model.tags).map(([k, v]) => <div key={k}>{k}: {v}</div>) : null],
          [t("created"), <When key="c" at={model.created_at} />],
          [t("changed"), <When key="u" at={model.updated_at} />],
          ["ID", <span key="id" className="mono">{model.id} <Copy text={model.id} /></span>],
        ]}
      />
    </div>
  );
}

function Version({ version }: { version: ModelVersionView }) {
  const project = useProject();
  const { t } = useWords();
  const job = useRunJob(project, version.run_id);
  const pin = `${version.model}@${version.number}`;
  return (
    <section className="panel stack">
      <div className="row">
        <h2 style={{ margin: 0 }}>{pin}</h2>
        <State state={version.status} />
        <span className="grow" />
        {version.hash ? (
          <Button icon={<DownloadOutlined />} href={api.modelFile(project, version.model, version.number)} download={`${version.model}-${version.number}.onnx`}>
            {t("model.download")}
          </Button>
        ) : null}
      </div>
      <Lineage datasets={version.datasets} job={job} run={version.run_id ? { id: version.run_id } : null} models={[pin]} endpoints={version.endpoints} />
      {version.status_message ? <p className="muted" style={{ margin: 0 }}>{version.status_message}</p> : null}
      {version.description ? <p style={{ margin: 0 }}>{version.description}</p> : null}
      <div className="grid-3">
        <div>
          <h2>{t("metrics")}</h2>
          <KeyValues rows={Object.entries(version.metrics).map(([k, v]) => [k, metric(v)])} />
        </div>
        <div>
          <h2>{t("model.file")}</h2>
          <KeyValues
            keys={84}
            rows={[
              [t("source"), version.source || "—"],
              [t("size"), version.size === null ? t("model.noFile") : bytes(version.size)],
              ["BLAKE3", version.hash ? <span className="mono" key="h">{version.hash.slice(0, 16)}… <Copy text={version.hash} /></span> : "—"],
              ...Object.entries(version.tags),
            ]}
          />
        </div>
      </div>
      {version.endpoints.length === 0 && version.hash ? (
        <div>
          <h2>{t("model.serve")}</h2>
          <Snippet text={`kaogong endpoints create ${version.model} --model ${pin}${inProject(project)}`} />
        </div>
      ) : null}
    </section>
  );
}

function Aliases({ model }: { model: ModelView }) {
  const project = useProject();
  const { t } = useWords();
  const { may } = useMay();
  const confirm = useConfirm();
  const remove = useChange((alias: string) => call(api.alias(project, model.name, alias), { method: "DELETE" }), [[project, "models"]]);
  const ask = (alias: string) =>
    confirm({ title: t("alias.removeAsk", { alias }), ok: t("remove"), act: () => remove.mutateAsync(alias) });
  const all = Object.entries(model.aliases);
  if (all.length === 0) return <span className="muted">{t("alias.none")}</span>;
  return (
    <>
      {all.map(([alias, n]) => (
        <div key={alias} className="row">
          <span className="chip">{alias}</span> → v{n}
          {may("maintainer") ? <Button size="small" type="text" icon={<CloseOutlined />} aria-label={t("alias.remove", { alias })} onClick={() => ask(alias)} /> : null}
        </div>
      ))}
    </>
  );
}

function AliasForm({ model, onClose }: { model: ModelView; onClose: () => void }) {
  const project = useProject();
  const { t } = useWords();
  const [form] = Form.useForm<{ alias: string; version: number }>();
  const set = useChange((it: { alias: string; version: number }) => read<ModelView>(api.alias(project, model.name, it.alias), { method: "PUT", json: { version: it.version } }), [[project, "models"]]);
  return (
    <Modal open title={t("alias.set")} okText={t("alias.set")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={set.isPending}>
      <Form form={form} layout="vertical" initialValues={{ alias: "champion", version: model.versions[0]?.number }} onFinish={(it) => set.mutate(it, { onSuccess: onClose })}>
        <Form.Item name="alias" label={t("alias")} rules={[{ required: true, message: t("required") }]}>
          <Input />
        </Form.Item>
        <Form.Item name="version" label={t("version")}>
          <Select options={model.versions.map((it) => ({ value: it.number, label: `v${it.number}` }))} />
        </Form.Item>
      </Form>
      {set.error ? <Fault error={set.error} /> : null}
    </Modal>
  );
}
