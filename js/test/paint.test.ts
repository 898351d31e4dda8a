import { expect, test } from "vitest";
import palettes from "../../rome_widgets/charts/palettes.json" with { type: "json" };
import { anchors as anchorsOf, entry, gradient, lut as lutOf, type Theme } from "../src/colormap.js";
import { ESTIMATE, paint, pixels } from "../src/paint.js";
import { KINDS, type Kind } from "../src/types.js";

const anchors = (kind: Kind, theme: Theme): readonly string[] => palettes[theme][kind];
const lut = (kind: Kind, theme: Theme) => lutOf(anchors(kind, theme));
const hex = (table: Uint8ClampedArray, at: number) =>
  `#${[...table.slice(at * 4, at * 4 + 3)].map((each) => each.toString(16).padStart(2, "0")).join("")}`;

test("lut(kind, theme) begins and ends with the anchors of the ramp", () => {
  for (const theme of ["light", "dark"] as const)
    for (const kind of KINDS) {
      const table = lut(kind, theme);
      expect(table.length).toBe(1024);
      expect(hex(table, 0)).toBe(anchors(kind, theme)[0]);
      expect(hex(table, 255)).toBe(anchors(kind, theme)[8]);
    }
});
test("lut is linear between anchors: a quarter of the way lies between the third anchor's neighbours", () => {
  // 255 / 8 = 31.875, so entry 64 sits 0.00784 past the third anchor (index 2).
  expect(hex(lut("hidden", "light"), 64)).toBe("#dadaeb");
});
test("lut goes one way only: more is never lighter on paper, nor darker on a dark page", () => {
  for (const theme of ["light", "dark"] as const)
    for (const kind of KINDS) {
      const table = lut(kind, theme);
      const light = Array.from({ length: 256 }, (_, i) => {
        const [r, g, b] = [table[i * 4], table[i * 4 + 1], table[i * 4 + 2]] as [number, number, number];
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      });
      const step = theme === "light" ? -1 : 1;
      // Channels are rounded, so neighbours may differ by half a step the wrong way.
      light.slice(1).forEach((each, i) => {
        expect((each - (light[i] as number)) * step).toBeGreaterThan(-0.5);
      });
    }
});
test("entry(value, low, high) clips what lies outside and survives an empty range", () => {
  expect([entry(-1, 0, 1), entry(0.5, 0, 1), entry(2, 0, 1), entry(1, 1, 1)]).toEqual([0, 128, 255, 0]);
});
test("gradient(ramp) and anchors(element, ramp) read the style sheet, or nothing where there is none", () => {
  const element = document.body.appendChild(document.createElement("div"));
  expect(anchorsOf(element, "mlp")).toEqual([]);
  element.style.setProperty("--rw-mlp", anchors("mlp", "light").join());
  expect(anchorsOf(element, "mlp")).toEqual(anchors("mlp", "light"));
  expect(gradient("mlp")).toBe("linear-gradient(to top, var(--rw-mlp))");
  element.remove();
});
test("pixels(scores) leaves a cell that was not computed transparent", () => {
  const out = pixels(new Float32Array([0, Number.NaN, 1]), { table: lut("attn", "light"), low: 0, high: 1 });
  expect([out[3], out[7], out[11]]).toEqual([255, 0, 255]);
  expect(hex(out, 0)).toBe(anchors("attn", "light")[0]);
  expect(hex(out, 2)).toBe(anchors("attn", "light")[8]);
});
test("pixels(scores, estimate) paints an estimate see-through, and only where there is no score", () => {
  const table = lut("mlp", "light");
  const scores = new Float32Array([Number.NaN, 0.5, Number.NaN]);
  const estimate = new Float32Array([0.5, 0.9, Number.NaN]);
  const out = pixels(scores, { table, low: 0, high: 1 }, estimate);
  expect([out[3], out[7], out[11]]).toEqual([ESTIMATE, 255, 0]);
  expect([...out.slice(0, 3)]).toEqual([...out.slice(4, 7)]);
  expect(ESTIMATE).toBeLessThan(200);
});

test("paint(canvas) sizes the canvas to one pixel per cell even where nothing can be drawn", () => {
  const canvas = document.createElement("canvas");
  paint(canvas, new Float32Array(12), 3, 4, { table: lut("mlp", "light"), low: 0, high: 1 });
  expect([canvas.width, canvas.height]).toEqual([4, 3]);
});
