import { expect, test } from "vitest";
import { border, brackets } from "../src/outline.js";

const size = { w: 10, h: 20 };
/** Borders of a path, counted: its strokes and their length. */
const strokes = (path: string) =>
  [...path.matchAll(/M[\d.]+ [\d.]+([hv]\d+)/g)].map((each) => each[1]).sort();

test("border(cells) of one cell are its four sides", () => {
  expect(border(new Set([5]), 4, size)).toBe("M10 20h10M10 40h10M10 20v20M20 20v20");
});
test("border(cells) leaves out sides between two cells", () => {
  expect(strokes(border(new Set([5, 6]), 4, size))).toEqual(["h10", "h10", "h10", "h10", "v20", "v20"]);
  expect(strokes(border(new Set([1, 5]), 4, size))).toEqual(["h10", "h10", "v20", "v20", "v20", "v20"]);
});
test("border(cells) does not join the end of a row with the start of the next", () => {
  expect(strokes(border(new Set([3, 4]), 4, size))).toHaveLength(8);
});
test("brackets(cells) reach as far as the window, clipped at the ends of the model", () => {
  expect(brackets(new Set([0]), "mlp", 3, 4, size)).toBe("M1 15.5V18.5H19V15.5");
  expect(brackets(new Set([5]), "attn", 3, 4, size)).toBe("M1 35.5V38.5H29V35.5");
});
test("brackets(cells) of neighbours are one, of rows and of distant layers their own", () => {
  const count = (cells: number[]) => brackets(new Set(cells), "mlp", 3, 12, size).split("M").length - 1;
  expect(count([2, 3, 4])).toBe(1);
  expect(count([2, 5])).toBe(1);
  expect(count([2, 9])).toBe(2);
  expect(count([2, 14])).toBe(2);
});
test("brackets are none where a cell restores itself alone", () => {
  expect(brackets(new Set([5]), "hidden", 10, 4, size)).toBe("");
  expect(brackets(new Set([5]), "mlp", 1, 4, size)).toBe("");
});
