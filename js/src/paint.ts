/** Scores → pixels: one pixel per cell, scaled up by CSS. */

import { entry } from "./colormap.js";

/** RGBA of a grid, row by row; a cell that was not computed stays transparent. */
export function pixels(
  scores: Float32Array,
  table: Uint8ClampedArray,
  low: number,
  high: number,
): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(scores.length * 4);
  for (let i = 0; i < scores.length; i++) {
    const value = scores[i] as number;
    if (Number.isNaN(value)) continue;
    const at = entry(value, low, high) * 4;
    for (let c = 0; c < 4; c++) out[i * 4 + c] = table[at + c] as number;
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
): void {
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  if (!context || rows * columns === 0) return;
  context.putImageData(new ImageData(pixels(scores, table, low, high), columns, rows), 0, 0);
}
