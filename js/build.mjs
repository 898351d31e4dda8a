// Bundles src/index.ts into the Python package: one ESM file and one stylesheet, nothing fetched at run time.
import { gzipSync } from "node:zlib";
import { context, build as once } from "esbuild";

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
