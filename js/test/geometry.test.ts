import { describe, expect, test } from "vitest";
import {
  cellAt,
  inside,
  lassoed,
  layout,
  move,
  type Point,
  tickStep,
  ticks,
  windowLayers,
} from "../src/geometry.js";
import { KINDS } from "../src/types.js";

describe("windowLayers", () => {
  test("windowLayers(kind, layer, window, nLayers) is one layer for a hidden state, whatever the window", () => {
    expect(windowLayers("hidden", 4, 10, 48)).toEqual([4, 5]);
  });
  test("windowLayers with window 3 reaches one layer to each side", () => {
    expect(windowLayers("mlp", 4, 3, 8)).toEqual([3, 6]);
  });
  test("windowLayers with window 10 takes five below and four above, as the published code", () => {
    expect(windowLayers("mlp", 20, 10, 48)).toEqual([15, 25]);
  });
  test("windowLayers is clipped at both ends of the model", () => {
    expect(windowLayers("attn", 0, 10, 48)).toEqual([0, 5]);
    expect(windowLayers("attn", 47, 10, 48)).toEqual([42, 48]);
  });
});

describe("cellAt", () => {
  test("cellAt(x, y) is null outside the plot", () => {
    for (const [x, y] of [
      [-1, 5],
      [5, -1],
      [80, 5],
      [5, 60],
      [Number.NaN, 5],
    ] as const)
      expect(cellAt(x, y, 80, 60, 5, 8)).toBeNull();
  });
  test("cellAt finds the cell again at its centre, for every cell", () => {
    const cell = { w: 13, h: 17 };
    for (let pos = 0; pos < 5; pos++)
      for (let layer = 0; layer < 8; layer++) {
        expect(cellAt((layer + 0.5) * cell.w, (pos + 0.5) * cell.h, 8 * 13, 5 * 17, 5, 8)).toEqual({
          pos,
          layer,
        });
      }
  });
  test("cellAt follows a plot that the browser has scaled", () => {
    expect(cellAt(199, 99, 200, 100, 5, 8)).toEqual({ pos: 4, layer: 7 });
  });
});

describe("layout", () => {
  test("layout(900, 12 tokens, 8 layers, 3 kinds) keeps the panel at the side", () => {
    const fit = layout(900, 12, 8, 3, 6);
    expect(fit.panel).toBe("side");
    expect(fit.direction).toBe("row");
    expect(fit.cell.w).toBeGreaterThanOrEqual(11);
  });
  test("layout never asks for more than its width while cells may shrink", () => {
    for (const width of [700, 760, 900, 1000, 1200])
      for (const layers of [8, 12, 24, 48]) {
        const fit = layout(width, 12, layers, 3, 7);
        const across = fit.direction === "row" ? 3 : 1;
        const figure = fit.labels + fit.bar + across * (layers * fit.cell.w + fit.gap);
        expect(figure).toBeLessThanOrEqual(fit.panel === "side" ? width - 340 : width);
        expect(fit.cell.w).toBeGreaterThanOrEqual(4);
      }
  });
  test("layout with values makes cells as wide as their numbers need, and the panel goes below for them", () => {
    expect(layout(932, 8, 8, 3, 6).cell.w).toBeLessThan(28);
    expect(layout(932, 8, 8, 3, 6, 1, true)).toMatchObject({ panel: "below", cell: { w: 28 } });
  });
  test("layout of a short prompt fills the room beside the panel, with cells not much taller than wide", () => {
    for (const width of [900, 932, 1240, 1680])
      for (const rows of [2, 4, 8, 12]) {
        const { cell, panel } = layout(width, rows, 8, 3, 6);
        expect(panel).toBe("side");
        expect(cell.h).toBeGreaterThanOrEqual(24);
        const most = Math.min(56, (rows > 5 ? 2 : 3) * cell.w);
        expect(cell.h).toBeLessThanOrEqual(Math.max(34, most));
        expect(rows * cell.h).toBeGreaterThanOrEqual(Math.min(320, rows * most) - rows);
      }
  });
  test("layout makes cells grow until the room is used", () => {
    for (const kinds of [1, 3])
      for (const width of [900, 932, 1240, 1680]) {
        const { cell, labels, bar, gap, panel } = layout(width, 8, 8, kinds, 6);
        const used = 32 + labels + bar + kinds * (8 * cell.w + gap);
        const room = panel === "side" ? width - 340 : width;
        expect(used).toBeLessThanOrEqual(room);
        expect(cell.w >= 64 || room - used < 8 * kinds).toBe(true);
      }
  });
  test("layout from 330 px up stays within its width", () => {
    for (const width of [298, 330, 400, 490, 559, 560, 700])
      for (const layers of [8, 12, 24]) {
        const fit = layout(width, 8, layers, 3, 14);
        const across = fit.direction === "row" ? 3 : 1;
        const figure = fit.labels + fit.bar + across * (layers * fit.cell.w + fit.gap);
        expect(figure <= width || fit.cell.w === 4).toBe(true);
      }
  });
  test("layout below 760 px puts the panel below", () => {
    expect(layout(700, 12, 8, 3, 6).panel).toBe("below");
  });
  test("layout stacks the kinds when cells would be narrower than 4 px", () => {
    const fit = layout(700, 12, 80, 3, 6);
    expect(fit.direction).toBe("column");
    expect(fit.cell.w).toBeGreaterThanOrEqual(4);
  });
});

