import { useQueryClient } from "@tanstack/react-query";
import { Button, Form, Input, Segmented } from "antd";
import { useEffect, useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { read, rememberCsrf } from "../../api/client";
import type { MeView } from "../../api/types";
import { useWords } from "../../i18n";
import type { Language } from "../../lib/format";
import { api, icon } from "../../paths";
import { type Choice, useTheme } from "../../theme";
import { Fault, useTitle } from "../../ui/basics";

/** Where to go after signing in: only a path of this console, never another host. */
export function safeNext(next: string | null): string {
  return next && /^\/(?![/\\])/.test(next) ? next : "/";
}

export function SignInPage() {
  const { t, language, setLanguage } = useWords();
  const { choice, setChoice } = useTheme();
  useTitle(t("signIn"));
  const [params] = useSearchParams();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const code = params.get("code");
  const sent = useRef(false);

  const enter = async (path: string, json: unknown) => {
    setBusy(true);
    setError(null);
    try {
      const me = await read<MeView>(path, { method: "POST", json });
      rememberCsrf(me.csrf_token);
      client.clear();
      client.setQueryData(["me"], me);
      void navigate(safeNext(params.get("next")), { replace: true });
    } catch (found) {
      setError(found);
      setBusy(false);
    }
  };
  useEffect(() => {
    // A code works once: it is sent once, even where effects run twice.
    if (!code || sent.current) return;
    sent.current = true;
    void enter(api.sessionCode, { code });
  });
  return (
    <main className="sign-in">
      <div className="card">
        <div className="row" style={{ marginBottom: 24, gap: 12 }}>
          <img src={icon} alt="" width={36} height={36} />
          <div>
            <h1>{t("brand")}</h1>
            <span className="muted">{t("brand.line")}</span>
          </div>
        </div>
        {code && busy ? (
          <p role="status">{t("signIn.withLink")}</p>
        ) : (
          <Form layout="vertical" requiredMark={false} onFinish={(it: { name: string; password: string }) => void enter(api.session, it)}>
            <Form.Item name="name" label={t("signIn.name")} rules={[{ required: true, message: t("required") }]}>
              <Input autoFocus autoComplete="username" size="large" />
            </Form.Item>
            <Form.Item name="password" label={t("signIn.password")} rules={[{ required: true, message: t("required") }]}>
              <Input.Password autoComplete="current-password" size="large" />
            </Form.Item>
            <Button type="primary" htmlType="submit" block size="large" loading={busy}>
              {t("signIn")}
            </Button>
          </Form>
        )}
        {error ? (
          <div style={{ marginTop: 16 }}>
            <Fault error={error} />
          </div>
        ) : null}
        <p className="muted" style={{ fontSize: 13 }}>
          {t("signIn.hint")} <code>kaogong open</code>
        </p>
        <div className="row" style={{ justifyContent: "space-between" }}>
          <Segmented<Language>
            size="small"
            aria-label={t("language")}
            value={language}
            onChange={setLanguage}
            options={[
              { value: "zh-CN", label: "中文" },
              { value: "en", label: "English" },
            ]}
          />
          <Segmented<Choice>
            size="small"
            aria-label={t("theme")}
            value={choice}
            onChange={setChoice}
            options={[
              { value: "light", label: t("theme.light") },
              { value: "dark", label: t("theme.dark") },
              { value: "system", label: t("theme.system") },
            ]}
          />
        </div>
      </div>
    </main>
  );
}
