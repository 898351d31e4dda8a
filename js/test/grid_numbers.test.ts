import { expect, test } from "vitest";
import { byKind, decode, extent, numberAt } from "../src/grid_numbers.js";
import { info, scores } from "./fake_model.js";

test("scores() of the fake model are unaligned, as messages are", () => {
  expect(scores().byteOffset % 4).not.toBe(0);
});
test("decode(data) reads numbers wherever they lie in their buffer, and none where there are none", () => {
  const numbers = decode(scores());
  expect(numbers.length).toBe(info.kinds.length * info.tokens.length * info.n_layers);
  expect(numbers[0]).toBeCloseTo(0.1);
  expect(decode(null).length).toBe(0);
});
test("byKind(info, data) gives each kind its own, and nothing where they do not fit the tokens", () => {
  const grids = byKind(info, scores());
  expect([...(grids?.keys() ?? [])]).toEqual(info.kinds);
  expect(numberAt(grids, [2, 1, "mlp"], info.n_layers)).toBeCloseTo(0.341);
  expect(numberAt(null, [2, 1, "mlp"], info.n_layers)).toBeNaN();
  expect(byKind({ ...info, n_layers: 5 }, scores())).toBeNull();
  expect(byKind(null, scores())).toBeNull();
});
test("extent(grids) counts what is known and finds its ends", () => {
  const grids = new Map([["mlp", new Float32Array([0.5, Number.NaN, 0.25])]] as const);
  expect(extent(grids)).toEqual({ known: 2, total: 3, low: 0.25, high: 0.5 });
  expect(extent(null)).toMatchObject({ known: 0, total: 0 });
});
