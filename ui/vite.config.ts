// The build goes into the package under fixed names, so that `pip install` needs no Node.
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/** What Nightingale's packages do not say of themselves. */
const nightingale: Plugin = {
  name: "nightingale",
  // They say that importing them does nothing, and would be left out; it defines elements.
  transform(code, id) {
    return id.includes("@nightingale-elements") ? { code, moduleSideEffects: true } : undefined;
  },
  // They contain D3, which wants its licence to go with it.
  generateBundle() {
    const source = readFileSync("node_modules/d3/LICENSE", "utf8");
    this.emitFile({ type: "asset", fileName: "ui/license-of-d3.txt", source });
  },
};

export default defineConfig({
  base: "./",
  plugins: [nightingale],
  build: {
    outDir: "../src/esm2/server/ui",
    emptyOutDir: true,
    license: { fileName: "ui/licenses.md" },
    modulePreload: false,
    target: "es2022",
    rolldownOptions: {
      output: {
        entryFileNames: "ui/app.js",
        chunkFileNames: "ui/[name].js",
        assetFileNames: "ui/app[extname]",
      },
    },
  },
});
