import { expect, test, vi } from "vitest";
import { csv, fileName, flowCsv, lensCsv, save } from "../src/download.js";
import type { TraceInfo } from "../src/types.js";
import { flowInfo, info, lensInfo } from "./fake_model.js";

test("csv(trace, scores) has a row per state, quotes tokens, and leaves out what was not computed", () => {
  const shown: TraceInfo = {
    ...info,
    tokens: ['a"b', "c,d"],
    subject_span: [1, 2],
    n_layers: 2,
    corrupted: 0.25,
  };
  const scores = new Map([["mlp" as const, new Float32Array([0.5, Number.NaN, 0.25, 1])]]);
  expect(csv(shown, scores).split("\r\n")).toEqual([
    "kind,pos,token,in_subject,layer,score,indirect_effect",
    'mlp,0,"a""b",false,0,0.5,0.25',
    'mlp,0,"a""b",false,1,,',
    'mlp,1,"c,d",true,0,0.25,0',
    'mlp,1,"c,d",true,1,1,0.75',
    "",
  ]);
});

test("flowCsv and lensCsv have a row per state, and per run and layer", () => {
  const flow = flowCsv(info, flowInfo()).split("\r\n");
  expect(flow[0]).toBe("kind,pos,token,layer,written,corrupted,restored,moved");
  expect(flow).toHaveLength(3 * info.tokens.length * info.n_layers + 2);
  expect(flow[1]).toMatch(/^hidden,0,"The",0,[\d.]+,[\d.]+,[\d.]+,[\d.]+$/);
  const lens = lensInfo();
  const rows = lensCsv(lens).split("\r\n");
  expect(rows[0]).toBe("run,layer,token,p_token,p,rank");
  expect(rows).toHaveLength(lens.runs.length * (lens.runs[0]?.top.length ?? 0) + 2);
});

test.each([
  ["The Space Needle", " Seattle", "trace-the-space-needle-seattle"],
  ["Zürich/Süd", " a:b", "trace-zürich-süd-a-b"],
  ["„…“", " ", "trace-of-a-prompt"],
  ["x".repeat(80), " y", `trace-${"x".repeat(60)}`],
])("fileName of %s and %s is what Python calls its figure", (subject, answer, name) => {
  expect(fileName({ ...info, subject, answer })).toBe(name);
});

test("save(name) clicks a link that is on the page, and leaves none there", () => {
  URL.createObjectURL = () => "blob:x";
  URL.revokeObjectURL = () => {};
  const clicked: [string, boolean][] = [];
  const click = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (
    this: HTMLAnchorElement,
  ) {
    clicked.push([this.download, this.isConnected]);
  });
  save("a.csv", "text/csv", "x");
  expect(clicked).toEqual([["a.csv", true]]);
  expect(document.querySelector("a")).toBeNull();
  click.mockRestore();
});
