/** Scores → pixels: one pixel per cell, scaled up by CSS. */

import { entry } from "./colormap.js";

/** How opaque an estimated cell is, of 255: the hatching beneath it shows through. */
export const ESTIMATE = 150;

/** A table of 256 colours, and the numbers of its first and its last. */
export interface Colours {
  table: Uint8ClampedArray;
  low: number;
  high: number;
}

/** RGBA of a grid, row by row; a cell with neither a score nor an estimate stays transparent. */
export function pixels(
  scores: Float32Array,
  { table, low, high }: Colours,
  estimate?: Float32Array,
): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(scores.length * 4);
  // A pixel is one number of 32 bits: its alpha is the highest byte.
  const to = new Uint32Array(out.buffer);
  const from = new Uint32Array(table.buffer);
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] as number;
    const exact = !Number.isNaN(score);
    const value = exact ? score : (estimate?.[i] ?? Number.NaN);
    if (Number.isNaN(value)) continue;
    const colour = from[entry(value, low, high)] as number;
    to[i] = exact ? colour : (colour & 0xffffff) | (ESTIMATE << 24);
  }
  return out;
}

/** Paints a grid of `rows` × `columns`. Does nothing where there is no canvas to draw on. */
export function paint(
  canvas: HTMLCanvasElement,
  scores: Float32Array,
  rows: number,
  columns: number,
  colours: Colours,
  estimate?: Float32Array,
): void {
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  if (!context || rows * columns === 0) return;
  context.putImageData(new ImageData(pixels(scores, colours, estimate), columns, rows), 0, 0);
}

/** Writes the number of each cell that was computed on a canvas of the plot's own size. */
export function write(
  canvas: HTMLCanvasElement,
  scores: Float32Array,
  columns: number,
  { w, h }: { w: number; h: number },
  { table, low, high }: Colours,
  text: (value: number) => string,
): void {
  const sharp = globalThis.devicePixelRatio || 1;
  const [width, height] = [columns * w, (scores.length / columns) * h];
  [canvas.width, canvas.height] = [width * sharp, height * sharp];
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(sharp, sharp);
  context.font = `${Math.min(10.5, h - 2)}px ${getComputedStyle(canvas).fontFamily}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  scores.forEach((value, i) => {
    if (Number.isNaN(value)) return;
    const at = entry(value, low, high) * 4;
    const [r = 0, g = 0, b = 0] = table.subarray(at, at + 3);
    context.fillStyle = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff";
    const layer = i % columns;
    context.fillText(text(value), (layer + 0.5) * w, ((i - layer) / columns + 0.5) * h);
  });
}
