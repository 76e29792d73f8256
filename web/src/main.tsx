import { QueryClientProvider } from "@tanstack/react-query";
import { App as AntApp, ConfigProvider } from "antd";
import enUS from "antd/locale/en_US";
import zhCN from "antd/locale/zh_CN";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router";
import { makeClient } from "./api/query";
import { LanguageProvider, useWords } from "./i18n";
import { basePath, underBasePath } from "./paths";
import { router } from "./router";
import "./styles.css";
import { themeConfig, ThemeProvider, useTheme } from "./theme";

const client = makeClient();

function Dressed() {
  const { dark } = useTheme();
  const { language } = useWords();
  return (
    <ConfigProvider theme={themeConfig(dark)} locale={language === "zh-CN" ? zhCN : enUS} button={{ autoInsertSpace: false }}>
      <AntApp style={{ height: "100%" }}>
        <RouterProvider router={router} />
      </AntApp>
    </ConfigProvider>
  );
}

// A server behind a sub-path can be reached without its proxy, too: then the address is not the one of its pages.
const moved = underBasePath(basePath, location);
if (moved) location.replace(moved);

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <LanguageProvider>
        <ThemeProvider>
          <Dressed />
        </ThemeProvider>
      </LanguageProvider>
    </QueryClientProvider>
  </StrictMode>,
);
