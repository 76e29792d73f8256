import { Button, Select, Tabs } from "antd";
import { Link, useParams } from "react-router";
import { read } from "../../api/client";
import { isActive, useChange, useJob, useJobArtifacts } from "../../api/hooks";
import type { JobView } from "../../api/types";
import { Artifacts } from "../../components/Artifacts";
import { DatasetLink, Links, RunLink, State, useMay, useProject } from "../../components/states";
import { useWords } from "../../i18n";
import { bytes, count, duration } from "../../lib/format";
import { oneOf, useUrl } from "../../lib/url";
import { api, pages } from "../../paths";
import { Copy, Facts, KeyValues, Page, Snippet, Took, Wait, When, Why } from "../../ui/basics";
import { useConfirm } from "../../ui/confirm";
import { LogTab } from "./LogTab";
import { UsageTab } from "./UsageTab";

const TABS = ["log", "usage", "attempts", "outputs", "spec"] as const;

export function JobPage() {
  const project = useProject();
  const id = useParams()["id"] ?? "";
  const { t } = useWords();
  const job = useJob(project, id);
  return (
    <Page title={job.data?.name ?? id} crumbs={<Link to={pages.jobs(project)}>{t("nav.jobs")}</Link>} state={job.data ? <State state={job.data.state} /> : null} actions={job.data ? <Cancel job={job.data} /> : null}>
      <Wait of={job} rows={12}>
        {(it) => <Body job={it} />}
      </Wait>
    </Page>
  );
}

function Cancel({ job }: { job: JobView }) {
  const project = useProject();
  const { t } = useWords();
  const { why } = useMay();
  const confirm = useConfirm();
  const cancel = useChange(() => read<JobView>(api.jobCancel(project, job.id), { method: "POST" }), [[project, "jobs"]]);
  if (!isActive(job.state)) return null;
  const not = job.cancel_asked ? t("job.cancelAsked") : why("developer");
  const ask = () =>
    confirm({
      title: t("job.cancelAsk", { name: job.name }),
      text: t("job.cancelText", { s: job.spec.resources.grace_s }),
      ok: t("job.cancel"),
      cancel: t("job.keep"),
      act: () => cancel.mutateAsync(undefined),
    });
  return (
    <Why not={not}>
      <Button danger disabled={not !== null} onClick={ask}>
        {t("job.cancel")}
      </Button>
    </Why>
  );
}

function Body({ job }: { job: JobView }) {
  const { t } = useWords();
  const [params, setUrl] = useUrl();
  const tab = oneOf(params, "tab", TABS, "log");
  const newest = job.attempts.at(-1)?.number;
  const wanted = Number(params.get("attempt"));
  const attempt = job.attempts.some((it) => it.number === wanted) ? wanted : newest;
  const waiting = job.state === "queued" || job.state === "admitted";
  const live = isActive(job.state) && attempt === newest;
  return (
    <>
      {waiting ? (
        <p className="note" role="status">
          <b>{t("job.whyWaiting")}</b> {job.reason ?? t("job.whyUnknown")}
        </p>
      ) : null}
      <div className="with-facts">
        <Tabs
          activeKey={tab}
          onChange={(it) => setUrl({ tab: it === "log" ? null : it })}
          destroyOnHidden
          tabBarExtraContent={
            job.attempts.length > 1 ? (
              <Select aria-label={t("attempt")} size="small" value={attempt} onChange={(it: number) => setUrl({ attempt: it === newest ? null : it })} options={job.attempts.map((it) => ({ value: it.number, label: t("attempt.n", { n: it.number }) }))} />
            ) : null
          }
          items={[
            { key: "log", label: t("tab.log"), children: <LogTab key={`${job.id}-${attempt}`} job={job} attempt={attempt} live={live} /> },
            { key: "usage", label: t("tab.usage"), children: <UsageTab job={job} attempt={attempt} live={live} /> },
            { key: "attempts", label: t("attempts"), children: <Attempts job={job} /> },
            { key: "outputs", label: t("outputs"), children: <Outputs job={job} /> },
            { key: "spec", label: t("tab.spec"), children: <Spec job={job} /> },
          ]}
        />
        <JobFacts job={job} />
      </div>
    </>
  );
}

