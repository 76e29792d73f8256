// Things of the platform in one line: states in words and colour, links to things, who may do what.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { runQuery, useJob, useMe } from "../api/hooks";
import { ROLES, type Role } from "../api/types";
import { type Key, useWords, worded } from "../i18n";
import { shortId } from "../lib/format";
import { pages } from "../paths";
import { Pill } from "../ui/basics";

type Tone = "ok" | "run" | "wait" | "bad" | "off";
const TONES: Record<string, Tone> = {
  queued: "wait", admitted: "wait", starting: "run", running: "run", succeeded: "ok", failed: "bad", cancelled: "off", lost: "bad",
  RUNNING: "run", SCHEDULED: "wait", FINISHED: "ok", FAILED: "bad", KILLED: "off",
  loading: "run", ready: "ok", READY: "ok", PENDING_REGISTRATION: "wait", FAILED_REGISTRATION: "bad",
};

export function State({ state }: { state: string }) {
  const { language } = useWords();
  return <Pill tone={TONES[state] ?? "off"}>{worded(language, "state", state)}</Pill>;
}

/** What was done, in words; the code is there on hover, for those who filter by it. */
export function Action({ code }: { code: string }) {
  const { language } = useWords();
  return <span title={code}>{worded(language, "action", code)}</span>;
}

/** Who did it: a person by name, or the platform itself. */
export function Actor({ name }: { name: string }) {
  const { t } = useWords();
  return <>{name === "system" ? t("actor.system") : name}</>;
}

export function useProject(): string {
  return useParams()["project"] ?? "";
}

/** The caller's role here, and a test for it. A platform administrator may do everything. */
export function useMay() {
  const project = useProject();
  const { data: me } = useMe();
  const { t } = useWords();
  const role = me?.user.is_admin ? "owner" : (me?.projects.find((it) => it.name === project)?.role ?? "viewer");
  const may = (least: Role) => ROLES.indexOf(role as Role) >= ROLES.indexOf(least);
  const why = (least: Role) => (may(least) ? null : t("access.needs", { role: t(`role.${least}` as Key), yours: t(`role.${role}` as Key) }));
  return { role, may, why };
}

/** `name@number`, as a link to that version of the dataset. */
export function DatasetLink({ pinned }: { pinned: string }) {
  const project = useProject();
  const [name = pinned, number] = pinned.split("@");
  return <Link to={pages.dataset(project, name, { version: number })}>{pinned}</Link>;
}

/** A job by its name, which is asked for where the caller does not know it. */
export function JobLink({ id, name }: { id: string; name?: string }) {
  const project = useProject();
  const found = useJob(project, id, name === undefined);
  return (
    <Link to={pages.job(project, id)} title={id}>
      {name ?? found.data?.name ?? shortId(id)}
    </Link>
  );
}

/** A run by its name, which is asked for where the caller does not know it. */
export function RunLink({ id, name }: { id: string; name?: string }) {
  const project = useProject();
  const found = useQuery({ ...runQuery(project, id), enabled: name === undefined });
  return (
    <Link to={pages.run(project, id)} title={id}>
      {name ?? found.data?.name ?? shortId(id)}
    </Link>
  );
}

/** `name@number`, as a link to that version of the model. */
export function ModelLink({ version }: { version: string }) {
  const project = useProject();
  const [name = version, number] = version.split("@");
  return <Link to={pages.model(project, name, { version: number })}>{version}</Link>;
}

export function EndpointLink({ name }: { name: string }) {
  return <Link to={pages.endpoint(useProject(), name)}>{name}</Link>;
}

export function Links({ children }: { children: React.ReactNode[] }) {
  if (children.length === 0) return <>—</>;
  return (
    <span className="row" style={{ gap: "0 8px" }}>
      {children}
    </span>
  );
}
