/** The nodes and lines of a flow, painted: thousands of them, which as elements would be slow. */

import { anchors, type Theme } from "../../colormap.js";
import { type Flow, type FlowLayout, place, type Run } from "../../flow.js";
import type { Point } from "../../geometry.js";
import { type Cell, KINDS, type Kind } from "../../types.js";

const PARTS: readonly Kind[] = ["attn", "mlp"];

/** What each canvas shows, so that pointing at it repaints nothing. */
const painted = new WeakMap<HTMLCanvasElement, readonly unknown[]>();

/** More pixels than this are not drawn finer on a fine screen. */
const MOST_PIXELS = 6e6;

/** Fainter strokes cannot be seen. */
const FAINT = 0.03;

/** Paints the flow where it, its run, size, kinds or theme changed. */
export function paintFlow(
  canvas: HTMLCanvasElement,
  flow: Flow | null,
  run: Run,
  fit: FlowLayout,
  kinds: readonly Kind[],
  theme: Theme,
): void {
  const now = [flow, run, fit.pitch, fit.height, kinds, theme];
  const pen = canvas.getContext("2d");
  if (!pen || !flow || painted.get(canvas)?.every((each, i) => each === now[i])) return;
  painted.set(canvas, now);
  const fine = Math.min(devicePixelRatio, Math.sqrt(MOST_PIXELS / (fit.width * fit.height)));
  canvas.width = fit.width * fine;
  canvas.height = fit.height * fine;
  pen.scale(fine, fine);
  const tools = { ...strokes(pen), ...inks(canvas, run), pen, flow, run, fit };
  for (let pos = 0; pos < flow.rows; pos++) {
    paintLinks(tools, pos, kinds);
    paintStates(tools, pos); // Over all lines.
    paintEmbedding(tools, pos);
  }
}

type Tools = ReturnType<typeof strokes> &
  ReturnType<typeof inks> & { pen: CanvasRenderingContext2D; flow: Flow; run: Run; fit: FlowLayout };

/** What is drawn with: faint strokes and fills are left out. */
function strokes(pen: CanvasRenderingContext2D) {
  const faded = (alpha: number, draw: () => void) => {
    if (alpha < FAINT) return;
    pen.globalAlpha = alpha;
    draw();
    pen.globalAlpha = 1;
  };
  return {
    stroke: (ink: string, width: number, alpha = 1) => {
      pen.lineWidth = width;
      pen.strokeStyle = ink;
      faded(alpha, () => pen.stroke());
    },
    fill: (ink: string, alpha = 1) => {
      pen.fillStyle = ink;
      faded(alpha, () => pen.fill());
    },
    line: (from: Point, to: Point) => {
      pen.moveTo(...from);
      pen.lineTo(...to);
    },
  };
}

/** The colours of the theme, which the style sheet holds. */
function inks(canvas: HTMLCanvasElement, run: Run) {
  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(`--rw-${name}`);
  const ramps = new Map(KINDS.map((kind) => [kind, anchors(canvas, kind)]));
  return {
    back: colour("bg"),
    mute: colour("mute"),
    thin: colour("line"),
    spread: colour("spread"),
    moved: colour(run === "restored" ? "fill" : "spread"),
    shade: (kind: Kind, share: number): string =>
      ramps.get(kind)?.[Math.round(Math.max(0, Math.min(1, share)) * 8)] ?? "",
  };
}

/** What goes into the states of a row: from the layer before, from attention and from the MLP. */
function paintLinks({ pen, flow, run, fit, ...draw }: Tools, pos: number, kinds: readonly Kind[]): void {
  const links = Array.from({ length: flow.layers }, (_, layer) => {
    const to = place(fit, [pos, layer, "hidden"]);
    const parts: Cell[] = [
      [pos, layer - 1, "hidden"],
      ...PARTS.filter((kind) => kinds.includes(kind)).map((kind): Cell => [pos, layer, kind]),
    ];
    return parts.map((cell) => ({ cell, to, from: place(fit, cell), strength: flow.strength(run, cell) }));
  }).flat();
  pen.beginPath();
  for (const { from, to } of links) draw.line(from, to);
  draw.stroke(draw.thin, 1);
  // Each as strong as what goes along it.
  for (const { cell, from, to, strength } of links) {
    const kind = cell[2];
    pen.beginPath();
    draw.line(from, to);
    const way = run === "clean" ? draw.mute : draw.moved;
    draw.stroke(kind === "hidden" ? way : draw.shade(kind, 0.8), 0.8 + 2.6 * strength, strength);
    if (kind === "hidden") continue;
    for (const [ink, inset] of [
      [draw.shade(kind, 0.5), 0],
      [draw.shade(kind, 0.1 + 0.8 * strength), 1],
    ] as const) {
      const [corner, size] = [inset - fit.side / 2, fit.side - 2 * inset];
      pen.fillStyle = ink;
      pen.fillRect(from[0] + corner, from[1] + corner, size, size);
    }
  }
}

/** A state: as full as it is opaque, its rim as strong as what is `missing`. */
function circle(tools: Tools, cell: Cell, ink: string, alpha: number, missing = 0): void {
  const { pen, fit, fill, stroke } = tools;
  pen.beginPath();
  pen.arc(...place(fit, cell), fit.radius, 0, 7);
  fill(tools.back);
  fill(ink, alpha);
  stroke(tools.mute, 1);
  stroke(tools.spread, 1.8, missing);
}

function paintStates(tools: Tools, pos: number): void {
  const { flow, run, shade, moved } = tools;
  for (let layer = 0; layer < flow.layers; layer++) {
    const cell: Cell = [pos, layer, "hidden"];
    const share = flow.share(cell);
    const way = flow.strength("corrupted", cell);
    if (run === "restored")
      circle(tools, cell, shade("hidden", share ?? 0), share === null ? 0 : 1, way * (1 - (share ?? 1)));
    else circle(tools, cell, moved, run === "clean" ? 0 : way);
  }
}

/** The token's embedding, with a star where the noise is. */
function paintEmbedding(tools: Tools, pos: number): void {
  const { pen, flow, run, fit, back, spread } = tools;
  const noisy = run !== "clean" && (flow.noise[pos] ?? 0) > 0;
  const start: Cell = [pos, -1, "hidden"];
  circle(tools, start, spread, noisy ? 1 : 0);
  if (!noisy) return;
  const [x, y] = place(fit, start);
  pen.fillStyle = back;
  pen.font = `${fit.radius * 2.6}px serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText("*", x, y + fit.radius * 0.6);
}
