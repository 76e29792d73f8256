// Colours of the console: jade for what can be done, paper and ink for the rest; state colours only for state.
import { theme as antd, type ThemeConfig } from "antd";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";

export type Choice = "system" | "light" | "dark";
const KEY = "kaogong.theme";

type Value = { choice: Choice; setChoice: (it: Choice) => void; dark: boolean };
const Context = createContext<Value | null>(null);

export function ThemeProvider({ children }: { children: ReactNode }) {
  const [choice, set] = useState<Choice>(() => {
    const stored = localStorage.getItem(KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  });
  const [systemDark, setSystemDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setSystemDark(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  const dark = choice === "dark" || (choice === "system" && systemDark);
  useEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  const value = useMemo<Value>(
    () => ({
      choice,
      dark,
      setChoice: (it) => {
        localStorage.setItem(KEY, it);
        set(it);
      },
    }),
    [choice, dark],
  );
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useTheme(): Value {
  const value = useContext(Context);
  if (!value) throw new Error("useTheme outside ThemeProvider");
  return value;
}

/** Colours of lines in charts: told apart by people with any colour vision, readable on both grounds. */
export const SERIES = {
  light: ["#1f6f8b", "#c8641b", "#3d7d4b", "#8a4f9e", "#a8324a", "#6b6f1d", "#4a5fb5", "#7a5230"],
  dark: ["#5db3d1", "#f0a060", "#7cc48c", "#c795d8", "#ec8095", "#c3c65f", "#94a5f0", "#cfa27a"],
};

const FONT =
  'system-ui, -apple-system, "Segoe UI", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif';

export function themeConfig(dark: boolean): ThemeConfig {
  return {
    algorithm: dark ? [antd.darkAlgorithm] : [antd.defaultAlgorithm],
    token: {
      colorPrimary: dark ? "#4fb3a9" : "#1f6f69",
      colorLink: dark ? "#6cc7be" : "#1a625d",
      colorPrimaryBg: dark ? "#1c3532" : "#e3efed",
      colorPrimaryBgHover: dark ? "#23423e" : "#d5e7e4",
      colorInfo: dark ? "#5db3d1" : "#1f6f8b",
      colorTextLightSolid: dark ? "#0d1716" : "#ffffff",
      colorBgLayout: dark ? "#111514" : "#f6f4ef",
      colorBgContainer: dark ? "#181d1c" : "#ffffff",
      colorBgElevated: dark ? "#1f2524" : "#ffffff",
      colorBorder: dark ? "#39423f" : "#d3cfc4",
      colorBorderSecondary: dark ? "#2a3130" : "#e6e2d8",
      colorTextBase: dark ? "#e6e9e6" : "#1d2422",
      colorTextSecondary: dark ? "#a9b2ae" : "#56605c",
      colorTextTertiary: dark ? "#8f9995" : "#66706c",
      colorTextDescription: dark ? "#a9b2ae" : "#56605c",
      colorTextPlaceholder: dark ? "#87918d" : "#6f7874",
      borderRadius: 6,
      fontSize: 14,
      fontFamily: FONT,
      controlHeight: 32,
      wireframe: false,
      motionDurationMid: "0.12s",
      motionDurationSlow: "0.16s",
    },
    components: {
      Table: { headerBg: dark ? "#1b2120" : "#faf8f3", cellPaddingBlock: 8, cellPaddingInline: 12, cellFontSize: 13, headerSplitColor: "transparent" },
      Tabs: { horizontalMargin: "0 0 16px 0" },
      Button: { primaryShadow: "none", defaultShadow: "none" },
    },
  };
}
