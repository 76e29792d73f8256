import { Tabs } from "antd";
import { useMe } from "../../api/hooks";
import { useWords } from "../../i18n";
import { oneOf, useUrl } from "../../lib/url";
import { Page } from "../../ui/basics";
import { AuditTab } from "./AuditTab";
import { MembersTab } from "./MembersTab";
import { ProjectsTab, UsersTab } from "./PlatformTabs";
import { SecretsTab } from "./SecretsTab";
import { TokensTab } from "./TokensTab";

const TABS = ["members", "secrets", "tokens", "users", "projects", "audit"] as const;

export function AccessPage() {
  const { t } = useWords();
  const { data: me } = useMe();
  const [params, setUrl] = useUrl();
  const admin = me?.user.is_admin ?? false;
  const wanted = oneOf(params, "tab", TABS, "members");
  const tab = admin || wanted === "tokens" || wanted === "secrets" ? wanted : "members";
  return (
    <Page title={t("nav.access")}>
      <Tabs
        activeKey={tab}
        onChange={(it) => setUrl({ tab: it === "members" ? null : it, before: null, noun: null })}
        destroyOnHidden
        items={[
          { key: "members", label: t("access.members"), children: <MembersTab /> },
          { key: "secrets", label: t("access.secrets"), children: <SecretsTab /> },
          { key: "tokens", label: t("access.tokens"), children: <TokensTab /> },
          ...(admin
            ? [
                { key: "users", label: t("access.users"), children: <UsersTab /> },
                { key: "projects", label: t("access.projects"), children: <ProjectsTab /> },
                { key: "audit", label: t("access.audit"), children: <AuditTab /> },
              ]
            : []),
        ]}
      />
    </Page>
  );
}
