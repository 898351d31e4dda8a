/** The algebra of selected cells. Pure; every function returns a new selection in Python's order. */

import type { Cell, Kind, Selection } from "./types.js";
import { KINDS } from "./types.js";

/** Equal by value: a cell as a string is its own key. */
export const sameCell = (a: Cell | null, b: Cell | null): boolean => String(a) === String(b);
export const has = (selection: Selection, cell: Cell): boolean =>
  selection.some((each) => sameCell(each, cell));

const IN_ORDER = [...KINDS].sort();
/** Numbers that sort as Python sorts (position, layer, kind). */
const key = ([pos, layer, kind]: Cell): number => (pos * 2 ** 20 + layer) * 3 + IN_ORDER.indexOf(kind);

/** The selection without repeats, sorted by position, layer and kind, as Python keeps it. */
export const unique = (selection: Selection): Selection =>
  [...new Map(selection.map((cell) => [key(cell), cell]))].sort(([a], [b]) => a - b).map(([, cell]) => cell);

export const union = (a: Selection, b: Selection): Selection => unique([...a, ...b]);

export const toggle = (selection: Selection, cell: Cell): Selection =>
  unique(has(selection, cell) ? selection.filter((each) => !sameCell(each, cell)) : [...selection, cell]);

/** All cells between two corners of one plot; of two plots only the second corner. */
export function rectangle(from: Cell, to: Cell): Selection {
  if (from[2] !== to[2]) return [to];
  const out: Cell[] = [];
  for (let pos = Math.min(from[0], to[0]); pos <= Math.max(from[0], to[0]); pos++)
    for (let layer = Math.min(from[1], to[1]); layer <= Math.max(from[1], to[1]); layer++)
      out.push([pos, layer, to[2]]);
  return out;
}

/** Equal as sets: order and repeats do not matter. */
export const same = (a: Selection, b: Selection): boolean =>
  a === b || String(unique(a)) === String(unique(b));

/** Holds every one of `cells`. */
export const covers = (selection: Selection, cells: Selection): boolean =>
  union(selection, cells).length === unique(selection).length;

/** States of one position and kind. */
export interface LayerRuns {
  pos: number;
  kind: Kind;
  /** Runs of layers, both ends included. */
  runs: [number, number][];
}

/** States gathered by position and kind into runs of layers: what a sentence about them needs. */
export function groups(states: Selection): LayerRuns[] {
  const found = new Map<string, LayerRuns>();
  for (const [pos, layer, kind] of unique(states)) {
    const group = found.get(`${pos}${kind}`) ?? { pos, kind, runs: [] };
    found.set(`${pos}${kind}`, group);
    const last = group.runs.at(-1);
    if (last?.[1] === layer - 1) last[1] = layer;
    else group.runs.push([layer, layer]);
  }
  return [...found.values()].sort((a, b) => a.pos - b.pos || KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
}
