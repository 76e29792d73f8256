import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { App as AntApp, ConfigProvider } from "antd";
import enUS from "antd/locale/en_US";
import zhCN from "antd/locale/zh_CN";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router";
import { ApiError } from "./api/client";
import { LanguageProvider, useWords } from "./i18n";
import { router } from "./router";
import "./styles.css";
import { themeConfig, ThemeProvider, useTheme } from "./theme";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      refetchOnWindowFocus: false,
      // A refusal does not become a yes by asking again; a server that is away may come back.
      retry: (count, error) => count < 2 && error instanceof ApiError && (error.kind === "unavailable" || error.kind === "unreachable"),
    },
  },
});

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
