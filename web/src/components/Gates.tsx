// What stands before a page: who is calling, which project, and what to show when there is no such page.
import { Button } from "antd";
import { Link, Navigate, useLocation, useRouteError } from "react-router";
import { ApiError } from "../api/client";
import { useMe } from "../api/hooks";
import { useWords } from "../i18n";
import { pages } from "../paths";
import { Empty, Fault, Page } from "../ui/basics";
import { UserMenu } from "./UserMenu";

export const LAST_PROJECT = "kaogong.project";

export function ToProject() {
  const me = useMe();
  const here = useLocation();
  const { t } = useWords();
  if (me.error instanceof ApiError && me.error.kind === "unauthenticated") return <Navigate to={pages.signIn(here.hash ? `/${here.hash}` : undefined)} replace />;
  if (me.error) return <Page title={t("brand")}><Fault error={me.error} retry={() => void me.refetch()} /></Page>;
  if (!me.data) return null;
  const names = me.data.projects.map((it) => it.name);
  const last = localStorage.getItem(LAST_PROJECT);
  const name = (last && names.includes(last) ? last : undefined) ?? me.data.project ?? names[0];
  // An address of MLflow's console keeps its part behind the `#`, which the project's page understands.
  if (name) return <Navigate to={pages.home(name) + here.hash} replace />;
  // Nothing else can be done here than ask an owner, change the password or sign in as somebody else.
  return <Page title={t("brand")} actions={<UserMenu />}><Empty title={t("project.none")} text={t("project.noneText")} /></Page>;
}

export function NotFound() {
  const { t } = useWords();
  return (
    <Page title={t("notFound")}>
      <Empty title={t("notFound.text")}>
        <Link to="/">{t("notFound.home")}</Link>
      </Empty>
    </Page>
  );
}

export function Broken() {
  const { t } = useWords();
  const error = useRouteError();
  return (
    <Page title={t("broken")}>
      <Fault error={error instanceof Error ? error : String(error)} />
      <p>
        <Button onClick={() => location.reload()}>{t("broken.reload")}</Button>
      </p>
    </Page>
  );
}
