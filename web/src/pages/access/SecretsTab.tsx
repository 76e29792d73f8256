import { Button, Form, Input, Modal, Table } from "antd";
import { useState } from "react";
import { call, read } from "../../api/client";
import { useChange, useSecrets } from "../../api/hooks";
import type { SecretView } from "../../api/types";
import { useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { api } from "../../paths";
import { Empty, Fault, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";

/** What the server takes as the name of a secret: it becomes the name of a variable. */
export const SECRET_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

export function SecretsTab() {
  const project = useProject();
  const { t } = useWords();
  const { may, why } = useMay();
  const confirm = useConfirm();
  const secrets = useSecrets(project, may("developer"));
  // The secret whose value is set; an empty name for a new one.
  const [setting, setSetting] = useState<string | null>(null);
  const not = why("maintainer");
  const remove = useChange((name: string) => call(api.secret(project, name), { method: "DELETE" }), [[project, "access"]]);
  const ask = (it: SecretView) =>
    confirm({ title: t("secret.deleteAsk", { name: it.name }), text: t("secret.deleteText"), ok: t("delete"), act: () => remove.mutateAsync(it.name) });
  if (!may("developer")) return <Empty title={why("developer") ?? ""} />;
  return (
    <>
      <div className="row" style={{ marginBottom: 12 }}>
        <Why not={not}>
          <Button type="primary" disabled={not !== null} onClick={() => setSetting("")}>
            {t("secret.set")}
          </Button>
        </Why>
        <span className="muted">{t("secret.what")}</span>
      </div>
      <Wait of={secrets}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("secret.none")} command={`kaogong access secrets set HF_TOKEN${inProject(project)}`} />
          ) : (
            <Table<SecretView>
              rowKey="name"
              size="small"
              dataSource={data.items}
              pagination={data.items.length > 100 ? { pageSize: 100 } : false}
              columns={[
                { title: t("name"), dataIndex: "name", render: (name: string) => <span className="mono">{name}</span> },
                { title: t("secret.updated"), dataIndex: "updated_at", render: (at: number) => <When at={at} /> },
                { title: t("secret.by"), dataIndex: "updated_by" },
                {
                  title: "",
                  align: "right",
                  render: (_, it) => (
                    <Why not={not}>
                      <span className="row" style={{ justifyContent: "flex-end" }}>
                        <Button size="small" disabled={not !== null} onClick={() => setSetting(it.name)} aria-label={t("secret.replace", { name: it.name })}>
                          {t("secret.newValue")}
                        </Button>
                        <Button size="small" disabled={not !== null} onClick={() => ask(it)} aria-label={t("secret.delete", { name: it.name })}>
                          {t("delete")}
                        </Button>
                      </span>
                    </Why>
                  ),
                },
              ]}
            />
          )
        }
      </Wait>
      {setting !== null ? <SetSecret name={setting} onClose={() => setSetting(null)} /> : null}
    </>
  );
}

function SetSecret({ name, onClose }: { name: string; onClose: () => void }) {
  const project = useProject();
  const { t } = useWords();
  const [form] = Form.useForm<{ name: string; value: string }>();
  const change = useChange((it: { name: string; value: string }) => read<SecretView>(api.secret(project, it.name), { method: "PUT", json: { value: it.value } }), [[project, "access"]]);
  const title = name ? t("secret.replace", { name }) : t("secret.set");
  return (
    <Modal open title={title} okText={t("secret.save")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={change.isPending} destroyOnHidden>
      <Form form={form} layout="vertical" initialValues={{ name, value: "" }} onFinish={(it) => change.mutate({ name: name || it.name, value: it.value }, { onSuccess: onClose })}>
        {name ? null : (
          <Form.Item name="name" label={t("name")} extra={t("secret.nameHelp")} rules={[{ required: true, message: t("required") }, { pattern: SECRET_NAME, message: t("secret.badName") }]}>
            <Input autoFocus className="mono" placeholder="HF_TOKEN" />
          </Form.Item>
        )}
        <Form.Item name="value" label={t("secret.value")} extra={t("secret.valueHelp")} rules={[{ required: true, message: t("required") }]}>
          <Input.Password autoFocus={name !== ""} autoComplete="new-password" visibilityToggle={false} />
        </Form.Item>
      </Form>
      {change.error ? <Fault error={change.error} /> : null}
    </Modal>
  );
}
