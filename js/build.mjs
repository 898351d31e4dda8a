// Bundles src/index.ts into the Python package: one ESM file and one stylesheet, nothing fetched at run time.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { context, build as once } from "esbuild";
import { minify } from "terser";

/** Indentation inside templates means nothing to a browser; the minifier must leave it, we need not. */
const unindent = {
  name: "unindent",
  setup: (build) =>
    build.onLoad({ filter: /src\/views\/.*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/\n\s+/g, "\n"),
      loader: "ts",
    })),
};

const SMALLER = { module: true, ecma: 2020, compress: { passes: 3 } };

const options = {
  entryPoints: { rome: new URL("src/index.ts", import.meta.url).pathname },
  outdir: new URL("../rome_widgets/widgets/static", import.meta.url).pathname,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  conditions: ["production"],
  write: true,
  plugins: [unindent],
};

if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, logLevel: "info" })).watch();
} else {
  const { outputFiles } = await once({ ...options, write: false });
  await mkdir(options.outdir, { recursive: true });
  for (const { path, text } of outputFiles) {
    // A second minifier takes off another 5 %, which the limit on the bundle needs.
    const small = path.endsWith(".js") ? (await minify(text, SMALLER)).code : text;
    await writeFile(path, small);
    const [raw, packed] = [Buffer.byteLength(small), gzipSync(small, { level: 9 }).length];
    console.log(`${path}  ${(raw / 1000).toFixed(1)} kB  ${(packed / 1000).toFixed(1)} kB gzipped`);
  }
}
