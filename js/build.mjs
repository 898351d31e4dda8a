// Bundles src/index.ts into the Python package: one ESM file and one stylesheet, nothing fetched at run time.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { context, build as once } from "esbuild";

/** Indentation inside templates means nothing to a browser; the minifier must leave it, we need not. */
const unindent = {
  name: "unindent",
  setup: (build) =>
    build.onLoad({ filter: /src\/views\/.*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/\n\s+/g, "\n"),
      loader: "ts",
    })),
};

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
  metafile: true,
  plugins: [unindent],
};

if (process.argv.includes("--watch")) {
  await (await context({ ...options, minify: false, logLevel: "info" })).watch();
} else {
  const { metafile } = await once(options);
  const { readFileSync } = await import("node:fs");
  for (const [path, { bytes }] of Object.entries(metafile.outputs)) {
    const packed = gzipSync(readFileSync(path)).length;
    console.log(`${path}  ${(bytes / 1000).toFixed(1)} kB  ${(packed / 1000).toFixed(1)} kB gzipped`);
  }
}
