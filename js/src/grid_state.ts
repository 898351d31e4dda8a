/** What is on screen, derived: traits and local signals in, computed values out. No DOM. */

import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Bridge } from "./bridge.js";
import type { Theme } from "./colormap.js";
import { tokenLabel } from "./format.js";
import { type Layout, layout, type Point } from "./geometry.js";
import { selectedStates } from "./selected_states.js";
import { colourRanges, type Side, shownGrids, strongestCells } from "./shown_grids.js";
import type { Cell, GridTraits, Kind, TraceInfo } from "./types.js";

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

/** What a person does to this view alone: none of it travels. */
const ownSignals = () => ({
  hover: signal<Cell | null>(null),
  /** The keyboard moves the cursor, so it is drawn. */
  focused: signal(false),
  gesture: signal<Gesture | null>(null),
  /** Where the pointer has put the subject's brackets, until there is another trace. */
  draft: signal<{ of: TraceInfo; span: readonly [start: number, stop: number] } | null>(null),
  /** How far the picture was scrolled, in steps: other labels may be in sight. */
  scrolled: signal(0),
  /** The strongest states as a table stand where the picture was. */
  listed: signal(false),
  /** The keys are being explained. */
  helping: signal(false),
});

export function gridState(
  bridge: Bridge<GridTraits>,
  width: ReadonlySignal<number>,
  theme: ReadonlySignal<Theme>,
) {
  const own = ownSignals();
  const trace = computed((): TraceInfo | null => {
    const info = bridge.get("_trace") as TraceInfo;
    return Array.isArray(info?.tokens) && info.tokens.length > 0 ? info : null;
  });
  const shown = shownGrids(bridge, trace, width);
  const { scores, estimate, sides } = shown;

  const kinds = computed((): readonly Kind[] => {
    const choice = bridge.get("kind");
    const there = trace.value?.kinds ?? [];
    const wanted = there.filter((kind) => choice === "all" || choice === kind);
    return wanted.length > 0 ? wanted : there;
  });
  /** Some cell on screen is an estimate. */
  const estimated = computed(() =>
    [...(estimate.value ?? [])].some(([kind, grid]) =>
      grid.some((guess, i) => !Number.isNaN(guess) && Number.isNaN(scores.value?.get(kind)?.[i] ?? NaN)),
    ),
  );
  const fit = computed((): Layout => {
    const { tokens = [], n_layers = 12 } = trace.value ?? {};
    const longest = Math.max(3, ...tokens.map((token) => Math.min(14, tokenLabel(token).length)));
    return layout(
      width.value || 900,
      trace.value ? tokens.length : 8,
      n_layers,
      kinds.value.length || 3,
      longest,
      sides.value.length,
      bridge.get("values"),
    );
  });

  return {
    bridge,
    width,
    theme,
    trace,
    kinds,
    estimated,
    fit,
    ...own,
    ...shown,
    ...colourRanges(bridge, trace, shown),
    ...strongestCells(trace, kinds, shown),
    ...selectedStates(bridge, trace, kinds, own.hover, shown),
  };
}
