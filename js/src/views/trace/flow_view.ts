/** The flow: what attention and MLP write into each state, what noise moves, what a restoration brings back. */

import { computed, signal } from "@preact/signals-core";
import { html, nothing, svg, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import type { Theme } from "../../colormap.js";
import { anchors } from "../../colormap.js";
import {
  type Flow,
  type FlowLayout,
  flowLayout,
  nodeAt,
  type Point,
  place,
  type Run,
  readFlow,
  road,
  ways,
} from "../../flow.js";
import { describe, KIND_NAMES, percent, tokenLabel } from "../../format.js";
import { PANEL_WIDTH, tickStep } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { same, sameCell } from "../../selection.js";
import type { Cell, ExplorerTraits, FlowInfo, Kind, LensInfo, Selection, TraceInfo } from "../../types.js";
import { choice, type Part } from "../controls.js";
import { help, helpButton } from "./help.js";
import { activeRow, firstCell } from "./overlay.js";
import { pathOf, steps } from "./path_view.js";
import { tokenColumn } from "./token_labels.js";
import type { View } from "./trace_frame.js";

const RUNS: readonly (readonly [Run, string])[] = [
  ["clean", "Clean"],
  ["corrupted", "Corrupted"],
  ["restored", "Restored"],
];
const PARTS: readonly Kind[] = ["attn", "mlp"];

/** What there is to see, in a sentence for each run. */
const LEGENDS: Record<Run, string> = {
  clean: "Each state is the one before it plus what attention (red) and MLP (green) write: h = h′ + a + m.",
  corrupted:
    "Noise * moves the subject’s embeddings; attention carries it on. Orange: how far a state is from clean.",
  restored:
    "Ringed states are put back. The fuller its colour, the more of a state is back; an orange rim: moved, and not back; blue lines: how far they came. A cell of the heat map sums this up as p(answer) at the last token.",
};

/** The node under the pointer, else under the cursor of the keyboard. */
const pointed = ({ hover, focused, cursor, detailOf }: GridState): Cell | null => {
  const cell = hover.value ?? (focused.value ? cursor.value : null);
  return cell && detailOf(cell) ? cell : null;
};

/** What stands in for a flow or a lens that is not there, or beside one of another selection. */
export function pending(view: View, bridge: Bridge<ExplorerTraits>, shown: FlowInfo | LensInfo | null): Part {
  const { trace, selection } = view.state;
  if (shown && same(shown.selection, selection.value)) return nothing;
  const said = view.connected()
    ? bridge.get("stale")
      ? "The model was edited since this trace."
      : "Running the model…"
    : shown
      ? `As saved: restored ${describe(shown.states, trace.value?.tokens ?? []) || "nothing"}.`
      : "This needs a live model.";
  return html`<p class="rw-note" role="status">${said}</p>`;
}

export function flowPage(bridge: Bridge<ExplorerTraits>) {
  /** Where the cursor was brought into sight last. */
  let seen: Cell | null = null;
  const chosen = signal<Run | null>(null);
  const info = computed(() => {
    const given = bridge.get("flow");
    return "noise" in given ? (given as FlowInfo) : null;
  });
  const flow = computed(() => {
    const trace = bridge.get("trace") as TraceInfo;
    return info.value && trace.tokens ? readFlow(info.value, trace.tokens.length, trace.n_layers) : null;
  });
  const run = computed(
    (): Run => chosen.value ?? (bridge.get("selection").length > 0 ? "restored" : "corrupted"),
  );

  const arrange = (state: GridState): FlowLayout => {
    const { labels, panel, cell } = state.fit.value;
    const room = (state.width.value || 900) - (panel === "side" ? PANEL_WIDTH : 0) - labels - 40;
    const { tokens = [], n_layers = 1 } = state.trace.value ?? {};
    return flowLayout(room, tokens.length, n_layers, cell.h < 18 ? cell.h : cell.h + 10);
  };
  /** The flow to be drawn: nothing is restored in one that is of another selection. */
  const shown = (view: View): Run =>
    run.value === "restored" &&
    view.connected() &&
    !same(info.value?.selection ?? [], bridge.get("selection"))
      ? "corrupted"
      : run.value;

  function picture(view: View): TemplateResult {
    const { state, figure: on } = view;
    const trace = state.trace.value;
    if (!trace) return html``;
    const at = arrange(state);
    const under = (event: PointerEvent): Cell | null => {
      const box = (event.currentTarget as Element).getBoundingClientRect();
      const cell = nodeAt(at, event.clientX - box.left, event.clientY - box.top);
      return cell && state.kinds.value.includes(cell[2]) ? cell : null;
    };
    const step = tickStep(at.pitch);
    const cursor = state.cursor.value && state.detailOf(state.cursor.value) ? state.cursor.value : null;
    return html`
      <div class="rw-flow-top">
        ${choice("Run", RUNS, run.value, (next) => {
          chosen.value = next;
        })}
      </div>
      <div
        class="rw-figure rw-flow"
        @scroll=${on.scroll}
        tabindex="0"
        role="grid"
        aria-label="Flow: states by tokens and layers"
        aria-rowcount=${trace.tokens.length + 1}
        aria-colcount=${trace.n_layers + 1}
        aria-multiselectable="true"
        aria-activedescendant=${cursor ? `${view.id}-active` : nothing}
        @keydown=${on.key}
        @focus=${on.focus(true)}
        @blur=${on.focus(false)}
      >
        ${tokenColumn(state, on, trace, at.row)}
        <div style="width:${at.width}px">
          <div class="rw-layers" aria-hidden="true">
            <span style="left:${at.pitch / 2}px">${at.pitch < 40 ? "e" : "embed"}</span>
            ${Array.from({ length: Math.ceil(trace.n_layers / step) }, (_, i) => i * step).map(
              (layer) => html`<span style="left:${(layer + 1.5) * at.pitch}px">${layer}</span>`,
            )}
          </div>
          <div class="rw-nodes" style="height:${at.height}px" @mousedown=${on.hold}>
            <svg class="rw-marks" width=${at.width} height=${at.height} aria-hidden="true">${beneath(view, at)}</svg>
            <canvas
              data-flow
              style="width:${at.width}px;height:${at.height}px"
              aria-hidden="true"
              @pointermove=${(event: PointerEvent) => {
                const cell = under(event);
                if (!sameCell(cell, state.hover.value)) state.hover.value = cell;
              }}
              @pointerleave=${on.leave}
              @click=${(event: PointerEvent) => {
                const cell = under(event);
                state.focused.value = false;
                if (cell) on.picks.pick(cell, event);
              }}
            ></canvas>
            <svg class="rw-marks" width=${at.width} height=${at.height} aria-hidden="true">${marks(view, at)}</svg>
          </div>
        </div>
        <div class="rw-unseen" role="rowgroup">${activeRow(
          state,
          trace,
          cursor ?? firstCell(state, trace),
          view.id,
          (cell) => `layer ${cell[1]}, ${words(flow.value, shown(view), cell)}`,
        )}</div>
      </div>
      ${state.helping.value ? help(state, on.grips) : nothing}
      <p class="rw-caption">${LEGENDS[run.value]} ${scaleOf(flow.value, run.value)} Lines that fan into a node: what its attention can read, the darker the more of it moved; not its weights.</p>
      ${pending(view, bridge, info.value)}
    `;
  }

  /** The line below: the node under the pointer or the cursor. */
  function detail(view: View): TemplateResult {
    const cell = view.state.detail.value?.cell;
    const token = tokenLabel(view.state.trace.value?.tokens[cell?.[0] ?? 0] ?? "");
    return html`<div class="rw-detail" role="status">
      ${
        cell
          ? html`<span><b>“<bdi>${token}</bdi>”, ${KIND_NAMES[cell[2]]} layer ${cell[1]}</b>: ${words(flow.value, shown(view), cell)}</span>`
          : html`<span class="rw-mute">Point at a node to read it; click to restore it.</span>`
      }
      <span class="rw-space"></span><span class="rw-more">${helpButton(view.state)}</span>
    </div>`;
  }

  /** Below the nodes: the path, and what attention reads at the node that is pointed at. */
  const beneath = (view: View, at: FlowLayout): TemplateResult[] => {
    const cell = pointed(view.state);
    return [...path(at), ...(cell ? fan(at, cell) : [])];
  };

  /** Above them: what is restored, pointed at, and under the cursor. */
  function marks(view: View, at: FlowLayout): TemplateResult[] {
    const { state } = view;
    const { hover, focused, cursor, selection } = state;
    const grown = (cell: Cell, more: number, name: string) => {
      const [x, y] = place(at, cell);
      const half = at.side / 2 + more;
      return cell[2] === "hidden"
        ? svg`<circle class=${name} cx=${x} cy=${y} r=${at.radius + more} />`
        : svg`<rect class=${name} x=${x - half} y=${y - half} width=${2 * half} height=${2 * half} />`;
    };
    const there = (cell: Cell) => state.detailOf(cell) !== null;
    const saved = !view.connected() && info.value?.states;
    const restored: Selection = saved || (state.answer.value?.states ?? selection.value);
    return [
      ...restored
        .filter(there)
        .flatMap((cell) => [
          grown(cell, 2, "rw-halo"),
          grown(cell, 2, state.isSelected(cell) ? "rw-selected" : "rw-reach"),
        ]),
      ...steps(state, (cell) => place(at, cell), at.pitch >= 24),
      ...(hover.value && there(hover.value) ? [grown(hover.value, 2, "rw-hover")] : []),
      ...(focused.value && cursor.value ? [grown(cursor.value, 4.5, "rw-cursor")] : []),
    ];
  }

  /** How the path's states reach the last token, where the flow is that of these states. */
  function path(at: FlowLayout): TemplateResult[] {
    const found = pathOf(bridge as unknown as Bridge<never>);
    const trace = bridge.get("trace") as TraceInfo;
    if (!found || !flow.value || !same(found.states, info.value?.selection ?? [])) return [];
    const all = ways(found.states, trace.tokens.length, trace.n_layers, flow.value.share);
    return [
      svg`<path class="rw-way" d=${all.map((way) => road(way.map((cell) => place(at, cell)))).join("")} />`,
    ];
  }

  /** From the states that attention can read at a node to its own contribution there. */
  function fan(at: FlowLayout, [pos, layer, kind]: Cell): TemplateResult[] {
    const { value } = flow;
    if (!value || kind === "mlp") return [];
    const end = place(at, [pos, layer, "attn"]);
    return Array.from({ length: pos + 1 }, (_, from) => {
      const cell: Cell = [from, layer - 1, "hidden"];
      const shade = run.value === "clean" ? 0.35 : 0.08 + 0.72 * value.strength(run.value, cell);
      return svg`<path class="rw-fan" style="opacity:${shade}" d=${`M${place(at, cell)}L${end}`} />`;
    });
  }

  return {
    picture,
    detail,
    /** After each drawing: the nodes are painted, and the cursor of the keyboard stays in sight. */
    drawn: (root: ParentNode, view: View): void => {
      const { focused, cursor, kinds, theme } = view.state;
      const canvas = root.querySelector<HTMLCanvasElement>("canvas[data-flow]");
      if (!canvas) return;
      paintFlow(canvas, flow.value, shown(view), arrange(view.state), kinds.value, theme.value);
      if (!focused.value || sameCell(seen, cursor.value)) return;
      seen = cursor.value;
      root.querySelector(".rw-nodes .rw-cursor")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    },
  };
}

/** What is drawn strongest. */
const scaleOf = (flow: Flow | null, run: Run): string =>
  flow
    ? `The strongest here: ${flow.scale(run, run === "clean" ? "mlp" : "hidden").toFixed(2)} times the length of its state.`
    : "";

/** One node in words. */
function words(flow: Flow | null, run: Run, cell: Cell): string {
  if (!flow) return "not measured yet";
  const amount = flow.amount(run, cell);
  const length = `${amount.toFixed(2)} of the state’s length`;
  if (Number.isNaN(amount)) return "not measured";
  if (run === "clean") return cell[2] === "hidden" ? "the sum so far" : `writes ${length}`;
  const share = flow.share(cell);
  if (share === null) return "not moved by the noise";
  return run === "corrupted" ? `noise moved it ${length}` : `moved ${length}; ${percent(share)} back`;
}

/** What each canvas shows, so that pointing at it repaints nothing. */
const painted = new WeakMap<HTMLCanvasElement, readonly unknown[]>();

/** More pixels than this are not drawn finer on a fine screen. */
const MOST_PIXELS = 6e6;

/** Fainter strokes cannot be seen. */
const FAINT = 0.03;

function paintFlow(
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
  const { width, height, radius, side } = fit;
  const fine = Math.min(devicePixelRatio, Math.sqrt(MOST_PIXELS / (width * height)));
  canvas.width = width * fine;
  canvas.height = height * fine;
  pen.scale(fine, fine);

  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(`--rw-${name}`);
  const [back, mute] = [colour("bg"), colour("mute")];
  const spread = colour("spread");
  const moved = run === "restored" ? colour("fill") : spread;
  const ramps = Object.fromEntries(
    (["hidden", "mlp", "attn"] as const).map((kind) => [kind, anchors(canvas, kind)]),
  );
  const shade = (kind: Kind, share: number) =>
    ramps[kind]?.[Math.round(Math.max(0, Math.min(1, share)) * 8)] ?? "";
  const stroke = (ink: string, width: number, alpha = 1) => {
    if (alpha < FAINT) return;
    pen.globalAlpha = alpha;
    pen.lineWidth = width;
    pen.strokeStyle = ink;
    pen.stroke();
    pen.globalAlpha = 1;
  };
  const fill = (ink: string, alpha = 1) => {
    if (alpha < FAINT) return;
    pen.globalAlpha = alpha;
    pen.fillStyle = ink;
    pen.fill();
    pen.globalAlpha = 1;
  };
  const line = (from: Point, to: Point) => {
    pen.moveTo(...from);
    pen.lineTo(...to);
  };
  const circle = (cell: Cell, ink: string, alpha: number, missing = 0) => {
    pen.beginPath();
    pen.arc(...place(fit, cell), radius, 0, 7);
    fill(back);
    fill(ink, alpha);
    stroke(mute, 1);
    stroke(spread, 1.8, missing);
  };
  const layers = Array.from({ length: flow.layers }, (_, layer) => layer);
  for (let pos = 0; pos < flow.rows; pos++) {
    const links = layers.flatMap((layer) => {
      const to = place(fit, [pos, layer, "hidden"]);
      const parts: Cell[] = [
        [pos, layer - 1, "hidden"],
        ...PARTS.filter((kind) => kinds.includes(kind)).map((kind): Cell => [pos, layer, kind]),
      ];
      return parts.map((cell) => ({ cell, to, from: place(fit, cell), strength: flow.strength(run, cell) }));
    });
    pen.beginPath();
    for (const { from, to } of links) line(from, to);
    stroke(colour("line"), 1);
    // Each as strong as what goes along it.
    for (const { cell, from, to, strength } of links) {
      const kind = cell[2];
      pen.beginPath();
      line(from, to);
      const way = run === "clean" ? mute : moved;
      stroke(kind === "hidden" ? way : shade(kind, 0.8), 0.8 + 2.6 * strength, strength);
      if (kind === "hidden") continue;
      for (const [ink, inset] of [
        [shade(kind, 0.5), 0],
        [shade(kind, 0.1 + 0.8 * strength), 1],
      ] as const) {
        pen.fillStyle = ink;
        pen.fillRect(
          from[0] - side / 2 + inset,
          from[1] - side / 2 + inset,
          side - 2 * inset,
          side - 2 * inset,
        );
      }
    }
    // Over all lines.
    for (const layer of layers) {
      const cell: Cell = [pos, layer, "hidden"];
      const share = flow.share(cell);
      const way = flow.strength("corrupted", cell);
      if (run === "restored")
        circle(cell, shade("hidden", share ?? 0), share === null ? 0 : 1, way * (1 - (share ?? 1)));
      else circle(cell, moved, run === "clean" ? 0 : way);
    }
    const noisy = run !== "clean" && (flow.noise[pos] ?? 0) > 0;
    const start: Cell = [pos, -1, "hidden"];
    circle(start, spread, noisy ? 1 : 0);
    if (noisy) {
      const [x, y] = place(fit, start);
      pen.fillStyle = back;
      pen.font = `${radius * 2.6}px serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText("*", x, y + radius * 0.6);
    }
  }
}
