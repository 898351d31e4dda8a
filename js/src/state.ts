/** What is on screen, derived: traits and local signals in, computed values out. No DOM. */

import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Theme } from "./colormap.js";
import { tokenLabel } from "./format.js";
import { type Layout, layout, windowLayers } from "./geometry.js";
import type { Bridge } from "./model.js";
import { has, same } from "./selection.js";
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
  layers: [number, number];
}

export type GridState = ReturnType<typeof gridState>;

const decode = (data: DataView | null): Float32Array => {
  if (!data || data.byteLength === 0) return new Float32Array();
  // A copy: the view may start anywhere in a larger buffer, and float32 wants multiples of four.
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength - (data.byteLength % 4));
  return new Float32Array(bytes.slice().buffer);
};

export function gridState(
  bridge: Bridge<GridTraits>,
  width: ReadonlySignal<number>,
  theme: ReadonlySignal<Theme>,
) {
  const hover = signal<Cell | null>(null);
  /** The keyboard moves the cursor, so it is drawn. */
  const focused = signal(false);

  const trace: ReadonlySignal<TraceInfo | null> = computed(() => {
    const info = bridge.get("trace") as TraceInfo;
    return Array.isArray(info?.tokens) && info.tokens.length > 0 ? info : null;
  });

  /** One array per kind; null where the numbers do not fit the tokens. */
  const byKind = (data: DataView | null): Map<Kind, Float32Array> | null => {
    const info = trace.value;
    const all = decode(data);
    if (!info) return null;
    const size = info.tokens.length * info.n_layers;
    if (all.length !== size * info.kinds.length) return null;
    return new Map(info.kinds.map((kind, at) => [kind, all.subarray(at * size, (at + 1) * size)]));
  };
  const scores = computed(() => byKind(bridge.get("scores")));
  const estimate = computed(() => byKind(bridge.get("estimate")));
  /** Every score of every kind, and those of them that are known. */
  const all = computed(() => [...(scores.value?.values() ?? [])].flatMap((grid) => [...grid]));
  const known = computed(() => all.value.filter((score) => !Number.isNaN(score)));
  /** Some cell on screen is an estimate. */
  const estimated = computed(() => {
    const guesses = [...(estimate.value?.values() ?? [])].flatMap((grid) => [...grid]);
    return guesses.some((guess, i) => !Number.isNaN(guess) && Number.isNaN(all.value[i]));
  });

  const kinds = computed((): readonly Kind[] => {
    const choice = bridge.get("kind");
    const there = trace.value?.kinds ?? [];
    const wanted = there.filter((kind) => choice === "all" || choice === kind);
    return wanted.length > 0 ? wanted : there;
  });

  /** Ends of the shared colour scale: the corrupted run, and the best of all runs. Estimates are clipped. */
  const range = computed(() => {
    const { clean, corrupted } = trace.value ?? {};
    const low = corrupted ?? known.value.reduce((a, b) => Math.min(a, b), 1);
    const high = known.value.reduce((a, b) => Math.max(a, b), clean ?? 0);
    return { low, high: high > low ? high : low + 1e-6 };
  });

  const done = computed(() => ({ cells: known.value.length, total: all.value.length }));

  const fit: ReadonlySignal<Layout> = computed(() => {
    const info = trace.value;
    const longest = Math.max(
      3,
      ...(info?.tokens ?? []).map((token) => Math.min(14, tokenLabel(token).length)),
    );
    return layout(
      width.value || 900,
      info?.tokens.length ?? 8,
      info?.n_layers ?? 12,
      kinds.value.length || 3,
      longest,
    );
  });

  const at = (grids: typeof scores, [pos, layer, kind]: Cell): number =>
    grids.value?.get(kind)?.[pos * (trace.value?.n_layers ?? 0) + layer] ?? Number.NaN;
  const scoreOf = (cell: Cell): number => at(scores, cell);
  const estimateOf = (cell: Cell): number => at(estimate, cell);

  const detailOf = (cell: Cell): Detail | null => {
    const info = trace.value;
    if (!info?.kinds.includes(cell[2])) return null;
    if (cell[0] >= info.tokens.length || cell[1] >= info.n_layers) return null;
    const layers = windowLayers(cell[2], cell[1], info.windows[cell[2]] ?? 1, info.n_layers);
    return { cell, score: scoreOf(cell), estimate: estimateOf(cell), layers };
  };

  const selection = computed((): Selection => bridge.get("selection") ?? []);
  const cursor = computed(() => bridge.get("cursor"));

  /** The cell spoken about: under the pointer, else under the keyboard cursor. */
  const detail = computed(() => {
    const cell = hover.value ?? cursor.value;
    return cell && kinds.value.includes(cell[2]) ? detailOf(cell) : null;
  });

  const restoration = computed(() => {
    const given = bridge.get("restoration") as RestorationInfo;
    return Array.isArray(given?.selection) ? given : null;
  });

  /** The answer to the selection on screen, or null while it is on its way. */
  const current = computed(() => {
    const given = restoration.value;
    return given && selection.value.length > 0 && same(given.selection, selection.value) ? given : null;
  });

  /** What the panel shows: the answer; else, for one cell, the number that the grid already holds. */
  const answer = computed((): Answer | null => {
    if (current.value) return { ...current.value, settled: true };
    const info = trace.value;
    const [cell, ...others] = selection.value;
    if (!info || !cell || others.length > 0) return null;
    const found = detailOf(cell);
    if (!found || Number.isNaN(found.score)) return null;
    const { clean, corrupted } = info;
    const effect = clean === null || corrupted === null ? 0 : clean - corrupted;
    const states: Cell[] = [];
    for (let layer = found.layers[0]; layer < found.layers[1]; layer++)
      states.push([cell[0], layer, cell[2]]);
    return {
      selection: [cell],
      states,
      answer: info.answer,
      probability: found.score,
      clean,
      corrupted,
      recovery: effect === 0 || corrupted === null ? null : (found.score - corrupted) / effect,
      rows: [],
      source: "cell",
      ms: null,
      message: null,
      settled: false,
    };
  });

  /** For each kind the best cell among the subject's rows: where the fact is read from. */
  const best = computed(() => {
    const info = trace.value;
    const out = new Map<Kind, { cell: Cell; score: number }>();
    if (!info || !scores.value) return out;
    const [start, stop] = info.subject_span;
    for (const [kind, grid] of scores.value) {
      for (let pos = start; pos < stop; pos++)
        for (let layer = 0; layer < info.n_layers; layer++) {
          const score = grid[pos * info.n_layers + layer] as number;
          const held = out.get(kind);
          if (score > (held?.score ?? Number.NEGATIVE_INFINITY))
            out.set(kind, { cell: [pos, layer, kind], score });
        }
    }
    return out;
  });

  const select = (next: Selection, at: Cell | null): void => {
    bridge.set({ selection: next, cursor: at });
  };

  return {
    bridge,
    hover,
    width,
    theme,
    focused,
    trace,
    scores,
    estimate,
    estimated,
    kinds,
    range,
    done,
    fit,
    selection,
    cursor,
    detail,
    detailOf,
    scoreOf,
    estimateOf,
    restoration,
    current,
    answer,
    best,
    select,
    isSelected: (cell: Cell) => has(selection.value, cell),
  };
}
