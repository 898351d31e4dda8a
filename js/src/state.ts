/** What is on screen, derived: traits and local signals in, computed values out. No DOM. */

import type { Theme } from "./colormap.js";
import { less, tokenLabel } from "./format.js";
import { type Layout, layout, ROOMY, windowLayers } from "./geometry.js";
import type { Bridge } from "./model.js";
import { has, same } from "./selection.js";
import { computed, type ReadonlySignal, signal } from "./signals.js";
import type { Cell, Comparison, GridTraits, Kind, RestorationInfo, Selection, TraceInfo } from "./types.js";

/** One of the grids of a comparison; alone, a trace is its own "after". */
export type Side = "before" | "after" | "change";
export type Look = "together" | Side;
type Grids = Map<Kind, Float32Array>;

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
  change: number;
  layers: [number, number];
}

export type GridState = ReturnType<typeof gridState>;

export const decode = (data: DataView | null): Float32Array => {
  if (!data || data.byteLength === 0) return new Float32Array();
  // A copy: the view may start anywhere in a larger buffer, and float32 wants multiples of four.
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength - (data.byteLength % 4));
  return new Float32Array(bytes.slice().buffer);
};

const flat = (grids: Grids | null): number[] => [...(grids?.values() ?? [])].flatMap((grid) => [...grid]);
const numbers = (grids: Grids | null): number[] => flat(grids).filter((each) => !Number.isNaN(each));

/** The difference that is painted as strong where none is larger. */
const LEAST_CHANGE = 0.01;

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
  const byKind = (data: DataView | null): Grids | null => {
    const info = trace.value;
    const all = decode(data);
    if (!info) return null;
    const size = info.tokens.length * info.n_layers;
    if (all.length !== size * info.kinds.length) return null;
    return new Map(info.kinds.map((kind, at) => [kind, all.subarray(at * size, (at + 1) * size)]));
  };
  const scores = computed(() => byKind(bridge.get("scores")));
  const estimate = computed(() => byKind(bridge.get("estimate")));
  const comparison = computed(() => {
    const given = bridge.get("comparison") as Comparison;
    return typeof given?.before === "string" ? given : null;
  });
  const before = computed(() => (comparison.value ? byKind(bridge.get("before_scores")) : null));
  /** Probability after minus before; NaN where either is. */
  const change = computed(() => {
    const [was, now] = [before.value, scores.value];
    if (!was || !now) return null;
    return new Map(
      [...now].map(([kind, grid]) => [kind, grid.map((p, i) => p - (was.get(kind)?.[i] ?? NaN))]),
    );
  });
  const grids: Record<Side, ReadonlySignal<Grids | null>> = { before, after: scores, change };
  /** What was chosen to be shown of a comparison; null leaves it to the width. */
  const chosen = signal<Look | null>(null);
  const roomy = computed(() => (width.value || ROOMY) >= ROOMY);
  const look = computed((): Look => {
    if (!comparison.value) return "after";
    const wanted = chosen.value ?? "together";
    return wanted === "together" && !roomy.value ? "change" : wanted;
  });
  const sides = computed((): Side[] =>
    look.value === "together" ? ["before", "after", "change"] : [look.value],
  );

  /** Every score of every kind, and those of them that are known. */
  const all = computed(() => flat(scores.value));
  const known = computed(() => numbers(scores.value));
  /** Some cell on screen is an estimate. */
  const estimated = computed(() => {
    return flat(estimate.value).some((guess, i) => !Number.isNaN(guess) && Number.isNaN(all.value[i]));
  });

  const kinds = computed((): readonly Kind[] => {
    const choice = bridge.get("kind");
    const there = trace.value?.kinds ?? [];
    const wanted = there.filter((kind) => choice === "all" || choice === kind);
    return wanted.length > 0 ? wanted : there;
  });

  /** Ends of the shared colour scale: the corrupted run, and the best of all runs. Estimates are clipped. */
  const range = computed(() => {
    const runs = [trace.value, comparison.value];
    const shown = [...known.value, ...numbers(before.value)];
    const ends = runs.flatMap((run) => run?.corrupted ?? []);
    const low = (ends.length > 0 ? ends : shown).reduce((a, b) => Math.min(a, b), 1);
    const high = [...shown, ...runs.map((run) => run?.clean ?? 0)].reduce((a, b) => Math.max(a, b), 0);
    return { low, high: high > low ? high : low + 1e-6 };
  });
  /** Symmetric around nothing, and never so narrow that rounding looks like an effect. */
  const changeRange = computed(() => {
    const [was, now] = [comparison.value, trace.value];
    const runs = [less(now?.clean ?? null, was?.clean ?? null) ?? 0, LEAST_CHANGE];
    const high = [...numbers(change.value), ...runs].reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    return { low: -high, high };
  });
  const rangeOf = (side: Side) => (side === "change" ? changeRange : range).value;

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
      sides.value.length,
    );
  });

  const at = (from: ReadonlySignal<Grids | null>, [pos, layer, kind]: Cell): number =>
    from.value?.get(kind)?.[pos * (trace.value?.n_layers ?? 0) + layer] ?? Number.NaN;
  const scoreOf = (cell: Cell): number => at(scores, cell);
  const estimateOf = (cell: Cell): number => at(estimate, cell);

  const detailOf = (cell: Cell): Detail | null => {
    const info = trace.value;
    if (!info?.kinds.includes(cell[2])) return null;
    if (cell[0] >= info.tokens.length || cell[1] >= info.n_layers) return null;
    const layers = windowLayers(cell[2], cell[1], info.windows[cell[2]] ?? 1, info.n_layers);
    return {
      cell,
      score: scoreOf(cell),
      estimate: estimateOf(cell),
      before: at(before, cell),
      change: at(change, cell),
      layers,
    };
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
      recovery: effect <= 0 || corrupted === null ? null : (found.score - corrupted) / effect,
      rows: [],
      source: "cell",
      ms: null,
      message: null,
      settled: false,
    };
  });

  /** The best cell among the subject's rows, where the fact is read from; of differences the largest of all. */
  const bestOf = (side: Side, kind: Kind): { cell: Cell; score: number } | null => {
    const info = trace.value;
    const grid = grids[side].value?.get(kind);
    if (!info || !grid) return null;
    const weigh = side === "change" ? Math.abs : (score: number) => score;
    const [start, stop] = side === "change" ? [0, info.tokens.length] : info.subject_span;
    let found = -1;
    for (let i = start * info.n_layers; i < stop * info.n_layers; i++) {
      const score = weigh(grid[i] as number);
      if (score > (side === "change" ? 0 : -1) && !(score <= weigh(grid[found] ?? Number.NaN))) found = i;
    }
    if (found < 0) return null;
    const layer = found % info.n_layers;
    return { cell: [(found - layer) / info.n_layers, layer, kind], score: grid[found] as number };
  };

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
    bestOf,
    comparison,
    grids,
    chosen,
    roomy,
    look,
    sides,
    rangeOf,
    select,
    isSelected: (cell: Cell) => has(selection.value, cell),
  };
}
