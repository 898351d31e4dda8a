import { expect, test } from "vitest";
import { csv } from "../src/files.js";
import type { TraceInfo } from "../src/types.js";
import { info } from "./fake_model.js";

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
