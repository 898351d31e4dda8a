/** The algebra of selected cells. Pure; every function returns a new selection in Python's order. */

import type { Cell, Kind, Selection } from "./types.js";
import { KINDS } from "./types.js";

/** Equal by value: a cell as a string is its own key. */
export const sameCell = (a: Cell | null, b: Cell | null): boolean => String(a) === String(b);
export const has = (selection: Selection, cell: Cell): boolean =>
  selection.some((each) => sameCell(each, cell));

/** The selection without repeats, sorted by position, layer and kind, as Python keeps it. */
export const unique = (selection: Selection): Selection =>
  [...new Map(selection.map((cell) => [String(cell), cell])).values()].sort(
    (a, b) => a[0] - b[0] || a[1] - b[1] || (a[2] < b[2] ? -1 : 1),
  );

export const replace = (cell: Cell): Selection => [cell];

export const toggle = (selection: Selection, cell: Cell): Selection =>
  unique(has(selection, cell) ? selection.filter((each) => !sameCell(each, cell)) : [...selection, cell]);

/** Adds the rectangle between two cells of one kind. */
export function extend(selection: Selection, anchor: Cell, cell: Cell): Selection {
  if (anchor[2] !== cell[2]) return toggle(selection, cell);
  const out: Cell[] = [...selection];
  for (let pos = Math.min(anchor[0], cell[0]); pos <= Math.max(anchor[0], cell[0]); pos++)
    for (let layer = Math.min(anchor[1], cell[1]); layer <= Math.max(anchor[1], cell[1]); layer++)
      out.push([pos, layer, cell[2]]);
  return unique(out);
}

/** Equal as sets: order and repeats do not matter. */
export const same = (a: Selection, b: Selection): boolean => String(unique(a)) === String(unique(b));

export interface Group {
  pos: number;
  kind: Kind;
  /** Runs of layers, both ends included. */
  runs: [number, number][];
}

/** States gathered by position and kind into runs of layers: what a sentence about them needs. */
export function groups(states: Selection): Group[] {
  const found = new Map<string, Group>();
  for (const [pos, layer, kind] of unique(states)) {
    const group = found.get(`${pos}${kind}`) ?? { pos, kind, runs: [] };
    found.set(`${pos}${kind}`, group);
    const last = group.runs.at(-1);
    if (last?.[1] === layer - 1) last[1] = layer;
    else group.runs.push([layer, layer]);
  }
  return [...found.values()].sort((a, b) => a.pos - b.pos || KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
}
