import { DownOutlined, UserOutlined } from "@ant-design/icons";
import { useQueryClient } from "@tanstack/react-query";
import { App, Button, Dropdown, Form, Input, type MenuProps, Modal } from "antd";
import { useState } from "react";
import { useNavigate } from "react-router";
import { ApiError, call } from "../api/client";
import { useMe } from "../api/hooks";
import { useWords } from "../i18n";
import type { Language } from "../lib/format";
import { api, pages } from "../paths";
import { type Choice, useTheme } from "../theme";
import { Fault } from "../ui/basics";

export function UserMenu({ onHelp }: { onHelp?: () => void }) {
  const { t, language, setLanguage } = useWords();
  const { choice, setChoice } = useTheme();
  const { data: me } = useMe();
  const client = useQueryClient();
  const navigate = useNavigate();
  const { message } = App.useApp();
  const [password, setPassword] = useState(false);

  const signOut = async () => {
    try {
      await call(api.session, { method: "DELETE" });
    } catch (error) {
      // A session that has ended already is as good as one that ends now.
      if (!(error instanceof ApiError && error.kind === "unauthenticated")) return void message.error(error instanceof Error ? error.message : String(error));
    }
    client.clear();
    void navigate(pages.signIn());
  };
  const items: MenuProps["items"] = [
    { type: "group", label: t("language"), children: [{ key: "l:zh-CN", label: "简体中文" }, { key: "l:en", label: "English" }] },
    {
      type: "group",
      label: t("theme"),
      children: [
        { key: "t:light", label: t("theme.light") },
        { key: "t:dark", label: t("theme.dark") },
        { key: "t:system", label: t("theme.system") },
      ],
    },
    { type: "divider" },
    ...(onHelp ? [{ key: "keys", label: t("keys") }] : []),
    { key: "password", label: t("password.change") },
    { key: "out", label: t("signOut") },
  ];
  const chosen = (key: string) => {
    if (key.startsWith("l:")) setLanguage(key.slice(2) as Language);
    else if (key.startsWith("t:")) setChoice(key.slice(2) as Choice);
    else if (key === "keys") onHelp?.();
    else if (key === "password") setPassword(true);
    else void signOut();
  };
  return (
    <>
      <Dropdown trigger={["click"]} placement="topLeft" menu={{ items, selectedKeys: [`l:${language}`, `t:${choice}`], onClick: ({ key }) => chosen(key) }}>
        <Button block icon={<UserOutlined />} aria-label={t("userMenu", { name: me?.user.name ?? "" })}>
          <span className="grow" style={{ textAlign: "left", overflow: "hidden", textOverflow: "ellipsis" }}>
            {me?.user.display_name || me?.user.name}
          </span>
          <DownOutlined />
        </Button>
      </Dropdown>
      {password && me ? <PasswordForm user={me.user.name} onClose={() => setPassword(false)} /> : null}
    </>
  );
}

function PasswordForm({ user, onClose }: { user: string; onClose: () => void }) {
  const { t } = useWords();
  const { message } = App.useApp();
  const [form] = Form.useForm<{ current: string; next: string }>();
  const [error, setError] = useState<unknown>(null);
  const submit = async (it: { current: string; next: string }) => {
    try {
      await call(api.password(user), { method: "PUT", json: { current: it.current, new: it.next } });
      void message.success(t("password.done"));
      onClose();
    } catch (found) {
      setError(found);
    }
  };
  return (
    <Modal open onCancel={onClose} onOk={() => form.submit()} title={t("password.change")} okText={t("password.change")}>
      <Form form={form} layout="vertical" onFinish={(it) => void submit(it)}>
        <Form.Item name="current" label={t("password.current")} rules={[{ required: true, message: t("required") }]}>
          <Input.Password autoComplete="current-password" />
        </Form.Item>
        <Form.Item name="next" label={t("password.next")} rules={[{ required: true, min: 10, message: t("password.short") }]}>
          <Input.Password autoComplete="new-password" />
        </Form.Item>
      </Form>
      {error ? <Fault error={error} /> : null}
    </Modal>
  );
}
