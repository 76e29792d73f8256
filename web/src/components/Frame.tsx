// The frame of every page: the rail with the nouns, project, search, and who is signed in.
import { ApiOutlined, DatabaseOutlined, DeploymentUnitOutlined, HomeOutlined, LineChartOutlined, PlayCircleOutlined, SafetyOutlined } from "@ant-design/icons";
import { Select } from "antd";
import { useEffect, useState } from "react";
import { Navigate, NavLink, Outlet, useLocation, useNavigate } from "react-router";
import { ApiError } from "../api/client";
import { useMe } from "../api/hooks";
import { useLive } from "../api/live";
import { useWords } from "../i18n";
import { icon, pages } from "../paths";
import { Fault } from "../ui/basics";
import { LAST_PROJECT, NotFound } from "./Gates";
import { Palette } from "./Palette";
import { Shortcuts, useShortcuts } from "./Shortcuts";
import { useProject } from "./states";
import { UserMenu } from "./UserMenu";

export function Frame() {
  const me = useMe();
  const project = useProject();
  const here = useLocation();
  if (me.error instanceof ApiError && me.error.kind === "unauthenticated")
    return <Navigate to={pages.signIn(here.pathname + here.search + here.hash)} replace />;
  if (me.error && !me.data)
    return (
      <div className="page">
        <Fault error={me.error} retry={() => void me.refetch()} />
      </div>
    );
  if (!me.data) return null;
  if (!me.data.projects.some((it) => it.name === project)) return <NotFound />;
  return <Inside project={project} />;
}

function Inside({ project }: { project: string }) {
  const { t } = useWords();
  const { data: me } = useMe();
  const live = useLive(project);
  const navigate = useNavigate();
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  useShortcuts(project, { openPalette: () => setPalette(true), openHelp: () => setHelp(true) });
  useEffect(() => localStorage.setItem(LAST_PROJECT, project), [project]);

  const link = (to: string, label: string, icon: React.ReactNode, end = false) => (
    <NavLink className={({ isActive }) => `nav ${isActive ? "active" : ""}`} to={to} end={end}>
      <span aria-hidden>{icon}</span>
      {label}
    </NavLink>
  );
  return (
    <div className="frame">
      <nav className="rail" aria-label={t("nav")}>
        <div className="brand">
          <img src={icon} alt="" />
          {t("brand")}
        </div>
        <Select
          aria-label={t("project.switch")}
          value={project}
          showSearch
          options={(me?.projects ?? []).map((it) => ({ value: it.name, label: it.title || it.name }))}
          onChange={(it: string) => navigate(pages.home(it))}
        />
        <button className="search-button" onClick={() => setPalette(true)} style={{ marginTop: 8 }}>
          {t("search")}
          <kbd>Ctrl K</kbd>
        </button>
        <div style={{ height: 8 }} />
        {link(pages.home(project), t("nav.home"), <HomeOutlined />, true)}
        <div className="group">{t("group.data")}</div>
        {link(pages.datasets(project), t("nav.datasets"), <DatabaseOutlined />)}
        <div className="group">{t("group.compute")}</div>
        {link(pages.jobs(project), t("nav.jobs"), <PlayCircleOutlined />)}
        <div className="group">{t("group.models")}</div>
        {link(pages.runs(project), t("nav.runs"), <LineChartOutlined />)}
        {link(pages.models(project), t("nav.models"), <DeploymentUnitOutlined />)}
        {link(pages.endpoints(project), t("nav.endpoints"), <ApiOutlined />)}
        <div className="group">{t("group.govern")}</div>
        {link(pages.access(project), t("nav.access"), <SafetyOutlined />)}
        <div className="foot">
          <div className="live" role="status">
            <span className={`dot ${live === "on" ? "on" : ""}`} />
            {t(live === "lost" ? "live.off" : live === "on" ? "live.on" : "live.wait")}
          </div>
          <UserMenu onHelp={() => setHelp(true)} />
        </div>
      </nav>
      <main className="main" key={project}>
        <Outlet />
      </main>
      <Palette project={project} open={palette} onClose={() => setPalette(false)} onHelp={() => setHelp(true)} />
      <Shortcuts open={help} onClose={() => setHelp(false)} />
    </div>
  );
}
