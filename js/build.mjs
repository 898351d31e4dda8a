// Bundles src/grid.ts, src/trace.ts, src/edit.ts and src/sweep.ts into the Python package: an ESM file and a stylesheet each, nothing fetched at run time.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

/** A path from this folder, as the machine writes it: a URL's own path says "%20" for a space. */
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const PALETTES = here("../rome_widgets/charts/palettes.json");

/** `@import "palettes"`: each ramp of palettes.json as a list of colours in a custom property. */
const palettes = {
  name: "palettes",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^palettes$/ }, () => ({ path: PALETTES, namespace: "palettes" }));
    onLoad({ filter: /.*/, namespace: "palettes" }, async () => {
      const rule = (selector, ramps) =>
        `${selector}{${Object.entries(ramps)
          .map(([name, colours]) => `--rw-${name}:${colours}`)
          .join(";")}}`;
      const { light, dark } = JSON.parse(await readFile(PALETTES, "utf8"));
      return {
        contents: heavy(rule(".rw", light) + rule('.rw[data-theme="dark"]', dark)),
        loader: "css",
        watchFiles: [PALETTES],
      };
    });
  },
};

/**
 * Every rule of ours outweighs a host's: `div.body h3` of a theme, and also one that names ids. An id
 * that nobody has lends its weight to the class that all our rules begin with.
 */
const heavy = (css) => css.replace(/\.rw(?![\w-])/g, ":is(.rw,#rw#rw)");

const weight = {
  name: "weight",
  setup: ({ onLoad }) =>
    onLoad({ filter: /styles[\\/]\w+\.css$/ }, async ({ path }) => ({
      contents: heavy(await readFile(path, "utf8")),
      loader: "css",
    })),
};

/** Templates are indented for whoever reads them; browsers draw any white space as one space. */
const indentation = {
  name: "indentation",
  setup: ({ onLoad }) =>
    onLoad({ filter: /src[\\/].*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/\n[ \t]+/g, "\n"),
      loader: "ts",
    })),
};

const options = {
  entryPoints: ["grid", "trace", "edit", "sweep"].map((name) => here(`src/${name}.ts`)),
  outdir: here("../rome_widgets/widgets/static"),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  conditions: ["production"],
  metafile: true,
  plugins: [palettes, weight, indentation],
};

if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, logLevel: "info" })).watch();
} else {
  const { metafile } = await build(options);
  for (const path of Object.keys(metafile.outputs)) {
    const made = await readFile(path);
    const [raw, packed] = [made.length, gzipSync(made, { level: 9 }).length];
    console.log(`${path}  ${(raw / 1000).toFixed(1)} kB  ${(packed / 1000).toFixed(1)} kB gzipped`);
  }
}
