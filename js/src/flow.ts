/** A flow as nodes on a plane: where they are, how much each moved, which way a path goes on. Pure. */

import type { Point } from "./geometry.js";
import { decode } from "./grid_numbers.js";
import { unique } from "./selection.js";
import type { Cell, FlowInfo, Kind, Selection } from "./types.js";

/** The run that is looked at. */
export type Run = "clean" | "corrupted" | "restored";

/** Sizes in CSS pixels. */
export interface FlowLayout {
  /** From one layer to the next. */
  pitch: number;
  /** From one token to the next. */
  row: number;
  /** Of a circle. */
  radius: number;
  /** Of a square. */
  side: number;
  width: number;
  height: number;
}

/** What is closer to the clean run than this share of a state's length was not moved by the noise. */
export const UNMOVED = 0.01;
/** Narrower layers cannot be told apart: from here on the picture scrolls. */
const NARROWEST = 24;

/** Fits an embedding and `layers` layers into `room` pixels. */
export function flowLayout(room: number, rows: number, layers: number, row: number): FlowLayout {
  const pitch = Math.max(NARROWEST, Math.min(72, Math.floor(room / (layers + 1))));
  return {
    pitch,
    row,
    radius: Math.min(7, row * 0.27, pitch * 0.18),
    side: Math.min(8, row * 0.32, pitch * 0.22),
    width: pitch * (layers + 0.75),
    height: row * rows,
  };
}

/** The middle of a node. Layer −1 is the embedding; attention enters its state from above, the MLP from below. */
export function place({ pitch, row }: FlowLayout, [pos, layer, kind]: Cell): Point {
  const [x, y] = [(layer + 1.5) * pitch, (pos + 0.5) * row];
  return kind === "hidden" ? [x, y] : [x - pitch / 2, y + (kind === "attn" ? -0.24 : 0.24) * row];
}

/** The node that a point belongs to; none in the column of the embeddings. */
export function nodeAt({ pitch, row, width, height }: FlowLayout, x: number, y: number): Cell | null {
  if (!(x >= 0 && y >= 0 && x < width && y < height)) return null;
  const layer = Math.floor(x / pitch - 0.75);
  if (layer < 0) return null;
  const pos = Math.floor(y / row);
  const past = x / pitch - 0.75 - layer;
  return [pos, layer, past > 0.5 ? "hidden" : y < (pos + 0.5) * row ? "attn" : "mlp"];
}

const GRIDS = ["written", "corrupted", "restored", "moved"] as const;
const SHOWN = { clean: "written", corrupted: "corrupted", restored: "moved" } as const;

export type Flow = NonNullable<ReturnType<typeof readFlow>>;

/** The numbers of a flow by node; null where they do not fit the tokens and layers. */
export function readFlow(info: FlowInfo, rows: number, layers: number) {
  const noise = decode(info.noise);
  const grids = GRIDS.map((name) => [name, decode(info[name])] as const);
  const size = info.kinds.length * rows * layers;
  if (noise.length !== rows || grids.some(([, grid]) => grid.length !== size)) return null;
  const of = Object.fromEntries(grids) as Record<(typeof GRIDS)[number], Float32Array>;
  const at = (name: (typeof GRIDS)[number], [pos, layer, kind]: Cell) =>
    of[name][(info.kinds.indexOf(kind) * rows + pos) * layers + layer] ?? Number.NaN;
  const largest = (name: (typeof GRIDS)[number], kinds: readonly Kind[]) => {
    const found = info.kinds.map((kind, k) =>
      kinds.includes(kind) ? of[name].subarray(k * rows * layers, (k + 1) * rows * layers) : [],
    );
    let most = UNMOVED;
    for (const grid of found) for (const value of grid) if (value > most) most = value;
    return most;
  };
  const scales = {
    written: largest("written", ["mlp", "attn"]),
    hidden: largest("corrupted", ["hidden"]),
    parts: largest("corrupted", ["mlp", "attn"]),
  };

  /** What a run is about, in lengths of the clean state: how much is written, or how far it moved. */
  const amount = (run: Run, cell: Cell): number => {
    if (cell[1] >= 0) return at(SHOWN[run], cell);
    return run === "clean" ? 1 : run === "corrupted" ? (noise[cell[0]] ?? 0) : 0;
  };
  /** The amount that is drawn strongest: the same with and without the restoration. */
  const scale = (run: Run, kind: Kind): number => {
    if (run === "clean") return kind === "hidden" ? 1 : scales.written;
    return kind === "hidden" ? scales.hidden : scales.parts;
  };
  return {
    rows,
    layers,
    noise,
    amount,
    scale,
    /** The amount in [0, 1], as strong as it is drawn. */
    strength: (run: Run, cell: Cell): number =>
      Math.max(0, Math.min(1, amount(run, cell) / scale(run, cell[2]) || 0)),
    /** The part of the noise's way that the restoration undid; null where the noise moved nothing. */
    share: (cell: Cell): number | null => {
      const way = at("corrupted", cell);
      return way > UNMOVED ? 1 - at("restored", cell) / way : null;
    },
  };
}

/** Points joined as roads are: straight along a row, in an S from one row to another. */
export const road = (points: readonly Point[]): string =>
  points
    .map(([x, y], i) => {
      const [fromX, fromY] = points[i - 1] ?? [x, y];
      const half = (fromX + x) / 2;
      return i === 0 ? `M${x} ${y}` : y === fromY ? `H${x}` : `C${half} ${fromY} ${half} ${y} ${x} ${y}`;
    })
    .join("");

/**
 * How what a path's states bring back reaches the last token: from each along its own row, then over. A state that
 * is restored is overwritten, so that nothing flows from one into another: a way leaves its row before the next of
 * its hidden states, else in the layer where `back` first says that half of the last token is back.
 */
export function ways(
  path: Selection,
  rows: number,
  layers: number,
  back: (cell: Cell) => number | null,
): Cell[][] {
  const [last, top] = [rows - 1, layers - 1];
  return unique(path).flatMap((from): Cell[][] => {
    if (from[1] >= top) return [];
    const over = path.filter(([pos, layer, kind]) => kind === "hidden" && pos === from[0] && layer > from[1]);
    const latest = Math.min(top, ...over.map(([, layer]) => layer));
    let layer = from[1] + 1;
    while (layer < latest && !((back([last, layer, "hidden"]) ?? 0) >= 0.5)) layer++;
    const end: Cell = [last, top, "hidden"];
    return [[from, [from[0], layer - 1, "hidden"], [last, layer, "hidden"], end]];
  });
}
