// For the platform's administrators: users and projects.
import { Button, Checkbox, Form, Input, Modal, Table } from "antd";
import { useState } from "react";
import { Link } from "react-router";
import { call, read } from "../../api/client";
import { useChange, useMe, useProjects, useUsers } from "../../api/hooks";
import type { NewUserView, ProjectView, UserView } from "../../api/types";
import { useWords } from "../../i18n";
import { api, pages } from "../../paths";
import { Fault, Pill, Snippet, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";

export function UsersTab() {
  const { t } = useWords();
  const confirm = useConfirm();
  const { data: me } = useMe();
  const users = useUsers(true);
  const [making, setMaking] = useState(false);
  const disable = useChange((user: string) => call(api.user(user), { method: "DELETE" }), [["users"]]);
  const ask = (it: UserView) =>
    confirm({ title: t("user.disableAsk", { name: it.name }), text: t("user.disableText"), ok: t("user.disable"), act: () => disable.mutateAsync(it.name) });
  const whyNot = (it: UserView) => (it.is_disabled ? t("user.isDisabled") : it.id === me?.user.id ? t("user.self") : null);
  return (
    <>
      <div className="row" style={{ marginBottom: 12 }}>
        <Button type="primary" onClick={() => setMaking(true)}>
          {t("user.create")}
        </Button>
      </div>
      <Wait of={users}>
        {(data) => (
          <Table<UserView>
            rowKey="id"
            size="small"
            dataSource={data.items}
            pagination={data.items.length > 100 ? { pageSize: 100 } : false}
            columns={[
              { title: t("name"), render: (_, it) => <>{it.display_name} <span className="muted">{it.name}</span></> },
              { title: t("user.admin"), render: (_, it) => (it.is_admin ? t("yes") : t("no")) },
              { title: t("state"), render: (_, it) => (it.is_disabled ? <Pill tone="off">{t("user.disabled")}</Pill> : <Pill tone="ok">{t("user.active")}</Pill>) },
              { title: t("created"), dataIndex: "created_at", render: (at: number) => <When at={at} /> },
              { title: "", align: "right", render: (_, it) => <Why not={whyNot(it)}><Button size="small" disabled={whyNot(it) !== null} onClick={() => ask(it)}>{t("user.disable")}</Button></Why> },
            ]}
          />
        )}
      </Wait>
      {making ? <NewUser onClose={() => setMaking(false)} /> : null}
    </>
  );
}

function NewUser({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  const [form] = Form.useForm<{ name: string; display_name?: string; is_admin: boolean }>();
  const make = useChange((it: { name: string; display_name?: string; is_admin: boolean }) => read<NewUserView>(api.users, { method: "POST", json: it }), [["users"]]);
  if (make.data)
    return (
      <Modal open title={t("user.made", { name: make.data.user.name })} onCancel={onClose} footer={<Button type="primary" onClick={onClose}>{t("done")}</Button>} mask={{ closable: false }}>
        {make.data.password ? (
          <>
            <p>{t("user.password")}</p>
            <Snippet text={make.data.password} label={t("signIn.password")} />
          </>
        ) : null}
      </Modal>
    );
  return (
    <Modal open title={t("user.create")} okText={t("user.create")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={make.isPending}>
      <Form form={form} layout="vertical" initialValues={{ is_admin: false }} onFinish={(it) => make.mutate(it)}>
        <Form.Item name="name" label={t("signIn.name")} rules={[{ required: true, message: t("required") }]}>
          <Input autoFocus />
        </Form.Item>
        <Form.Item name="display_name" label={t("user.displayName")}>
          <Input />
        </Form.Item>
        <Form.Item name="is_admin" valuePropName="checked">
          <Checkbox>{t("user.admin")}</Checkbox>
        </Form.Item>
      </Form>
      {make.error ? <Fault error={make.error} /> : null}
    </Modal>
  );
}

export function ProjectsTab() {
  const { t } = useWords();
  const projects = useProjects(true);
  const [making, setMaking] = useState(false);
  return (
    <>
      <div className="row" style={{ marginBottom: 12 }}>
        <Button type="primary" onClick={() => setMaking(true)}>
          {t("project.create")}
        </Button>
      </div>
      <Wait of={projects}>
        {(data) => (
          <Table<ProjectView>
            rowKey="id"
            size="small"
            dataSource={data.items}
            pagination={data.items.length > 100 ? { pageSize: 100 } : false}
            columns={[
              { title: t("name"), render: (_, it) => <Link to={pages.home(it.name)}>{it.name}</Link> },
              { title: t("title"), dataIndex: "title" },
              { title: t("organisation"), dataIndex: "organisation" },
              { title: t("created"), dataIndex: "created_at", render: (at: number) => <When at={at} /> },
            ]}
          />
        )}
      </Wait>
      {making ? <NewProject onClose={() => setMaking(false)} /> : null}
    </>
  );
}

function NewProject({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  const [form] = Form.useForm<{ name: string; title?: string }>();
  const make = useChange((it: { name: string; title?: string }) => read<ProjectView>(api.projects, { method: "POST", json: it }), [["projects"], ["me"]]);
  return (
    <Modal open title={t("project.create")} okText={t("project.create")} onCancel={onClose} onOk={() => form.submit()} confirmLoading={make.isPending}>
      <Form form={form} layout="vertical" onFinish={(it) => make.mutate(it, { onSuccess: onClose })}>
        <Form.Item name="name" label={t("name")} rules={[{ required: true, message: t("required") }]}>
          <Input autoFocus />
        </Form.Item>
        <Form.Item name="title" label={t("title")}>
          <Input />
        </Form.Item>
      </Form>
      {make.error ? <Fault error={make.error} /> : null}
    </Modal>
  );
}
