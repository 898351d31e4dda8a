/** Probability → colour: the ColorBrewer ramps of the paper's figure, linear between nine anchors. Pure. */

import palettes from "../../rome_widgets/widgets/palettes.json" with { type: "json" };
import type { Kind } from "./types.js";

export type Theme = "light" | "dark";

export const anchors = (kind: Kind, theme: Theme): readonly string[] => palettes[theme][kind];

const channels = (hex: string): number[] => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

/** 256 RGBA entries, four bytes each. */
export function lut(kind: Kind, theme: Theme): Uint8ClampedArray {
  const stops = anchors(kind, theme).map(channels);
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const at = Math.min(stops.length - 2, Math.floor(place));
    const low = stops[at] as number[];
    const high = stops[at + 1] as number[];
    for (let c = 0; c < 3; c++) {
      const from = low[c] as number;
      table[i * 4 + c] = Math.round(from + ((high[c] as number) - from) * (place - at));
    }
    table[i * 4 + 3] = 255;
  }
  return table;
}

/** The ramp as CSS, bottom to top. */
export const gradient = (kind: Kind, theme: Theme): string =>
  `linear-gradient(to top, ${anchors(kind, theme).join(", ")})`;

/** Index into a table of 256; values outside `[low, high]` are clipped. */
export const entry = (value: number, low: number, high: number): number =>
  high > low ? Math.round(Math.max(0, Math.min(1, (value - low) / (high - low))) * 255) : 0;
