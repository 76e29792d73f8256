import { Button, Checkbox, Form, Input, InputNumber, Modal, Select, Table } from "antd";
import { useState } from "react";
import { call, read } from "../../api/client";
import { useChange, useMe, useTokens } from "../../api/hooks";
import { type NewTokenView, SCOPES, type TokenView } from "../../api/types";
import { useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { api } from "../../paths";
import { Empty, Fault, Snippet, Wait, When } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";

type Wanted = { name: string; project?: string; scopes: string[]; days: number };

export function TokensTab() {
  const { t } = useWords();
  const confirm = useConfirm();
  const tokens = useTokens();
  const [making, setMaking] = useState(false);
  const remove = useChange((id: string) => call(api.token(id), { method: "DELETE" }), [["tokens"]]);
  const ask = (it: TokenView) =>
    confirm({ title: t("token.deleteAsk", { name: it.name }), text: t("token.deleteText"), ok: t("delete"), act: () => remove.mutateAsync(it.id) });
  return (
    <>
      <div className="row" style={{ marginBottom: 12 }}>
        <Button type="primary" onClick={() => setMaking(true)}>
          {t("token.create")}
        </Button>
        <span className="muted">{t("token.yours")}</span>
      </div>
      <Wait of={tokens}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty title={t("token.none")} command="kaogong access tokens create ci --scope write" />
          ) : (
            <Table<TokenView>
              rowKey="id"
              size="small"
              dataSource={data.items}
              pagination={data.items.length > 100 ? { pageSize: 100 } : false}
              columns={[
                { title: t("name"), dataIndex: "name" },
                { title: t("token.scopes"), render: (_, it) => it.scopes.map((one) => <span className="chip" key={one} style={{ marginRight: 4 }}>{t(`scope.${one}` as Key)}</span>) },
                { title: t("project"), render: (_, it) => it.project ?? t("project.all") },
                { title: t("created"), render: (_, it) => <When at={it.created_at} /> },
                { title: t("token.lastUsed"), render: (_, it) => (it.last_used_at ? <When at={it.last_used_at} /> : t("token.neverUsed")) },
                { title: t("token.expires"), render: (_, it) => (it.expires_at ? <When at={it.expires_at} /> : t("token.neverExpires")) },
                { title: "", align: "right", render: (_, it) => <Button size="small" onClick={() => ask(it)} aria-label={t("token.delete", { name: it.name })}>{t("delete")}</Button> },
              ]}
            />
          )
        }
      </Wait>
      {making ? <NewToken onClose={() => setMaking(false)} /> : null}
    </>
  );
}

function NewToken({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  const project = useProject();
  const { data: me } = useMe();
  const [form] = Form.useForm<Wanted>();
  const make = useChange((it: Wanted) => read<NewTokenView>(api.tokens, { method: "POST", json: it }), [["tokens"]]);
  if (make.data)
    return (
      <Modal open title={t("token.made")} onCancel={onClose} footer={<Button type="primary" onClick={onClose}>{t("done")}</Button>} mask={{ closable: false }}>
        <p>{t("token.once")}</p>
        <Snippet text={make.data.secret} label={t("token.secret")} />
      </Modal>
    );
  return (
    <Modal open title={t("token.create")} okText={t("token.create")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={make.isPending}>
      <Form form={form} layout="vertical" initialValues={{ project, scopes: ["read"], days: 90 }} onFinish={(it) => make.mutate(it)}>
        <Form.Item name="name" label={t("token.name")} rules={[{ required: true, message: t("required") }]}>
          <Input autoFocus />
        </Form.Item>
        <Form.Item name="scopes" label={t("token.scopes")} rules={[{ required: true, message: t("required") }]}>
          <Checkbox.Group style={{ display: "grid", gap: 4 }} options={SCOPES.map((it) => ({ value: it, label: `${t(`scope.${it}` as Key)} — ${t(`scope.${it}.may` as Key)}` }))} />
        </Form.Item>
        <Form.Item name="project" label={t("project")}>
          <Select allowClear placeholder={t("project.all")} options={(me?.projects ?? []).map((it) => ({ value: it.name, label: it.title || it.name }))} />
        </Form.Item>
        <Form.Item name="days" label={t("token.days")}>
          <InputNumber min={1} max={366} />
        </Form.Item>
      </Form>
      {make.error ? <Fault error={make.error} /> : null}
    </Modal>
  );
}
