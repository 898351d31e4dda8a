/** What is on screen, derived: traits and local signals in, computed values out. No DOM. */

import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Bridge } from "./bridge.js";
import type { Ramp, Theme } from "./colormap.js";
import { tokenLabel } from "./format.js";
import { type Layout, layout, type Point, ROOMY, windowLayers } from "./geometry.js";
import { type Reading, read, reading, unread } from "./scale.js";
import { same } from "./selection.js";
import type {
  Cell,
  Comparison,
  GridTraits,
  Kind,
  RestorationInfo,
  Scale,
  Selection,
  TraceInfo,
} from "./types.js";

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
  /** After minus before, on the scale shown. */
  change: number;
  layers: [number, number];
}

/** What the pointer is drawing on a plot. */
export interface Gesture {
  kind: Kind;
  side: Side;
  from: Cell;
  /** The cell under the pointer, or the nearest to it. */
  to: Cell;
  /** Freehand, counted in cells; null while it is a rectangle. */
  lasso: readonly Point[] | null;
}

export type GridState = ReturnType<typeof gridState>;

export const decode = (data: DataView | null): Float32Array => {
  if (!data || data.byteLength === 0) return new Float32Array();
  // A copy: the view may start anywhere in a larger buffer, and float32 wants multiples of four.
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength - (data.byteLength % 4));
  return new Float32Array(bytes.slice().buffer);
};

interface Extent {
  known: number;
  total: number;
  low: number;
  high: number;
}

