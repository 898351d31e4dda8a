/** Where things are: cells in pixels, windows in layers, and how a figure fits its width. Pure. */

import type { Cell, Kind, TraceInfo } from "./types.js";

/** `[start, stop)` of the layers that a cell restores; the rule of `results.window_layers`. */
export function windowLayers(kind: Kind, layer: number, window: number, nLayers: number): [number, number] {
  if (kind === "hidden") return [layer, layer + 1];
  return [Math.max(0, layer - Math.floor(window / 2)), Math.min(nLayers, layer + Math.ceil(window / 2))];
}

/** The row and column under a point of a plot `width` × `height`, or null outside. */
export function cellAt(
  x: number,
  y: number,
  width: number,
  height: number,
  rows: number,
  columns: number,
): { pos: number; layer: number } | null {
  if (!(x >= 0 && y >= 0 && x < width && y < height)) return null;
  return { pos: Math.floor((y / height) * rows), layer: Math.floor((x / width) * columns) };
}

export interface Layout {
  /** Size of a cell, CSS pixels, whole numbers. */
  cell: { w: number; h: number };
  /** Width of the column of token labels. */
  labels: number;
  /** Width of the colour bar with its words. */
  bar: number;
  gap: number;
  /** Kinds beside each other, or one above the other. */
  direction: "row" | "column";
  /** Where the restoration panel goes. */
  panel: "side" | "below";
  /** Every how many layers a number is written. */
  tickStep: number;
}

export const PANEL_WIDTH = 340;
const PADDING = 32;
/** Below this width what surrounds the plots is drawn closer. */
const SMALL = 560;
/** There, plots beside each other have cells as wide as this at least. */
const SMALL_CELL = 7;
const BAR = 88;
const GAP = 16;
/** Height of the panel without its page's other parts, which a picture beside it may have, too. */
const BESIDE = 320;
const TALLEST = 56;
const COMFORTABLE = 11;
const SMALLEST = 4;
/** A cell of this width has room for its number. */
export const LEGIBLE = 28;
/** With more tokens than this the picture scrolls by itself, and only the labels in sight exist. */
export const TALL = 120;
/** From this width on three grids of each kind are shown at once. */
export const ROOMY = 820;

/**
 * Fits `kinds` plots of `rows` × `columns` cells into `width` pixels, or several `grids` of each kind:
 * of one kind beside each other, of more kinds one row of plots for each.
 *
 * The panel stays at the side while cells stay comfortable; then it goes below; then the plots
 * are stacked. Cells are never narrower than 4 px: a very deep model scrolls inside its figure.
 * With `values` cells are as wide as the numbers in them need, where that is possible.
 */
export function layout(
  width: number,
  rows: number,
  columns: number,
  kinds: number,
  labelLength: number,
  grids = 1,
  values = false,
): Layout {
  const small = width < SMALL;
  const labels = Math.min(small ? 96 : 132, Math.max(44, Math.ceil(labelLength * 8.6) + 26));
  const padding = small ? PADDING / 2 : PADDING;
  const across = kinds === 1 ? grids : kinds;
  const bars = kinds === 1 && grids > 1 ? 2 * BAR + 40 : BAR;
  /** A wide page, or the whole screen, is used. */
  const large = Math.max(1, Math.min(1.8, width / 1000));
  const largest = (across === 1 || values ? 64 : 48) * large;
  const comfortable = values ? LEGIBLE : COMFORTABLE;
  const fitted = (room: number, plots: number) =>
    Math.floor((room - padding - labels - bars - GAP * plots) / (plots * Math.max(1, columns)));
  const sided = fitted(width - PANEL_WIDTH, across);
  const below = fitted(width, across);
  const panel = width >= 760 && (sided >= comfortable || sided >= below) ? "side" : "below";
  let w = panel === "side" ? sided : below;
  let direction: Layout["direction"] = "row";
  if (w < (small ? SMALL_CELL : SMALLEST)) {
    w = fitted(width, 1);
    direction = "column";
  }
  w = Math.max(SMALLEST, Math.min(Math.floor(largest), w));
  const low = kinds > 1 && grids > 1 ? 6 : 0;
  const tall = rows <= 22 ? Math.max(1, Math.min(1.4, large)) : 1;
  const least = rows <= 14 ? 24 - low : rows <= 22 ? 18 - low / 2 : rows <= 60 ? 15 - low / 2 : 12;
  /** A short prompt fills the room beside the panel, in cells that are not much taller than wide. */
  const filling =
    panel === "side" && grids === 1 ? Math.min(BESIDE / rows, (rows > 5 ? 2 : 3) * w, TALLEST) : 0;
  const h = Math.round(Math.max(tall * least, filling));
  return { cell: { w, h }, labels, bar: BAR, gap: GAP, direction, panel, tickStep: tickStep(w) };
}

