/** Probability → colour: the ColorBrewer ramps of the paper's figure, linear between their anchors. */

import type { Kind } from "./types.js";

export type Theme = "light" | "dark";

/** A scale that the style sheet holds as `--rw-…`; "change" has its middle at nothing. */
export type Ramp = Kind | "change" | "cividis";

const channels = (hex: string): number[] => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

/** 256 RGBA entries, four bytes each, from anchors such as `#fcfbfd`. */
export function lut(anchors: readonly string[]): Uint8ClampedArray {
  const stops = anchors.map(channels);
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const at = Math.min(stops.length - 2, Math.floor(place));
    for (let c = 0; c < 4; c++) {
      const [from = 255, to = 255] = [stops[at]?.[c], stops[at + 1]?.[c]];
      table[i * 4 + c] = Math.round(from + (to - from) * (place - at));
    }
  }
  return table;
}

/** The colours of a ramp, lowest first, in the theme of `element`; none without its style sheet. */
export const anchors = (element: Element, ramp: Ramp): readonly string[] =>
  getComputedStyle(element)
    .getPropertyValue(`--rw-${ramp}`)
    .match(/#\w{6}/g) ?? [];

const tables = new Map<string, Uint8ClampedArray>();

/** The table of a ramp in a theme. Kept: to ask the style sheet costs a layout of the whole page. */
export function colourTable(element: Element, ramp: Ramp, theme: Theme): Uint8ClampedArray {
  const name = ramp + theme;
  const kept = tables.get(name);
  if (kept) return kept;
  const colours = anchors(element, ramp);
  const made = lut(colours);
  // A host may add the style sheet after the first drawing.
  if (colours.length > 0) tables.set(name, made);
  return made;
}

/** The ramp as CSS, bottom to top. */
export const gradient = (ramp: Ramp): string => `linear-gradient(to top, var(--rw-${ramp}))`;

/** Index into a table of 256; values outside `[low, high]` are clipped. */
export const entry = (value: number, low: number, high: number): number =>
  high > low ? Math.round(Math.max(0, Math.min(1, (value - low) / (high - low))) * 255) : 0;
