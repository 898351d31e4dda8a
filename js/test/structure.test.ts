/** How the sources hang together: no circle of imports, types among them, and no function that is too long to read. */

import { expect, test } from "vitest";

declare global {
  interface ImportMeta {
    /** Vite's: the texts of the files that match, by their paths. */
    glob(pattern: string, options: object): Record<string, string>;
  }
}

const LONGEST = 150;
const SOURCES = import.meta.glob("../src/**/*.ts", { query: "?raw", import: "default", eager: true });

/** What a file takes from others of ours, by `import`, `export … from` and `import()`. */
const imported = (path: string, text: string): string[] =>
  [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)\.js"/g)].map(([, to]) =>
    new URL(`${to}.ts`, new URL(path, "file:///js/test/")).pathname.replace("/js", ".."),
  );

/** A way along the arrows that comes back to where it began; none where there is no circle. */
function circle(arrows: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const follow = (name: string, way: readonly string[]): string[] => {
    if (way.includes(name)) return [...way.slice(way.indexOf(name)), name];
    if (done.has(name)) return [];
    for (const next of arrows.get(name) ?? []) {
      const found = follow(next, [...way, name]);
      if (found.length > 0) return found;
    }
    done.add(name);
    return [];
  };
  return [...arrows.keys()].map((name) => follow(name, [])).find((found) => found.length > 0) ?? [];
}

/** Lines of each function at the margin, by its name, up to what comes next there; what it holds is shorter. */
const lengths = (text: string): [name: string, lines: number][] =>
  text
    .split(/\n(?=(?:export|async|function|const|let|type|interface|class|declare)\b|\/[*/])/)
    .flatMap((part) => {
      const name = part.match(/^(?:export )?(?:async )?(?:function|const) (\w+)/)?.[1];
      return name ? [[name, part.trimEnd().split("\n").length] as const] : [];
    }) as [string, number][];

test("no file of the sources imports itself by way of others", () => {
  const arrows = new Map(Object.entries(SOURCES).map(([path, text]) => [path, imported(path, text)]));
  expect(arrows.get("../src/grid.ts")).toContain("../src/views/trace/grid_view.ts");
  for (const each of [...arrows.values()].flat()) expect(Object.keys(SOURCES)).toContain(each);
  expect(circle(arrows)).toEqual([]);
});
test("a circle is found, and two ways to one file are none; imports of types count", () => {
  const arrows = (...pairs: [string, string[]][]) => circle(new Map(pairs));
  expect(arrows(["a", ["b"]], ["b", ["c"]], ["c", ["d", "b"]])).toEqual(["b", "c", "b"]);
  expect(arrows(["a", ["b", "c"]], ["b", ["c"]], ["c", []])).toEqual([]);
  const text = 'import type { A } from "../a.js";\nimport "./b.js";\n';
  expect(imported("../src/views/x.ts", text)).toEqual(["../src/a.ts", "../src/views/b.ts"]);
});
test(`no function has more than ${LONGEST} lines`, () => {
  const all = Object.entries(SOURCES).flatMap(([path, text]) =>
    lengths(text).map(([of, lines]) => ({ path, of, lines })),
  );
  expect(all.length).toBeGreaterThan(200);
  expect(all).toContainEqual({ path: "../src/views/frame.ts", of: "frame", lines: expect.any(Number) });
  expect(all.filter(({ lines }) => lines > LONGEST)).toEqual([]);
});
test("the length of a function is counted to its own end", () => {
  const long = "export function long(\n  a,\n): void {\n  if (x) {\n    y();\n  }\n}";
  expect(lengths(`${long}\n\n/** Another. */\nconst short = 1;\nconst f = () => {\n  b;\n};\n`)).toEqual([
    ["long", 7],
    ["short", 1],
    ["f", 3],
  ]);
});