/** How many numbers there are, how many are known, and between what they lie. */
function extent(grids: Grids | null): Extent {
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

/** What the noise takes away at least where it counts: rounding alone has no colour. */
const LEAST = 1e-3;
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
  const gesture = signal<Gesture | null>(null);
  /** Where the pointer has put the subject's brackets, until there is another trace. */
  const draft = signal<{ of: TraceInfo; span: readonly [start: number, stop: number] } | null>(null);
  /** How far the picture was scrolled, in steps: other labels may be in sight. */
  const scrolled = signal(0);
  /** The strongest states as a table stand where the picture was. */
  const listed = signal(false);
  /** The keys are being explained. */
  const helping = signal(false);

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

  /** The scale asked for; probabilities where a run on screen does not say enough for it. */
  const scale = computed((): Scale => {
    const wanted = bridge.get("scale") ?? "probability";
    const runs = [trace.value, comparison.value].filter((run) => run !== null);
    return runs.every((run) => reading(wanted, run)) ? wanted : "probability";
  });
  const straight: Reading = { from: 0, unit: 1 };
  const readings = computed((): Record<Side, Reading> => {
    const of = (run: TraceInfo | Comparison | null) => (run && reading(scale.value, run)) || straight;
    return { before: of(comparison.value), after: of(trace.value), change: straight };
  });
  /** After minus before on the scale shown; NaN where either is. */
  const change = computed(() => {
    const [was, now] = [before.value, scores.value];
    const { before: old, after } = readings.value;
    if (!was || !now) return null;
    return new Map(
      [...now].map(([kind, grid]) => {
        const other = was.get(kind);
        return [kind, grid.map((p, i) => read(p, after) - read(other?.[i] ?? Number.NaN, old))];
      }),
    );
  });
  const grids: Record<Side, ReadonlySignal<Grids | null>> = { before, after: scores, change };
  /** What was chosen to be shown of a comparison; null leaves it to the width. */
  const chosen = signal<Look | null>(null);
  const roomy = computed(() => (width.value || ROOMY) >= ROOMY);
  const look = computed((): Look => {
    if (!comparison.value) return "after";
    // After an edit came back out, three pictures would say less than the words.
    const { same, names } = comparison.value;
    const wanted = chosen.value ?? (same && names[1] === "after" ? "after" : "together");
    return wanted === "together" && !roomy.value ? "change" : wanted;
  });
  const sides = computed((): Side[] =>
    look.value === "together" ? ["before", "after", "change"] : [look.value],
  );

  const shown = computed(() => extent(scores.value));
  /** Some cell on screen is an estimate. */
  const estimated = computed(() =>
    [...(estimate.value ?? [])].some(([kind, grid]) =>
      grid.some((guess, i) => !Number.isNaN(guess) && Number.isNaN(scores.value?.get(kind)?.[i] ?? NaN)),
    ),
  );

  const kinds = computed((): readonly Kind[] => {
    const choice = bridge.get("kind");
    const there = trace.value?.kinds ?? [];
    const wanted = there.filter((kind) => choice === "all" || choice === kind);
    return wanted.length > 0 ? wanted : there;
  });

  /** Ends of the shared colour scale: the corrupted run, and the best of all runs. Estimates are clipped. */
  const range = computed(() => {
    const runs = [
      { run: trace.value, of: readings.value.after, found: shown.value },
      { run: comparison.value, of: readings.value.before, found: extent(before.value) },
    ];
    const lows = runs.flatMap(({ run, of }) =>
      typeof run?.corrupted === "number" ? read(run.corrupted, of) : [],
    );
    const low = Math.min(1, ...(lows.length > 0 ? lows : runs.map(({ found }) => found.low)));
    const high = Math.max(
      0,
      ...runs.flatMap(({ run, of, found }) => [
        read(found.high, of),
        typeof run?.clean === "number" ? read(run.clean, of) : 0,
      ]),
    );
    return { low, high: Math.max(high, low + LEAST) };
  });
  /** Symmetric around nothing, and never so narrow that rounding looks like an effect. */
  const changeRange = computed(() => {
    const found = extent(change.value);
    const [was, now] = [comparison.value?.clean ?? null, trace.value?.clean ?? null];
    const { before: old, after } = readings.value;
    const runs = was === null || now === null ? 0 : read(now, after) - read(was, old);
    const high = Math.max(LEAST_CHANGE, Math.abs(runs), -found.low, found.high);
    return { low: -high, high };
  });
  /** On the scale shown. */
  const rangeOf = (side: Side) => (side === "change" ? changeRange : range).value;
  /** The same in what the grid of this side holds: what is painted. */
  const painted = (side: Side) => {
    const { low, high } = rangeOf(side);
    const of = readings.value[side];
    return { low: unread(low, of), high: unread(high, of) };
  };
  const ramp = (side: Side, kind: Kind): Ramp =>
    side === "change" ? side : bridge.get("palette") === "cividis" ? "cividis" : kind;

  const done = computed(() => ({ cells: shown.value.known, total: shown.value.total }));

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
      bridge.get("values"),
    );
  });

  const at = (from: ReadonlySignal<Grids | null>, [pos, layer, kind]: Cell): number =>
    from.value?.get(kind)?.[pos * (trace.value?.n_layers ?? 0) + layer] ?? Number.NaN;

  const detailOf = (cell: Cell): Detail | null => {
    const info = trace.value;
    if (!info?.kinds.includes(cell[2])) return null;
    if (cell[0] >= info.tokens.length || cell[1] >= info.n_layers) return null;
    const layers = windowLayers(cell[2], cell[1], info.windows[cell[2]] ?? 1, info.n_layers);
    return {
      cell,
      score: at(scores, cell),
      estimate: at(estimate, cell),
      before: at(before, cell),
      change: at(change, cell),
      layers,
    };
  };

  const selection = computed((): Selection => bridge.get("selection") ?? []);
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

  /** The strongest states of the kinds on screen, the strongest first; of differences the largest. */
  const strongest = (count: number): { cell: Cell; value: number }[] => {
    const side = sides.value.length > 1 ? "after" : (sides.value[0] ?? "after");
    const columns = trace.value?.n_layers ?? 1;
    const weigh = side === "change" ? Math.abs : (value: number) => value;
    return kinds.value
      .flatMap((kind) => {
        const grid = grids[side].value?.get(kind) ?? new Float32Array();
        return Array.from(grid, (value, i) => ({ value, i, kind }));
      })
      .filter(({ value }) => !Number.isNaN(value))
      .sort((a, b) => weigh(b.value) - weigh(a.value))
      .slice(0, count)
      .map(({ value, i, kind }) => ({
        cell: [Math.floor(i / columns), i % columns, kind],
        value: read(value, readings.value[side]),
      }));
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
    gesture,
    draft,
    scrolled,
    listed,
    helping,
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
    scale,
    readings,
    rangeOf,
    painted,
    ramp,
    selected,
    strongest,
    select,
    isSelected: ([pos, layer, kind]: Cell) =>
      selected.value.get(kind)?.has(pos * (trace.value?.n_layers ?? 0) + layer) === true,
  };
}
