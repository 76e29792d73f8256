import { Form, Input, Modal, Select } from "antd";
import { read } from "../../api/client";
import { useChange, useModels, useSystem } from "../../api/hooks";
import { BATCHING, type EndpointView, type ModelView } from "../../api/types";
import { useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { api } from "../../paths";
import { Fault } from "../../ui/basics";

type Wanted = { name: string; model: string; engine?: string; batching: string };

/** What an endpoint can serve: the aliases of each model, then its versions that have a file. */
export function servable(models: ModelView[]): string[] {
  return models.flatMap((it) => [
    ...Object.keys(it.aliases).map((alias) => `${it.name}@${alias}`),
    ...it.versions.filter((one) => one.hash).map((one) => `${it.name}@${one.number}`),
  ]);
}

/** Creates an endpoint, or changes the one that is given. */
export function EndpointForm({ endpoint, onClose, onDone }: { endpoint?: EndpointView; onClose: () => void; onDone: (it: EndpointView) => void }) {
  const project = useProject();
  const { t } = useWords();
  const models = useModels(project);
  const system = useSystem();
  const [form] = Form.useForm<Wanted>();
  const save = useChange(
    ({ name, ...it }: Wanted) =>
      endpoint
        ? read<EndpointView>(api.endpoint(project, endpoint.name), { method: "PUT", json: it })
        : read<EndpointView>(api.endpoints(project), { method: "POST", json: { name, ...it } }),
    [[project, "endpoints"], [project, "models"]],
  );
  const choices = servable(models.data?.items ?? []);
  const title = endpoint ? t("endpoint.change") : t("endpoint.create");
  const start = endpoint ? { model: `${endpoint.model}@${endpoint.version}`, engine: endpoint.engine, batching: endpoint.batching } : { batching: "auto" };
  return (
    <Modal open title={title} okText={title} onCancel={onClose} onOk={() => form.submit()} confirmLoading={save.isPending}>
      <Form form={form} layout="vertical" initialValues={start} onFinish={(it) => save.mutate(it, { onSuccess: onDone })}>
        {endpoint ? null : (
          <Form.Item name="name" label={t("name")} rules={[{ required: true, message: t("required") }]}>
            <Input autoFocus />
          </Form.Item>
        )}
        <Form.Item name="model" label={t("model")} rules={[{ required: true, message: t("required") }]} extra={choices.length ? null : t("endpoint.noModel")}>
          <Select showSearch options={choices.map((it) => ({ value: it, label: it }))} />
        </Form.Item>
        <Form.Item name="engine" label={t("engine")}>
          <Select allowClear={!endpoint} placeholder={t("engine.best")} options={(system.data?.engines ?? []).map((it) => ({ value: it.name, label: `${it.name} ${it.version}` }))} />
        </Form.Item>
        <Form.Item name="batching" label={t("batching")} extra={t("batching.help")}>
          <Select options={BATCHING.map((it) => ({ value: it, label: t(`batching.${it}`) }))} />
        </Form.Item>
      </Form>
      {save.error ? <Fault error={save.error} /> : null}
    </Modal>
  );
}
