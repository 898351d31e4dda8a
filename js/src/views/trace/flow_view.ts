/** The flow: what attention and MLP write into each state, what noise moves, what a restoration brings back. */

import { computed, signal } from "@preact/signals-core";
import { html, nothing, svg, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import {
  type Flow,
  type FlowLayout,
  flowLayout,
  nodeAt,
  place,
  type Run,
  readFlow,
  road,
  ways,
} from "../../flow.js";
import { KIND_NAMES, percent, tokenLabel } from "../../format.js";
import { PANEL_WIDTH, tickStep } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { same, sameCell } from "../../selection.js";
import type { Cell, ExplorerTraits, FlowInfo, Selection, TraceInfo } from "../../types.js";
import { choice } from "../controls.js";
import { paintFlow } from "./flow_canvas.js";
import { help, helpButton } from "./help.js";
import { activeRow, firstCell } from "./overlay.js";
import { pathOf, steps } from "./path_view.js";
import { tokenColumn } from "./token_labels.js";
import { placeholder } from "./trace_controls.js";
import type { TraceFrame } from "./trace_frame.js";

const RUNS: readonly (readonly [Run, string])[] = [
  ["clean", "Clean"],
  ["corrupted", "Corrupted"],
  ["restored", "Restored"],
];

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

/** The flow of an explorer, which of its runs is looked at, and where its nodes are. */
function flowState(bridge: Bridge<ExplorerTraits>) {
  const chosen = signal<Run | null>(null);
  const info = computed(() => {
    const given = bridge.get("_flow");
    return "noise" in given ? (given as FlowInfo) : null;
  });
  const flow = computed(() => {
    const trace = bridge.get("_trace") as TraceInfo;
    return info.value && trace.tokens ? readFlow(info.value, trace.tokens.length, trace.n_layers) : null;
  });
  const run = computed(
    (): Run => chosen.value ?? (bridge.get("selection").length > 0 ? "restored" : "corrupted"),
  );
  return {
    bridge,
    chosen,
    info,
    flow,
    run,
    arrange: (state: GridState): FlowLayout => {
      const { labels, panel, cell } = state.fit.value;
      const room = (state.width.value || 900) - (panel === "side" ? PANEL_WIDTH : 0) - labels - 40;
      const { tokens = [], n_layers = 1 } = state.trace.value ?? {};
      return flowLayout(room, tokens.length, n_layers, cell.h < 18 ? cell.h : cell.h + 10);
    },
    /** The run to be drawn: nothing is restored in a flow that is of another selection. */
    drawn: (view: TraceFrame): Run =>
      run.value === "restored" && view.connected() && !view.state.isOfSelection(info.value)
        ? "corrupted"
        : run.value,
  };
}

type FlowState = ReturnType<typeof flowState>;

export function flowPage(bridge: Bridge<ExplorerTraits>) {
  const shown = flowState(bridge);
  /** Where the cursor was brought into sight last. */
  let seen: Cell | null = null;
  return {
    /** What is looked at. */
    run: (view: TraceFrame): Run => shown.drawn(view),
    picture: (view: TraceFrame) => picture(shown, view),
    detail: (view: TraceFrame) => detail(shown, view),
    /** After each drawing: the nodes are painted, and the cursor of the keyboard stays in sight. */
    drawn: (root: ParentNode, view: TraceFrame): void => {
      const { focused, cursor, kinds, theme } = view.state;
      const canvas = root.querySelector<HTMLCanvasElement>("canvas[data-flow]");
      if (!canvas) return;
      const { flow, arrange, drawn } = shown;
      paintFlow(canvas, flow.value, drawn(view), arrange(view.state), kinds.value, theme.value);
      if (!focused.value || sameCell(seen, cursor.value)) return;
      seen = cursor.value;
      root.querySelector(".rw-nodes .rw-cursor")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    },
  };
}

function picture(shown: FlowState, view: TraceFrame): TemplateResult {
  const { state, figure: on } = view;
  const { bridge, chosen, flow, info, run } = shown;
  const trace = state.trace.value;
  if (!trace) return html``;
  const at = shown.arrange(state);
  const step = tickStep(at.pitch);
  const cursor = state.cursor.value && state.detailOf(state.cursor.value) ? state.cursor.value : null;
  return html`
    <div class="rw-flow-top">
      ${choice("Run", RUNS, run.value, (next) => (chosen.value = next))}
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
        ${nodes(shown, view, at)}
      </div>
      <div class="rw-unseen" role="rowgroup">${activeRow(
        state,
        trace,
        cursor ?? firstCell(state, trace),
        view.id,
        (cell) => `layer ${cell[1]}, ${words(flow.value, shown.drawn(view), cell)}`,
      )}</div>
    </div>
    ${state.helping.value ? help(state, on.grips) : nothing}
    <p class="rw-caption">${LEGENDS[run.value]} ${scaleOf(flow.value, run.value)} Lines that fan into a node: what its attention can read, the darker the more of it moved; not its weights.</p>
    ${placeholder(view.state, bridge, view.connected(), info.value)}
  `;
}

/** The nodes, with what lies below and above them. */
function nodes(shown: FlowState, view: TraceFrame, at: FlowLayout): TemplateResult {
  const { state, figure: on } = view;
  const under = (event: PointerEvent): Cell | null => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const cell = nodeAt(at, event.clientX - box.left, event.clientY - box.top);
    return cell && state.kinds.value.includes(cell[2]) ? cell : null;
  };
  return html`<div class="rw-nodes" style="height:${at.height}px" @mousedown=${on.hold}>
    <svg class="rw-marks" width=${at.width} height=${at.height} aria-hidden="true">${beneath(shown, state, at)}</svg>
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
    <svg class="rw-marks" width=${at.width} height=${at.height} aria-hidden="true">${marks(shown, view, at)}</svg>
  </div>`;
}

