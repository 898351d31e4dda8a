import { expect, test } from "vitest";
import { covers, groups, has, rectangle, same, toggle, union, unique } from "../src/selection.js";
import type { Cell } from "../src/types.js";

const a: Cell = [2, 3, "mlp"];
const b: Cell = [2, 4, "hidden"];

test("toggle(selection, cell) adds a cell that is missing and removes one that is there", () => {
  expect(toggle([a], b)).toEqual([a, b]);
  expect(toggle([a, b], [2, 3, "mlp"])).toEqual([b]);
});
test("toggle twice is the selection it began with", () => {
  expect(same(toggle(toggle([a], b), b), [a])).toBe(true);
});
test("unique(selection) drops repeats and sorts as Python sorts tuples", () => {
  expect(unique([b, [2, 3, "mlp"], a, [2, 3, "attn"], [0, 9, "mlp"]])).toEqual([
    [0, 9, "mlp"],
    [2, 3, "attn"],
    [2, 3, "mlp"],
    [2, 4, "hidden"],
  ]);
});
test("same(a, b) compares as sets", () => {
  expect(same([a, b], [b, a, a])).toBe(true);
  expect(same([a], [a, b])).toBe(false);
  expect(same([a], [[2, 3, "attn"]])).toBe(false);
});
test("has(selection, cell) compares by value", () => {
  expect(has([a], [2, 3, "mlp"])).toBe(true);
  expect(has([a], [3, 2, "mlp"])).toBe(false);
});
test("rectangle(from, to) is every cell between two corners of one plot, whichever way it is drawn", () => {
  const cells = [
    [1, 4, "mlp"],
    [1, 5, "mlp"],
    [2, 4, "mlp"],
    [2, 5, "mlp"],
  ];
  expect(rectangle([1, 5, "mlp"], [2, 4, "mlp"])).toEqual(cells);
  expect(rectangle([2, 4, "mlp"], [1, 5, "mlp"])).toEqual(cells);
});
test("rectangle across kinds is the second corner, because a rectangle between two plots means nothing", () => {
  expect(rectangle(a, b)).toEqual([b]);
});
test("union(a, b) holds each cell once, sorted", () => {
  expect(union([b], [a, b])).toEqual([a, b]);
});
test("covers(selection, cells) asks for every one of them", () => {
  expect(covers([b, a], [a])).toBe(true);
  expect(covers([a], [a, b])).toBe(false);
});
test("groups(states) gathers layers into runs, by position and kind", () => {
  expect(
    groups([
      [6, 4, "mlp"],
      [6, 2, "mlp"],
      [6, 3, "mlp"],
      [6, 7, "mlp"],
      [6, 4, "hidden"],
    ]),
  ).toEqual([
    { pos: 6, kind: "hidden", runs: [[4, 4]] },
    {
      pos: 6,
      kind: "mlp",
      runs: [
        [2, 4],
        [7, 7],
      ],
    },
  ]);
});
