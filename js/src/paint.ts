/** Scores → pixels: one pixel per cell, scaled up by CSS. */

import { entry } from "./colormap.js";

/** How opaque an estimated cell is, of 255: the hatching beneath it shows through. */
export const ESTIMATE = 150;

/** RGBA of a grid, row by row; a cell with neither a score nor an estimate stays transparent. */
export function pixels(
  scores: Float32Array,
  table: Uint8ClampedArray,
  low: number,
  high: number,
  estimate?: Float32Array,
): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(scores.length * 4);
  for (let i = 0; i < scores.length; i++) {
    const exact = !Number.isNaN(scores[i] as number);
    const value = (exact ? scores[i] : (estimate?.[i] ?? Number.NaN)) as number;
    if (Number.isNaN(value)) continue;
    const at = entry(value, low, high) * 4;
    for (let c = 0; c < 3; c++) out[i * 4 + c] = table[at + c] as number;
    out[i * 4 + 3] = exact ? 255 : ESTIMATE;
  }
  return out;
}

/** Paints a grid of `rows` × `columns`. Does nothing where there is no canvas to draw on. */
export function paint(
  canvas: HTMLCanvasElement,
  scores: Float32Array,
  rows: number,
  columns: number,
  table: Uint8ClampedArray,
  low: number,
  high: number,
  estimate?: Float32Array,
): void {
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  if (!context || rows * columns === 0) return;
  context.putImageData(new ImageData(pixels(scores, table, low, high, estimate), columns, rows), 0, 0);
}
