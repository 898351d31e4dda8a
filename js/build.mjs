// Bundles src/grid.ts, src/trace.ts and src/edit.ts into the Python package: an ESM file and a stylesheet each, nothing fetched at run time.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { context, build as once } from "esbuild";
import { minify } from "terser";

const PALETTES = new URL("../rome_widgets/charts/palettes.json", import.meta.url).pathname;

/** In a template, as in JSX, a line break is no space: it goes, except inside a tag. So do quotes that HTML can spare. */
const tidy = (source) =>
  source
    .replace(/\n\s+/g, "\n")
    .replace(/(?<=[>}`])\n(?=<|\$\{)|(?<=[>}])\n(?=`)/g, "")
    .replace(/(?<=[\w@]=)"([\w-]+)"(?=[\s>])/g, "$1");

const templates = {
  name: "templates",
  setup: (build) =>
    build.onLoad({ filter: /src\/views\/.*\.ts$/ }, async ({ path }) => ({
      contents: tidy(await readFile(path, "utf8")),
      loader: "ts",
    })),
};

/** `@import "palettes"`: each ramp of palettes.json as a list of colours in a custom property. */
const palettes = {
  name: "palettes",
  setup: (build) => {
    build.onResolve({ filter: /^palettes$/ }, () => ({ path: PALETTES, namespace: "palettes" }));
    build.onLoad({ filter: /.*/, namespace: "palettes" }, async () => {
      const rule = (selector, ramps) =>
        `${selector}{${Object.entries(ramps)
          .map(([name, colours]) => `--rw-${name}:${colours}`)
          .join(";")}}`;
      const { light, dark } = JSON.parse(await readFile(PALETTES, "utf8"));
      return {
        contents: rule(".rw", light) + rule('.rw[data-theme="dark"]', dark),
        loader: "css",
        watchFiles: [PALETTES],
      };
    });
  },
};

/** A second minifier takes off another 5 %, which the limit on the bundle needs. */
const SMALLER = {
  module: true,
  ecma: 2020,
  compress: {
    passes: 3,
    unsafe: true, // Sound here: nobody redefines String, Array or Math.
    // Never pure_getters: to read a signal's value is to subscribe to it.
    // What packs better when left alone.
    sequences: false,
    if_return: false,
    lhs_constants: false,
  },
};

const options = {
  entryPoints: ["grid", "trace", "edit"].map((name) => new URL(`src/${name}.ts`, import.meta.url).pathname),
  outdir: new URL("../rome_widgets/widgets/static", import.meta.url).pathname,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  conditions: ["production"],
  write: true,
  plugins: [templates, palettes],
};

if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, logLevel: "info" })).watch();
} else {
  const { outputFiles } = await once({ ...options, write: false });
  await mkdir(options.outdir, { recursive: true });
  for (const { path, text } of outputFiles) {
    const small = path.endsWith(".js") ? (await minify(text, SMALLER)).code : text;
    await writeFile(path, small);
    const [raw, packed] = [Buffer.byteLength(small), gzipSync(small, { level: 9 }).length];
    console.log(`${path}  ${(raw / 1000).toFixed(1)} kB  ${(packed / 1000).toFixed(1)} kB gzipped`);
  }
}