function JobFacts({ job }: { job: JobView }) {
  const { t, language } = useWords();
  const need = job.spec.resources;
  return (
    <Facts
      rows={[
        [t("reason"), waitingOr(job)],
        [t("exitCode"), job.exit_code === null ? null : <code>{job.exit_code}</code>],
        [t("duration"), <Took key="took" from={job.started_at} to={job.ended_at} live={isActive(job.state)} />],
        [t("inputs"), job.inputs.length ? <Links>{job.inputs.map((it) => <DatasetLink key={it.alias} pinned={`${it.dataset}@${it.number}`} />)}</Links> : null],
        [t("nav.runs"), job.runs.length ? <Links>{job.runs.map((it) => <RunLink key={it} id={it} />)}{job.more_runs ? t("job.moreRuns") : null}</Links> : null],
        [t("job.resources"), `${t("job.cpus", { n: need.cpus })} · ${bytes(need.memory_mib * 1024 * 1024)}`],
        [t("job.timeLimit"), duration(need.time_limit_s * 1000, language)],
        [t("job.retriesLeft"), job.retries_left || null],
        [t("created"), <When key="c" at={job.created_at} />],
        [t("started"), job.started_at ? <When at={job.started_at} /> : null],
        [t("ended"), job.ended_at ? <When at={job.ended_at} /> : null],
        [t("by"), job.created_by],
        ["ID", <span key="id" className="mono">{job.id} <Copy text={job.id} /></span>],
      ]}
    />
  );
}

function waitingOr(job: JobView) {
  return job.state === "queued" || job.state === "admitted" ? null : job.reason;
}

function Attempts({ job }: { job: JobView }) {
  const { t } = useWords();
  const [, setUrl] = useUrl();
  return (
    <table className="kv">
      <thead>
        <tr>{["attempt", "state", "exitCode", "reason", "started", "duration"].map((it) => <th key={it}>{t(it as "attempt")}</th>)}</tr>
      </thead>
      <tbody>
        {job.attempts.map((it) => (
          <tr key={it.id}>
            <td><Button type="link" size="small" style={{ padding: 0 }} onClick={() => setUrl({ tab: null, attempt: it.number })}>{t("attempt.n", { n: it.number })}</Button></td>
            <td><State state={it.state} /></td>
            <td>{it.exit_code ?? "—"}</td>
            <td>{it.reason ?? "—"}</td>
            <td><When at={it.started_at} /></td>
            <td><Took from={it.started_at} to={it.ended_at} live={isActive(it.state)} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Outputs({ job }: { job: JobView }) {
  const project = useProject();
  const { t } = useWords();
  const artifacts = useJobArtifacts(project, job.id);
  return <Wait of={artifacts}>{(data) => <Artifacts items={data.items} href={(path) => api.jobArtifact(project, job.id, path)} empty={job.spec.outputs.length ? t("job.outputsNotYet") : t("job.outputsNone")} />}</Wait>;
}

/** The value of a variable: a text, the name of the secret that holds it, or a word that it is not shown. */
function Variable({ value }: { value: JobView["spec"]["env"][string] }) {
  const { t } = useWords();
  if (typeof value === "string") return <code>{value}</code>;
  return <span className="muted">{"secret" in value ? t("job.env.secret", { name: value.secret }) : t("job.env.hidden")}</span>;
}

function Spec({ job }: { job: JobView }) {
  const { t, language } = useWords();
  const whole = JSON.stringify(job.spec, null, 2);
  const lock = job.spec.environment?.lock;
  // A lock in one line of JSON is a page of noise; it is shown with its own lines, and the copy has it all.
  const shown = lock ? JSON.stringify({ ...job.spec, environment: { ...job.spec.environment, lock: `… ${t("job.lockBelow", { n: count(lock.trimEnd().split("\n").length, language) })}` } }, null, 2) : whole;
  return (
    <div className="stack">
      <section>
        <h2>{t("job.command")}</h2>
        <Snippet text={job.spec.command.map((it) => (/^[\w./:=@,+-]+$/.test(it) ? it : `'${it.replaceAll("'", "'\\''")}'`)).join(" ")} label={t("job.command")} />
      </section>
      {Object.keys(job.spec.env).length ? (
        <section>
          <h2>{t("job.env")}</h2>
          <KeyValues rows={Object.entries(job.spec.env).map(([key, value]) => [key, <Variable key={key} value={value} />])} />
        </section>
      ) : null}
      <section>
        <h2>JSON</h2>
        <Snippet text={whole} shown={shown} label="JSON" />
      </section>
      {lock ? (
        <section>
          <h2>{t("job.lock")}</h2>
          <Snippet text={lock} label={t("job.lock")} tall />
        </section>
      ) : null}
    </div>
  );
}
