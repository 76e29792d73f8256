// Search and commands: every object by name or id, every place by word.
import { Input, Modal } from "antd";
import { useMemo, useState } from "react";
import { useNavigate } from "react-router";
import { useAllDatasets, useEndpoints, useJobs, useModels, useRuns } from "../api/hooks";
import { useWords } from "../i18n";
import { useSettled } from "../lib/url";
import { pages } from "../paths";
import { useTheme } from "../theme";

/** Jobs and runs asked for: more than are shown, since words may narrow them further. */
const FOUND_MAX = 100;

type Entry = { key: string; label: string; kind: string; also?: string; act: () => void };
type Props = { project: string; open: boolean; onClose: () => void; onHelp: () => void };

/** Entries that contain every typed word, those that begin with the text first. */
export function ranked<E extends { label: string; kind: string; also?: string }>(entries: E[], typed: string, limit = 40): E[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const first = words[0] ?? "";
  return entries
    .filter((it) => words.every((word) => `${it.label} ${it.kind} ${it.also ?? ""}`.toLowerCase().includes(word)))
    .sort((a, b) => Number(b.label.toLowerCase().startsWith(first)) - Number(a.label.toLowerCase().startsWith(first)))
    .slice(0, limit);
}

export function Palette(props: Props) {
  return props.open ? <Opened {...props} /> : null;
}

/** The word to ask the server for: the longest that is neither a kind nor an id; the lists are narrowed by the others here. */
export function searchWord(typed: string, kinds: string[]): string {
  const words = typed.trim().split(/\s+/).filter((it) => !/^(job|run)_/i.test(it));
  const known = kinds.map((it) => it.toLowerCase());
  // A single word is a name before it is a kind.
  const names = words.length > 1 ? words.filter((it) => !known.includes(it.toLowerCase())) : words;
  return names.sort((a, b) => b.length - a.length)[0] ?? "";
}

/** Things whose whole id was typed or pasted, whether or not a list has them. */
export function jumpOf(typed: string): { noun: "job" | "run"; id: string } | null {
  const found = /^(job|run)_[0-9a-z]{26}$/.exec(typed.trim().toLowerCase());
  return found ? { noun: found[1] as "job" | "run", id: found[0] } : null;
}

/** Names that contain the word, in the filter language of runs, where `%` and `_` stand for anything. */
const named = (word: string) => (word ? `attributes.run_name ILIKE '%${word.replaceAll("'", "''")}%'` : null);

function useEntries({ project, onHelp }: Props, typed: string): { entries: Entry[]; waiting: boolean } {
  const { t, language, setLanguage } = useWords();
  const { dark, setChoice } = useTheme();
  const navigate = useNavigate();
  const asked = searchWord(typed, [t("job"), t("run"), t("palette.go"), t("palette.do")]);
  const word = useSettled(asked);
  const datasets = useAllDatasets(project);
  const jobs = useJobs(project, { text: word || null, limit: FOUND_MAX });
  const runs = useRuns(project, { filter: named(word), limit: FOUND_MAX });
  const models = useModels(project);
  const endpoints = useEndpoints(project, true, false);
  const entries = useMemo(() => {
    const go = (to: string) => () => void navigate(to);
    const place = (key: string, label: string, to: string): Entry => ({ key, label, kind: t("palette.go"), act: go(to) });
    const verbs: Entry[] = [
      place("home", t("nav.home"), pages.home(project)),
      place("datasets", t("nav.datasets"), pages.datasets(project)),
      place("jobs", t("nav.jobs"), pages.jobs(project)),
      place("failed", t("palette.failedJobs"), pages.jobs(project, { state: "failed" })),
      place("runs", t("nav.runs"), pages.runs(project)),
      place("models", t("nav.models"), pages.models(project)),
      place("endpoints", t("nav.endpoints"), pages.endpoints(project)),
      place("members", t("access.members"), pages.access(project)),
      place("tokens", t("access.tokens"), pages.access(project, { tab: "tokens" })),
      { key: "language", label: language === "en" ? "切换到中文" : "Switch to English", kind: t("palette.do"), act: () => setLanguage(language === "en" ? "zh-CN" : "en") },
      { key: "theme", label: dark ? t("palette.light") : t("palette.dark"), kind: t("palette.do"), act: () => setChoice(dark ? "light" : "dark") },
      { key: "keys", label: t("keys"), kind: t("palette.do"), act: onHelp },
    ];
    const jump = jumpOf(typed);
    return [
      ...(jump ? [{ key: "jump", label: jump.id, kind: t(jump.noun), act: go(jump.noun === "job" ? pages.job(project, jump.id) : pages.run(project, jump.id)) }] : []),
      ...verbs,
      ...(datasets.data ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("dataset"), also: it.id, act: go(pages.dataset(project, it.name)) })),
      ...(models.data?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("model"), also: [it.id, ...it.versions.map((one) => one.id)].join(" "), act: go(pages.model(project, it.name)) })),
      ...(endpoints.data?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("endpoint"), also: it.id, act: go(pages.endpoint(project, it.name)) })),
      ...(jobs.data?.items ?? []).filter((it) => it.id !== jump?.id).map((it) => ({ key: it.id, label: it.name, kind: t("job"), also: it.id, act: go(pages.job(project, it.id)) })),
      ...(runs.data?.items ?? []).filter((it) => it.id !== jump?.id).map((it) => ({ key: it.id, label: it.name, kind: t("run"), also: it.id, act: go(pages.run(project, it.id)) })),
    ];
  }, [t, language, setLanguage, dark, setChoice, navigate, project, typed, datasets.data, jobs.data, runs.data, models.data, endpoints.data, onHelp]);
  return { entries, waiting: asked !== word || [datasets, jobs, runs, models, endpoints].some((it) => it.isPending || it.isPlaceholderData) };
}

function Opened(props: Props) {
  const { t } = useWords();
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const { entries, waiting } = useEntries(props, typed);
  const shown = ranked(entries, typed);
  const run = (entry: Entry | undefined) => {
    if (!entry) return;
    props.onClose();
    entry.act();
  };
  const pressed = (event: React.KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step) {
      event.preventDefault();
      const next = Math.max(0, Math.min(shown.length - 1, at + step));
      setAt(next);
      document.getElementById(`palette-${next}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") run(shown[at]);
  };
  return (
    <Modal open onCancel={props.onClose} footer={null} closable={false} width={620} style={{ top: 96 }} title={<span className="visually-hidden">{t("search")}</span>}>
      <Input
        autoFocus
        size="large"
        role="combobox"
        aria-expanded
        aria-controls="palette"
        aria-activedescendant={`palette-${at}`}
        aria-label={t("search")}
        placeholder={t("palette.placeholder")}
        value={typed}
        onChange={(it) => {
          setTyped(it.target.value);
          setAt(0);
        }}
        onKeyDown={pressed}
      />
      <ul className="palette-list" id="palette" role="listbox" aria-label={t("palette.results")}>
        {shown.map((it, i) => (
          <li key={it.key} id={`palette-${i}`} role="option" aria-selected={i === at} onMouseMove={() => setAt(i)} onClick={() => run(it)}>
            <span>{it.label}</span>
            <span>{it.kind}</span>
          </li>
        ))}
        {shown.length === 0 && !waiting ? <li>{t("palette.none")}</li> : null}
      </ul>
      <p className="muted" role="status" style={{ margin: "8px 4px 0", minHeight: 22, fontSize: 12.5 }}>
        {waiting ? t("loading") : t("palette.keys")}
      </p>
    </Modal>
  );
}
