import { defineConfig } from "vite";

export default defineConfig({
  // Every file by itself: the backend's policy allows no data: URL.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022" },
  // `npm run dev` beside a backend on its usual port.
  server: { host: "127.0.0.1", proxy: { "/api": "http://127.0.0.1:8081" } },
});
