// Search and commands: every object by name or id, every place by word.
import { Input, Modal } from "antd";
import { useMemo, useState } from "react";
import { useNavigate } from "react-router";
import { useDatasets, useEndpoints, useJobs, useModels, useRuns } from "../api/hooks";
import { useWords } from "../i18n";
import { pages } from "../paths";
import { useTheme } from "../theme";

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

function useEntries({ project, onHelp }: Props): Entry[] {
  const { t, language, setLanguage } = useWords();
  const { dark, setChoice } = useTheme();
  const navigate = useNavigate();
  const { data: datasets } = useDatasets(project);
  const { data: jobs } = useJobs(project, { limit: 200 });
  const { data: runs } = useRuns(project, { limit: 200 });
  const { data: models } = useModels(project);
  const { data: endpoints } = useEndpoints(project, true, false);
  return useMemo(() => {
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
    return [
      ...verbs,
      ...(datasets?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("dataset"), also: it.id, act: go(pages.dataset(project, it.name)) })),
      ...(models?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("model"), also: it.id, act: go(pages.model(project, it.name)) })),
      ...(endpoints?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("endpoint"), also: it.id, act: go(pages.endpoint(project, it.name)) })),
      ...(jobs?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("job"), also: it.id, act: go(pages.job(project, it.id)) })),
      ...(runs?.items ?? []).map((it) => ({ key: it.id, label: it.name, kind: t("run"), also: it.id, act: go(pages.run(project, it.id)) })),
    ];
  }, [t, language, setLanguage, dark, setChoice, navigate, project, datasets, jobs, runs, models, endpoints, onHelp]);
}

function Opened(props: Props) {
  const { t } = useWords();
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const entries = useEntries(props);
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
        {shown.length === 0 ? <li>{t("palette.none")}</li> : null}
      </ul>
    </Modal>
  );
}
