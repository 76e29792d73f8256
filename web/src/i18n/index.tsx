// Words of the console in two languages; a key that one of them lacks does not compile.
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from "react";
import type { Language } from "../lib/format";
import { en } from "./en";
import { zh } from "./zh";

export type Key = keyof typeof en;
export type T = (key: Key, values?: Record<string, string | number>) => string;

/** Fills `{n}` in, and picks a word by it: `{n} {n:item|items}` is "1 item" or "2 items". */
export function translate(language: Language, key: Key, values: Record<string, string | number> = {}): string {
  const text: string = (language === "zh-CN" ? zh : en)[key] ?? key;
  return text.replace(/\{(\w+)(?::([^|{}]*)\|([^|{}]*))?\}/g, (whole, name: string, one?: string, many?: string) => {
    if (!(name in values)) return whole;
    const value = String(values[name]);
    return one === undefined || many === undefined ? value : value === "1" ? one : many;
  });
}

/** The words for a code that the server may know before this console does; the code itself then. */
export function worded(language: Language, prefix: string, code: string): string {
  const key = `${prefix}.${code}`;
  return key in en ? translate(language, key as Key) : code;
}

const KEY = "kaogong.language";

export function firstLanguage(stored: string | null, wanted: readonly string[]): Language {
  if (stored === "en" || stored === "zh-CN") return stored;
  return wanted[0]?.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
}

type Value = { language: Language; setLanguage: (it: Language) => void; t: T };
const Context = createContext<Value | null>(null);

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, set] = useState<Language>(() => firstLanguage(localStorage.getItem(KEY), navigator.languages));
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  const setLanguage = useCallback((it: Language) => {
    localStorage.setItem(KEY, it);
    set(it);
  }, []);
  const value = useMemo<Value>(
    () => ({ language, setLanguage, t: (key, values) => translate(language, key, values) }),
    [language, setLanguage],
  );
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useWords(): Value {
  const value = useContext(Context);
  if (!value) throw new Error("useWords outside LanguageProvider");
  return value;
}
