import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = process.env.KAOGONG_URL ?? "http://127.0.0.1:7300";

// The policy that the server sends; the preview sends it too, so that a breach shows before the product is built.
const policy = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; connect-src 'self'";

// The server compares Host and Origin of every change, so both pass as the browser sent them.
const proxy = { "/api": { target: server, changeOrigin: false } };

// `npm run dev` shows the console with a running server behind it; the product serves dist/ itself.
export default defineConfig({
  // Relative, so that one build works under any base path.
  base: "./",
  plugins: [react()],
  server: { proxy },
  preview: { proxy, headers: { "content-security-policy": policy } },
  build: {
    target: "es2022",
    assetsDir: "assets",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 2048,
    chunkSizeWarningLimit: 900,
    manifest: true,
  },
});
