import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = process.env.KAOGONG_URL ?? "http://127.0.0.1:7300";

// `npm run dev` shows the console with the server (or the mock) behind it; the product serves dist/ itself.
export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/api": server } },
  build: {
    target: "es2022",
    assetsDir: "assets",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 2048,
    chunkSizeWarningLimit: 900,
    manifest: true,
  },
});