describe("ticks", () => {
  test("tickStep leaves room for the numbers", () => {
    expect(tickStep(16)).toBe(1);
    expect(tickStep(9)).toBe(2);
    expect(tickStep(5)).toBe(5);
  });
  test("ticks(low, high) are round numbers inside the range", () => {
    expect(ticks(0.04, 0.94).map((each) => Number(each.toPrecision(6)))).toEqual([0.2, 0.4, 0.6, 0.8]);
  });
  test("ticks of an empty range are none", () => {
    expect(ticks(0.5, 0.5)).toEqual([]);
  });
});

describe("move", () => {
  test("move stops at the edges of the rows", () => {
    expect(move([0, 2, "mlp"], "ArrowUp", 5, 4, KINDS)).toEqual([0, 2, "mlp"]);
    expect(move([4, 2, "mlp"], "ArrowDown", 5, 4, KINDS)).toEqual([4, 2, "mlp"]);
  });
  test("move goes from the last layer of one kind to the first of the next, and back", () => {
    expect(move([1, 3, "hidden"], "ArrowRight", 5, 4, KINDS)).toEqual([1, 0, "mlp"]);
    expect(move([1, 0, "mlp"], "ArrowLeft", 5, 4, KINDS)).toEqual([1, 3, "hidden"]);
    expect(move([1, 3, "attn"], "ArrowRight", 5, 4, KINDS)).toEqual([1, 3, "attn"]);
  });
  test("move knows Home and End, and is null for keys that do not move", () => {
    expect(move([1, 2, "mlp"], "Home", 5, 4, KINDS)).toEqual([1, 0, "mlp"]);
    expect(move([1, 2, "mlp"], "End", 5, 4, KINDS)).toEqual([1, 3, "mlp"]);
    expect(move([1, 2, "mlp"], "x", 5, 4, KINDS)).toBeNull();
  });
  test("move leaps ten layers with Page up and down, within its kind", () => {
    expect(move([1, 12, "mlp"], "PageUp", 5, 20, KINDS)).toEqual([1, 2, "mlp"]);
    expect(move([1, 12, "mlp"], "PageDown", 5, 20, KINDS)).toEqual([1, 19, "mlp"]);
  });
  test("move with Ctrl goes to the first token and layer, and to the last", () => {
    expect(move([1, 2, "mlp"], "Ctrl+Home", 5, 4, KINDS)).toEqual([0, 0, "mlp"]);
    expect(move([1, 2, "mlp"], "Ctrl+End", 5, 4, KINDS)).toEqual([4, 3, "mlp"]);
    expect(move([1, 2, "mlp"], "Ctrl+ArrowUp", 5, 4, KINDS)).toBeNull();
  });
});

describe("lasso", () => {
  const notched: Point[] = [
    [0, 0],
    [30, 0],
    [30, 50],
    [15, 10],
    [0, 50],
  ];
  test("inside(polygon, x, y) follows a notch that a hull would fill", () => {
    expect(inside(notched, 4, 20)).toBe(true);
    expect(inside(notched, 15, 30)).toBe(false);
    expect(inside(notched, 26, 20)).toBe(true);
    expect(inside(notched, 40, 20)).toBe(false);
  });
  test("inside a line, or nothing at all, is nothing", () => {
    expect(inside([], 1, 1)).toBe(false);
    expect(
      inside(
        [
          [0, 0],
          [9, 9],
        ],
        4,
        4,
      ),
    ).toBe(false);
  });
  test("lassoed(polygon) takes the cells whose centres are inside", () => {
    const cells = notched.map(([x, y]): Point => [x / 10, y / 20]);
    expect(lassoed(cells, 5, 4, "mlp")).toEqual([
      [0, 0, "mlp"],
      [0, 1, "mlp"],
      [0, 2, "mlp"],
      [1, 0, "mlp"],
      [1, 2, "mlp"],
    ]);
  });
});
