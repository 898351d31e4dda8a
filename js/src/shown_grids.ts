/** Which grids are on screen and how they read: a trace alone or compared, the scale, the ends of the colours. No DOM. */

import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Bridge } from "./bridge.js";
import type { Ramp } from "./colormap.js";
import { inSubject, ROOMY } from "./geometry.js";
import { byKind, extent, type Grids } from "./grid_numbers.js";
import { type Reading, read, reading, unread } from "./scale.js";
import type { Cell, Comparison, GridTraits, Kind, Scale, TraceInfo, TraceMetric } from "./types.js";

/** One of the grids of a comparison; alone, a trace is its own "after". */
export type Side = "before" | "after" | "change";
export type Look = "together" | Side;

/** What the colours span at least, of a score or of a difference: little looks little. As Python's `LEAST_RANGE`. */
const LEAST: Record<TraceMetric, number> = { probability: 0.1, logprob: 0.5, logit_difference: 0.5 };
/** A score read as itself. */
const STRAIGHT: Reading = { from: 0, unit: 1 };

/** Of a difference its size counts, of a score the score. */
const weigh = (side: Side) => (side === "change" ? Math.abs : (value: number) => value);

export function shownGrids(
  bridge: Bridge<GridTraits>,
  trace: ReadonlySignal<TraceInfo | null>,
  width: ReadonlySignal<number>,
) {
  const scores = computed(() => byKind(trace.value, bridge.get("scores")));
  /** How many cells there are, how many of them are known, and between what they lie. */
  const done = computed(() => extent(scores.value));
  const estimate = computed(() => byKind(trace.value, bridge.get("estimate")));
  const comparison = computed(() => {
    const given = bridge.get("_comparison") as Comparison;
    return typeof given?.before === "string" ? given : null;
  });
  const before = computed(() => (comparison.value ? byKind(trace.value, bridge.get("before_scores")) : null));

  /** The scale asked for; scores themselves where a run on screen does not say enough for it. */
  const scale = computed((): Scale => {
    const wanted = bridge.get("scale") ?? "probability";
    const runs = [trace.value, comparison.value].filter((run) => run !== null);
    return runs.every((run) => reading(wanted, run)) ? wanted : "probability";
  });
  const readings = computed((): Record<Side, Reading> => {
    const of = (run: TraceInfo | Comparison | null) => (run && reading(scale.value, run)) || STRAIGHT;
    return { before: of(comparison.value), after: of(trace.value), change: STRAIGHT };
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
  return { scores, done, estimate, comparison, scale, readings, grids, chosen, roomy, look, sides };
}

export type ShownGrids = ReturnType<typeof shownGrids>;

/** Between which numbers the colours of each grid run. */
export function colourRanges(
  bridge: Bridge<GridTraits>,
  trace: ReadonlySignal<TraceInfo | null>,
  { grids, done, comparison, readings }: ShownGrids,
) {
  const least = computed(() => LEAST[trace.value?.metric ?? "probability"]);
  /** The corrupted run, and the best of all runs: one for both grids of a comparison. Estimates are clipped. */
  const range = computed(() => {
    const runs = [
      { run: trace.value, of: readings.value.after, found: done.value },
      { run: comparison.value, of: readings.value.before, found: extent(grids.before.value) },
    ];
    const lows = runs.flatMap(({ run, of }) =>
      typeof run?.corrupted === "number" ? read(run.corrupted, of) : [],
    );
    const known = (lows.length > 0 ? lows : runs.map(({ found }) => found.low)).filter(Number.isFinite);
    const low = known.length > 0 ? Math.min(...known) : 0;
    const highs = runs.flatMap(({ run, of, found }) => [
      read(found.high, of),
      typeof run?.clean === "number" ? read(run.clean, of) : Number.NaN,
    ]);
    // At least so much of the metric, whatever the scale makes of it.
    const units = runs.filter(({ run }) => run).map(({ of }) => of.unit);
    const widest = low + least.value / (units.length > 0 ? Math.min(...units) : 1);
    return { low, high: Math.max(widest, ...highs.filter(Number.isFinite)) };
  });
  /** Symmetric around nothing, and never so narrow that rounding looks like an effect. */
  const changeRange = computed(() => {
    const found = extent(grids.change.value);
    const [was, now] = [comparison.value?.clean ?? null, trace.value?.clean ?? null];
    const { before: old, after } = readings.value;
    const runs = was === null || now === null ? 0 : read(now, after) - read(was, old);
    const high = Math.max(least.value, Math.abs(runs), -found.low, found.high);
    return { low: -high, high };
  });
  /** On the scale shown. */
  const rangeOf = (side: Side) => (side === "change" ? changeRange : range).value;
  return {
    rangeOf,
    /** The same in what the grid of this side holds: what is painted. */
    painted: (side: Side) => {
      const { low, high } = rangeOf(side);
      const of = readings.value[side];
      return { low: unread(low, of), high: unread(high, of) };
    },
    ramp: (side: Side, kind: Kind): Ramp =>
      side === "change" ? side : bridge.get("palette") === "cividis" ? "cividis" : kind,
  };
}

/** The strongest cells of what is on screen. */
export function strongestCells(
  trace: ReadonlySignal<TraceInfo | null>,
  kinds: ReadonlySignal<readonly Kind[]>,
  { grids, readings, sides }: ShownGrids,
) {
  return {
    /** The best cell among the subject's rows, where the fact is read from; of differences the largest of all. */
    bestOf: (side: Side, kind: Kind): { cell: Cell; score: number } | null => {
      const info = trace.value;
      const grid = grids[side].value?.get(kind);
      if (!info || !grid) return null;
      let [found, most] = [-1, side === "change" ? 0 : Number.NEGATIVE_INFINITY];
      for (let i = 0; i < info.tokens.length * info.n_layers; i++) {
        if (side !== "change" && !inSubject(info, Math.floor(i / info.n_layers))) continue;
        const score = weigh(side)(grid[i] as number);
        if (score > most) [found, most] = [i, score];
      }
      if (found < 0) return null;
      const layer = found % info.n_layers;
      return { cell: [(found - layer) / info.n_layers, layer, kind], score: grid[found] as number };
    },
    /** The strongest states of the kinds on screen, the strongest first; of differences the largest. */
    strongest: (count: number): { cell: Cell; value: number }[] => {
      const side = sides.value.length > 1 ? "after" : (sides.value[0] ?? "after");
      const columns = trace.value?.n_layers ?? 1;
      return kinds.value
        .flatMap((kind) => Array.from(grids[side].value?.get(kind) ?? [], (value, i) => ({ value, i, kind })))
        .filter(({ value }) => !Number.isNaN(value))
        .sort((a, b) => weigh(side)(b.value) - weigh(side)(a.value))
        .slice(0, count)
        .map(({ value, i, kind }) => ({
          cell: [Math.floor(i / columns), i % columns, kind],
          value: read(value, readings.value[side]),
        }));
    },
  };
}
