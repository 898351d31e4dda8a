/** What a view of a sweep shows, derived: traits and local signals in, computed values out. No DOM. */

import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Bridge } from "./bridge.js";
import { type Layout, layout } from "./geometry.js";
import { byKind, decode, extent, type Grids, numberAt } from "./grid_numbers.js";
import { type Cell, ROLES, type SweepInfo, type SweepTraits, type SweptFact } from "./types.js";

/** A fact and its effect at the selected cell. */
export interface Ranked {
  fact: SweptFact;
  effect: number;
}

/** The least share of facts that the darkest colour of peaks stands for. */
const LEAST_SHARE = 0.1;
/** Room for the names of roles, in the characters of tokens: they are set smaller. */
const LABEL = 9;
/** Pixels of a row at most: two pictures stand one above the other. */
const TALLEST = 30;

export type SweepState = ReturnType<typeof sweepState>;

export function sweepState(bridge: Bridge<SweepTraits>, width: ReadonlySignal<number>) {
  const info = computed((): SweepInfo => bridge.get("_sweep"));
  /** What `byKind` reads of a trace: here the rows are roles. */
  const shape = computed(() => ({ ...info.value, tokens: [...ROLES] }));
  const averages = computed(() => byKind(shape.value, bridge.get("averages")));
  const intervals = computed(() => byKind(shape.value, bridge.get("intervals")));
  const peaks = computed(() => byKind(shape.value, bridge.get("peaks")));
  const effects = computed(() => decode(bridge.get("effects")));
  const shows = computed(() => bridge.get("shows"));

  const gridsOf = (at: number): Grids | null => {
    const { kinds, n_layers } = info.value;
    const size = kinds.length * ROLES.length * n_layers;
    const own = effects.value.subarray(at * size, (at + 1) * size);
    return byKind(shape.value, new DataView(own.buffer, own.byteOffset, own.byteLength));
  };
  const cell = computed(
    (): Cell => [ROLES.indexOf(bridge.get("role")), bridge.get("layer"), bridge.get("kind")],
  );
  const exampleAt = computed(() =>
    info.value.facts.findIndex(({ number }) => number === bridge.get("example")),
  );
  const example = computed((): SweptFact | null => info.value.facts[exampleAt.value] ?? null);

  /** The facts by their effect at the selected cell; those without a token of the role are left out. */
  const ranking = computed((): Ranked[] => {
    const { facts, kinds, n_layers } = info.value;
    const [row, layer, kind] = cell.value;
    const offset = (kinds.indexOf(kind) * ROLES.length + row) * n_layers + layer;
    const size = kinds.length * ROLES.length * n_layers;
    return facts
      .map((fact, at) => ({ fact, effect: effects.value[at * size + offset] ?? Number.NaN }))
      .filter(({ effect }) => !Number.isNaN(effect))
      .sort((a, b) => b.effect - a.effect);
  });

  const top = (grids: Grids | null, least: number) => Math.max(least, extent(grids).high);
  return {
    bridge,
    width,
    info,
    shows,
    cell,
    example,
    ranking,
    averages,
    /** What the upper pictures show. */
    above: computed(() => (shows.value === "peaks" ? peaks.value : averages.value)),
    /** The greatest value of their colours; the least is nothing. */
    aboveTop: computed(() =>
      shows.value === "peaks" ? top(peaks.value, LEAST_SHARE) : top(averages.value, info.value.least),
    ),
    /** The effects of the selected fact alone. */
    own: computed(() => (example.value ? gridsOf(exampleAt.value) : null)),
    ownTop: computed(() => (example.value ? top(gridsOf(exampleAt.value), info.value.least) : 0)),
    fit: computed((): Layout => {
      const { n_layers, kinds } = info.value;
      const found = layout(width.value || 900, ROLES.length, n_layers, kinds.length, LABEL);
      return { ...found, cell: { ...found.cell, h: Math.min(TALLEST, found.cell.h) } };
    }),
    /** The numbers of a cell. */
    at: (where: Cell) => {
      const read = (grids: Grids | null) => numberAt(grids, where, info.value.n_layers);
      return {
        average: read(averages.value),
        interval: read(intervals.value),
        peaks: read(peaks.value),
        own: read(example.value ? gridsOf(exampleAt.value) : null),
      };
    },
    /** The cell under the pointer. */
    hover: signal<Cell | null>(null),
    /** The keyboard is in the pictures. */
    focused: signal(false),
    helping: signal(false),
  };
}