/** The line below: the node under the pointer or the cursor. */
function detail({ flow, drawn }: FlowState, view: TraceFrame): TemplateResult {
  const cell = view.state.detail.value?.cell;
  const token = tokenLabel(view.state.trace.value?.tokens[cell?.[0] ?? 0] ?? "");
  return html`<div class="rw-detail" role="status">
    ${
      cell
        ? html`<span><b>“<bdi>${token}</bdi>”, ${KIND_NAMES[cell[2]]} layer ${cell[1]}</b>: ${words(flow.value, drawn(view), cell)}</span>`
        : html`<span class="rw-mute">Point at a node to read it; click to restore it.</span>`
    }
    <span class="rw-space"></span><span class="rw-more">${helpButton(view.state)}</span>
  </div>`;
}

/** Below the nodes: the path, and what attention reads at the node that is pointed at. */
function beneath(shown: FlowState, state: GridState, at: FlowLayout): TemplateResult[] {
  const cell = pointed(state);
  return [...wayOfPath(shown, at), ...(cell ? fan(shown, at, cell) : [])];
}

/** Above them: what is restored, pointed at, and under the cursor. */
function marks({ bridge, info }: FlowState, view: TraceFrame, at: FlowLayout): TemplateResult[] {
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
    ...steps(state, pathOf(bridge), (cell) => place(at, cell), at.pitch >= 24),
    ...(hover.value && there(hover.value) ? [grown(hover.value, 2, "rw-hover")] : []),
    ...(focused.value && cursor.value ? [grown(cursor.value, 4.5, "rw-cursor")] : []),
  ];
}

/** How the path's states reach the last token, where the flow is that of these states. */
function wayOfPath({ bridge, flow, info }: FlowState, at: FlowLayout): TemplateResult[] {
  const found = pathOf(bridge);
  const trace = bridge.get("_trace") as TraceInfo;
  if (!found || !flow.value || !same(found.states, info.value?.selection ?? [])) return [];
  const all = ways(found.states, trace.tokens.length, trace.n_layers, flow.value.share);
  return [
    svg`<path class="rw-way" d=${all.map((way) => road(way.map((cell) => place(at, cell)))).join("")} />`,
  ];
}

/** From the states that attention can read at a node to its own contribution there. */
function fan(
  { flow: { value }, run }: FlowState,
  at: FlowLayout,
  [pos, layer, kind]: Cell,
): TemplateResult[] {
  if (!value || kind === "mlp") return [];
  const end = place(at, [pos, layer, "attn"]);
  return Array.from({ length: pos + 1 }, (_, from) => {
    const cell: Cell = [from, layer - 1, "hidden"];
    const shade = run.value === "clean" ? 0.35 : 0.08 + 0.72 * value.strength(run.value, cell);
    return svg`<path class="rw-fan" style="opacity:${shade}" d=${`M${place(at, cell)}L${end}`} />`;
  });
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
