import { Button, Form, Input, Modal, Select, Table } from "antd";
import { useState } from "react";
import { call, read } from "../../api/client";
import { useChange, useMembers } from "../../api/hooks";
import { type MemberView, ROLES } from "../../api/types";
import { useMay, useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { api } from "../../paths";
import { Fault, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";

function useSetMember() {
  const project = useProject();
  return useChange((it: { user: string; role: string }) => read<MemberView>(api.member(project, it.user), { method: "PUT", json: { role: it.role } }), [[project, "access"], ["me"]]);
}

export function MembersTab() {
  const project = useProject();
  const { t } = useWords();
  const { why } = useMay();
  const confirm = useConfirm();
  const members = useMembers(project);
  const [adding, setAdding] = useState(false);
  const not = why("owner");
  const change = useSetMember();
  const remove = useChange((user: string) => call(api.member(project, user), { method: "DELETE" }), [[project, "access"], ["me"]]);
  const ask = (it: MemberView) =>
    confirm({ title: t("member.removeAsk", { name: it.name }), ok: t("remove"), act: () => remove.mutateAsync(it.name) });
  const roles = ROLES.map((it) => ({ value: it, label: t(`role.${it}`) }));
  return (
    <>
      <div className="row" style={{ marginBottom: 12 }}>
        <Why not={not}>
          <Button type="primary" disabled={not !== null} onClick={() => setAdding(true)}>
            {t("member.add")}
          </Button>
        </Why>
        <span className="muted">{t("member.roles")}</span>
      </div>
      {change.error ? <Fault error={change.error} /> : null}
      <Wait of={members}>
        {(data) => (
          <Table<MemberView>
            rowKey="user_id"
            size="small"
            dataSource={data.items}
            pagination={data.items.length > 100 ? { pageSize: 100 } : false}
            columns={[
              { title: t("name"), render: (_, it) => <>{it.display_name} <span className="muted">{it.name}</span></> },
              {
                title: t("role"),
                render: (_, it) => (
                  <Why not={not}>
                    <Select size="small" aria-label={t("member.roleOf", { name: it.name })} style={{ width: 150 }} disabled={not !== null} value={it.role} options={roles} onChange={(role: string) => change.mutate({ user: it.name, role })} />
                  </Why>
                ),
              },
              { title: t("role.may"), render: (_, it) => <span className="muted">{t(`role.${it.role}.may` as Key)}</span> },
              { title: t("since"), dataIndex: "since", render: (at: number) => <When at={at} /> },
              {
                title: "",
                align: "right",
                render: (_, it) => (
                  <Why not={not}>
                    <Button size="small" disabled={not !== null} onClick={() => ask(it)} aria-label={t("member.remove", { name: it.name })}>
                      {t("remove")}
                    </Button>
                  </Why>
                ),
              },
            ]}
          />
        )}
      </Wait>
      {adding ? <AddMember roles={roles} onClose={() => setAdding(false)} /> : null}
    </>
  );
}

function AddMember({ roles, onClose }: { roles: { value: string; label: string }[]; onClose: () => void }) {
  const { t } = useWords();
  const [form] = Form.useForm<{ user: string; role: string }>();
  const change = useSetMember();
  return (
    <Modal open title={t("member.add")} okText={t("member.add")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={change.isPending}>
      <Form form={form} layout="vertical" initialValues={{ role: "developer" }} onFinish={(it) => change.mutate(it, { onSuccess: onClose })}>
        <Form.Item name="user" label={t("signIn.name")} rules={[{ required: true, message: t("required") }]}>
          <Input autoFocus />
        </Form.Item>
        <Form.Item name="role" label={t("role")}>
          <Select options={roles} />
        </Form.Item>
      </Form>
      {change.error ? <Fault error={change.error} /> : null}
    </Modal>
  );
}