/** The smallest of 1, 2, 5, 10, … that leaves 18 px between numbers. */
export function tickStep(cellWidth: number): number {
  for (const step of [1, 2, 5, 10, 20]) if (step * cellWidth >= (step === 1 ? 13 : 18)) return step;
  return 50;
}

/** Round numbers from `low` to `high`, about `count` of them. */
export function ticks(low: number, high: number, count = 5): number[] {
  if (!(high > low)) return [];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999) ?? 10;
  const step = unit * power;
  const out: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step);
  return out;
}

const LEAP = 10;

/** Moves a cursor; past the last layer of one kind comes the first of the next. `Ctrl+Home` is a key, too. */
export function move(
  cursor: Cell,
  key: string,
  rows: number,
  columns: number,
  kinds: readonly Kind[],
): Cell | null {
  const [pos, layer, kind] = cursor;
  const at = kinds.indexOf(kind);
  const [before, after] = [kinds[at - 1], kinds[at + 1]];
  const moves: Record<string, Cell> = {
    ArrowUp: [Math.max(0, pos - 1), layer, kind],
    ArrowDown: [Math.min(rows - 1, pos + 1), layer, kind],
    ArrowLeft: layer > 0 ? [pos, layer - 1, kind] : before ? [pos, columns - 1, before] : cursor,
    ArrowRight: layer < columns - 1 ? [pos, layer + 1, kind] : after ? [pos, 0, after] : cursor,
    PageUp: [pos, Math.max(0, layer - LEAP), kind],
    PageDown: [pos, Math.min(columns - 1, layer + LEAP), kind],
    Home: [pos, 0, kind],
    End: [pos, columns - 1, kind],
    "Ctrl+Home": [0, 0, kind],
    "Ctrl+End": [rows - 1, columns - 1, kind],
  };
  return moves[key] ?? null;
}

export type Point = readonly [x: number, y: number];

/** Whether a point lies in a polygon, closed from its last corner to its first (even–odd rule). */
export function inside(polygon: readonly Point[], x: number, y: number): boolean {
  let within = false;
  let [x1, y1] = polygon.at(-1) ?? [0, 0];
  for (const [x2, y2] of polygon) {
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) within = !within;
    [x1, y1] = [x2, y2];
  }
  return within;
}

/** The cells whose centres a polygon goes around; its corners count in cells: `[layer, pos]`. */
export function lassoed(polygon: readonly Point[], rows: number, columns: number, kind: Kind): Cell[] {
  const out: Cell[] = [];
  for (let pos = 0; pos < rows; pos++)
    for (let layer = 0; layer < columns; layer++)
      if (inside(polygon, layer + 0.5, pos + 0.5)) out.push([pos, layer, kind]);
  return out;
}

/** Whether the token at `pos` was corrupted: of every mention of the subject that was meant. */
export const inSubject = (info: Pick<TraceInfo, "subject_span" | "subject_spans">, pos: number): boolean =>
  (info.subject_spans ?? [info.subject_span]).some(([start, stop]) => pos >= start && pos < stop);
