// Keys that work everywhere: `g` and a letter goes to a noun, Ctrl-K searches, `?` shows this list.
import { Modal } from "antd";
import { useEffect, useRef } from "react";
import { useNavigate } from "react-router";
import { type Key, useWords } from "../i18n";
import { pages } from "../paths";

const GO: [string, Key, (project: string) => string][] = [
  ["h", "nav.home", pages.home],
  ["d", "nav.datasets", pages.datasets],
  ["j", "nav.jobs", (p) => pages.jobs(p)],
  ["r", "nav.runs", (p) => pages.runs(p)],
  ["m", "nav.models", pages.models],
  ["e", "nav.endpoints", pages.endpoints],
  ["a", "nav.access", (p) => pages.access(p)],
];

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

export function useShortcuts(project: string, { openPalette, openHelp }: { openPalette: () => void; openHelp: () => void }) {
  const navigate = useNavigate();
  const pending = useRef(0);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        openPalette();
        return;
      }
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "?") openHelp();
      const go = Date.now() - pending.current < 1200 ? GO.find(([key]) => key === event.key) : undefined;
      pending.current = event.key === "g" ? Date.now() : 0;
      if (go) void navigate(go[2](project));
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  });
}

export function Shortcuts({ open, onClose }: { open: boolean; onClose: () => void }) {
  const { t } = useWords();
  const rows: [string[], string][] = [
    [["Ctrl", "K"], t("keys.palette")],
    ...GO.map(([key, name]): [string[], string] => [["g", key], t("keys.go", { page: t(name) })]),
    [["←", "→"], t("keys.items")],
    [["←", "→", "↑", "↓"], t("keys.grid")],
    [[t("keys.space")], t("keys.open")],
    [["?"], t("keys.help")],
  ];
  return (
    <Modal open={open} onCancel={onClose} footer={null} title={t("keys")} width={420}>
      <table className="kv">
        <tbody>
          {rows.map(([keys, what]) => (
            <tr key={what}>
              <td>{what}</td>
              <td className="num">
                {keys.map((it) => (
                  <kbd key={it} style={{ marginLeft: 4 }}>
                    {it}
                  </kbd>
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Modal>
  );
}
