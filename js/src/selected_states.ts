/** What is selected and pointed at, and what the model, or the grid itself, says of it. No DOM. */

import { computed, type ReadonlySignal } from "@preact/signals-core";
import type { Bridge } from "./bridge.js";
import { windowLayers } from "./geometry.js";
import { numberAt } from "./grid_numbers.js";
import { same } from "./selection.js";
import type { ShownGrids } from "./shown_grids.js";
import type { Cell, GridTraits, Kind, RestorationInfo, Selection, TraceInfo } from "./types.js";

export interface Answer extends RestorationInfo {
  /** False while this is the grid's own number, standing in for the model's answer. */
  settled: boolean;
}

export interface Detail {
  cell: Cell;
  score: number;
  /** What stands in for a score that is NaN; NaN itself where there is no estimate. */
  estimate: number;
  before: number;
  /** After minus before, on the scale shown. */
  change: number;
  layers: [number, number];
}

export function selectedStates(
  bridge: Bridge<GridTraits>,
  trace: ReadonlySignal<TraceInfo | null>,
  kinds: ReadonlySignal<readonly Kind[]>,
  hover: ReadonlySignal<Cell | null>,
  { grids, estimate }: ShownGrids,
) {
  const detailOf = (cell: Cell): Detail | null => {
    const info = trace.value;
    const [pos, layer, kind] = cell;
    if (!info?.kinds.includes(kind)) return null;
    const columns = info.n_layers;
    if (pos >= info.tokens.length || layer >= columns) return null;
    return {
      cell,
      score: numberAt(grids.after.value, cell, columns),
      estimate: numberAt(estimate.value, cell, columns),
      before: numberAt(grids.before.value, cell, columns),
      change: numberAt(grids.change.value, cell, columns),
      layers: windowLayers(kind, layer, info.windows[kind] ?? 1, columns),
    };
  };

  const selection = computed((): Selection => bridge.get("selection") ?? []);
  /** The selection is of single states: no cell of it restores its window. */
  const single = computed(
    () => selection.value.length > 0 && same(bridge.get("single") ?? [], selection.value),
  );
  /** Whether an answer, a flow or a lens is that of the selection on screen. */
  const isOfSelection = (given: { selection: Selection; single: boolean } | null): boolean =>
    same(given?.selection ?? [], selection.value) &&
    (selection.value.length === 0 || (given?.single ?? false) === single.value);
  /** The selected cells of each kind on screen, as `pos * n_layers + layer`. */
  const selected = computed(() => {
    const found = new Map<Kind, Set<number>>(kinds.value.map((kind) => [kind, new Set()]));
    const [rows, columns] = [trace.value?.tokens.length ?? 0, trace.value?.n_layers ?? 0];
    for (const [pos, layer, kind] of selection.value)
      if (pos < rows && layer < columns) found.get(kind)?.add(pos * columns + layer);
    return found;
  });
  const cursor = computed(() => bridge.get("cursor"));
  /** The cell spoken about: under the pointer, else under the keyboard cursor. */
  const detail = computed(() => {
    const cell = hover.value ?? cursor.value;
    return cell && kinds.value.includes(cell[2]) ? detailOf(cell) : null;
  });

  const restoration = computed(() => {
    const given = bridge.get("_restoration") as RestorationInfo;
    return Array.isArray(given?.selection) ? given : null;
  });
  /** The answer to the selection on screen, or null while it is on its way. */
  const current = computed(() => {
    const given = restoration.value;
    return given && selection.value.length > 0 && isOfSelection(given) ? given : null;
  });
  /** What the panel shows: the answer; else, for one cell, the number that the grid already holds. */
  const answer = computed((): Answer | null => {
    if (current.value) return { ...current.value, settled: true };
    const [cell, ...others] = selection.value;
    const found = cell && others.length === 0 ? detailOf(cell) : null;
    // The grid has numbers of cells with their windows only.
    if (found && single.value && found.layers[1] - found.layers[0] > 1) return null;
    return trace.value && found && !Number.isNaN(found.score) ? readFromGrid(trace.value, found) : null;
  });

  return {
    detailOf,
    selection,
    single,
    isOfSelection,
    selected,
    cursor,
    detail,
    restoration,
    current,
    answer,
    select: (next: Selection, at: Cell | null): void =>
      bridge.set({ selection: next, cursor: at, ...(single.value ? { single: [] } : {}) }),
    /** Of single states, without their windows. */
    selectStates: (next: Selection): void => bridge.set({ selection: next, single: next, cursor: null }),
    isSelected: ([pos, layer, kind]: Cell): boolean =>
      selected.value.get(kind)?.has(pos * (trace.value?.n_layers ?? 0) + layer) === true,
  };
}

/** What a grid says of one of its cells, in the form of an answer. */
function readFromGrid({ clean, corrupted, answer }: TraceInfo, { cell, layers, score }: Detail): Answer {
  const [pos, , kind] = cell;
  const effect = clean === null || corrupted === null ? 0 : clean - corrupted;
  return {
    selection: [cell],
    single: false,
    states: Array.from({ length: layers[1] - layers[0] }, (_, i) => [pos, layers[0] + i, kind]),
    answer,
    score,
    clean,
    corrupted,
    recovery: effect <= 0 || corrupted === null ? null : (score - corrupted) / effect,
    rows: [],
    whole: null,
    source: "cell",
    ms: null,
    message: null,
    settled: false,
  };
}
