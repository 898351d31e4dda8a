/** Grids of numbers by kind: read from the bytes that Python sends, compared, searched for their strongest. Pure. */

import type { Cell, Kind, TraceInfo } from "./types.js";

/** One array per kind, a number at `pos * n_layers + layer`; NaN where none was computed. */
export type Grids = Map<Kind, Float32Array>;

export const decode = (data: DataView | null): Float32Array => {
  if (!data || data.byteLength === 0) return new Float32Array();
  // A copy: the view may start anywhere in a larger buffer, and float32 wants multiples of four.
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength - (data.byteLength % 4));
  return new Float32Array(bytes.slice().buffer);
};

/** The grids of a trace; null where the numbers do not fit its tokens. */
export function byKind(
  info: Pick<TraceInfo, "tokens" | "n_layers" | "kinds"> | null,
  data: DataView | null,
): Grids | null {
  const all = decode(data);
  if (!info) return null;
  const size = info.tokens.length * info.n_layers;
  if (all.length !== size * info.kinds.length) return null;
  return new Map(info.kinds.map((kind, at) => [kind, all.subarray(at * size, (at + 1) * size)]));
}

export interface Extent {
  known: number;
  total: number;
  low: number;
  high: number;
}

/** How many numbers there are, how many are known, and between what they lie. */
export function extent(grids: Grids | null): Extent {
  const out = { known: 0, total: 0, low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY };
  for (const grid of grids?.values() ?? []) {
    out.total += grid.length;
    for (const value of grid) {
      if (Number.isNaN(value)) continue;
      out.known++;
      if (value < out.low) out.low = value;
      if (value > out.high) out.high = value;
    }
  }
  return out;
}

/** The number of a cell; NaN where there is none. */
export const numberAt = (grids: Grids | null, [pos, layer, kind]: Cell, columns: number): number =>
  grids?.get(kind)?.[pos * columns + layer] ?? Number.NaN;
