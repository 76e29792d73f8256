// Three questions: what is running, what needs me, what changed.
import { Link, Navigate, useLocation } from "react-router";
import { useJobs, useMe, useOverview } from "../../api/hooks";
import type { EventView, OverviewView } from "../../api/types";
import { Action, Actor, JobLink, State, useProject } from "../../components/states";
import { type Key, useWords } from "../../i18n";
import { inProject } from "../../lib/command";
import { count, duration } from "../../lib/format";
import { pageOf, pages } from "../../paths";
import { Empty, Page, useNow, Wait, When } from "../../ui/basics";

const plain = (part: string) => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};
const listed = (json: string | null): string[] => {
  try {
    const found: unknown = JSON.parse(json ?? "");
    return Array.isArray(found) ? found.filter((it) => typeof it === "string") : [];
  } catch {
    return [];
  }
};

/** The MLflow client prints addresses of its own console; here they lead to ours. */
export function fromMlflow(project: string, hash: string): string | null {
  const [route = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [noun, name, kind, id] = route.split("/").map(plain);
  if (noun === "experiments" && name) return kind === "runs" && id ? pages.run(project, id) : pages.runs(project, { experiment: name });
  if (noun === "experiments") return pages.runs(project);
  if (noun === "models") return name ? pages.model(project, name, kind === "versions" ? { version: id } : {}) : pages.models(project);
  if (noun === "compare-runs") return pages.compare(project, listed(new URLSearchParams(query).get("runs")));
  return null;
}

export function HomePage() {
  const project = useProject();
  const elsewhere = fromMlflow(project, useLocation().hash);
  return elsewhere ? <Navigate to={elsewhere} replace /> : <Home project={project} />;
}

function Home({ project }: { project: string }) {
  const { t } = useWords();
  const { data: me } = useMe();
  const overview = useOverview(project);
  const title = me?.projects.find((it) => it.name === project)?.title || project;
  return (
    <Page title={title}>
      <Wait of={overview} rows={10}>
        {(data) => (Object.values(data.counts).every((it) => it === 0) ? <Empty title={t("home.empty")} text={t("home.emptyText")} command={`kaogong quickstart PATH${inProject(project)}`} /> : <Filled data={data} />)}
      </Wait>
    </Page>
  );
}

/** Tokens that the platform makes for its own jobs are no news; the audit log has them. */
const isNews = (it: EventView) => !(it.actor === "system" && it.action.startsWith("token."));

function Filled({ data }: { data: OverviewView }) {
  const project = useProject();
  const { t, language } = useWords();
  const counts: [Key, number, string][] = [
    ["nav.datasets", data.counts.datasets, pages.datasets(project)],
    ["nav.jobs", data.counts.jobs, pages.jobs(project)],
    ["nav.runs", data.counts.runs, pages.runs(project)],
    ["nav.models", data.counts.models, pages.models(project)],
    ["nav.endpoints", data.counts.endpoints, pages.endpoints(project)],
  ];
  const stateOf = useStateOf(data.attention);
  return (
    <>
      <div className="counts">
        {counts.map(([name, n, to]) => (
          <Link key={name} to={to}>
            <b>{count(n, language)}</b>
            <span className="muted">{t(name)}</span>
          </Link>
        ))}
      </div>
      <div className="grid-2" style={{ marginBottom: 16 }}>
        <section className="panel">
          <h2>{t("home.running")}</h2>
          <Running data={data} />
        </section>
        <section className="panel">
          <h2>{t("home.attention")}</h2>
          {data.attention.length === 0 ? <span className="muted">{t("home.attentionNone")}</span> : null}
          <ul className="feed">
            {data.attention.map((it) => (
              <li key={it.noun + it.id}>
                {stateOf(it) ? <State state={stateOf(it) ?? "failed"} /> : null}
                <span className="grow">
                  <Thing project={project} noun={it.noun} id={it.id} name={it.name} /> <span className="muted">{it.text}</span>
                </span>
                <span className="when">
                  <When at={it.at} />
                </span>
              </li>
            ))}
          </ul>
        </section>
      </div>
      <section className="panel">
        <h2>{t("home.changes")}</h2>
        <ul className="feed">
          {data.changes.filter(isNews).map((it) => (
            <Change key={it.seq} event={it} project={project} />
          ))}
        </ul>
      </section>
    </>
  );
}

/** The state of what needs somebody: a job that failed and one that was lost want different things done. */
function useStateOf(attention: OverviewView["attention"]) {
  const project = useProject();
  const hasJobs = attention.some((it) => it.noun === "jobs");
  // The overview does not say which; it lists at most this many of each.
  const lost = useJobs(project, { state: "lost", limit: 10 }, hasJobs);
  return (it: OverviewView["attention"][number]) => (it.noun !== "jobs" ? "failed" : !lost.data ? null : lost.data.items.some((job) => job.id === it.id) ? "lost" : "failed");
}

function Running({ data }: { data: OverviewView }) {
  const { t, language } = useWords();
  const now = useNow(data.running.length ? 1000 : 15_000);
  if (data.running.length === 0) return <span className="muted">{t("home.runningNone")}</span>;
  return (
    <ul className="feed">
      {data.running.map((it) => (
        <li key={it.id}>
          <State state={it.state} />
          <span className="grow">
            <JobLink id={it.id} name={it.name} /> <span className="muted">{it.reason}</span>
          </span>
          <span className="when">{duration(now - (it.started_at ?? it.created_at), language)}</span>
        </li>
      ))}
    </ul>
  );
}

function Thing({ project, noun, id, name }: { project: string; noun: string; id: string; name: string | null }) {
  const to = pageOf(project, noun, id, name);
  return to ? <Link to={to}>{name ?? id}</Link> : <span>{name ?? id}</span>;
}

function Change({ event, project }: { event: EventView; project: string }) {
  return (
    <li>
      <span className="muted" style={{ minWidth: 168 }}>
        <Action code={event.action} />
      </span>
      <span className="grow">
        <Thing project={project} noun={event.noun} id={event.object_id} name={event.object_name} />
      </span>
      <span className="muted">
        <Actor name={event.actor} />
      </span>
      <span className="when">
        <When at={event.at} />
      </span>
    </li>
  );
}
