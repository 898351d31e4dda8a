/** The selected attention, opened into its heads: what each of them brings back alone, tokens by heads. */

import { computed, signal } from "@preact/signals-core";
import { html, nothing, svg, type TemplateResult } from "lit-html";
import { rowText, scoreText } from "../../aria.js";
import type { Bridge } from "../../bridge.js";
import { colourTable } from "../../colormap.js";
import { describe, SHORT, tokenLabel } from "../../format.js";
import { cellAt, inSubject, LEGIBLE, move, PANEL_WIDTH, tickStep } from "../../geometry.js";
import { decode } from "../../grid_numbers.js";
import { paint, write } from "../../paint.js";
import { read, shortText } from "../../scale.js";
import { same } from "../../selection.js";
import type { Cell, ExplorerTraits, HeadsInfo, Selection, TraceInfo } from "../../types.js";
import { button, type Part } from "../controls.js";
import type { Live } from "../live.js";
import { numbers } from "./detail_line.js";
import type { TraceFrame } from "./trace_frame.js";

/** A head at a token, as a row and a column of the figure. */
type Place = readonly [row: number, head: number];
type Heads = ReturnType<typeof headsState>;

/** Room beside the plot. */
const AROUND = 40;
const WIDEST = 52;
const NARROWEST = 5;
/** No estimate, and nothing to compare with. */
const ALONE = { estimate: Number.NaN, before: Number.NaN, change: Number.NaN };

/** The selected attention; none unless it is that of one layer. */
export function openable(selection: Selection): Selection {
  const attention = selection.filter(([, , kind]) => kind === "attn");
  return attention.every(([, layer]) => layer === attention[0]?.[1]) ? attention : [];
}

function headsState(bridge: Bridge<ExplorerTraits>) {
  /** The head that was pointed at. */
  const at = signal<Place | null>(null);
  const wanted = computed(() => openable(bridge.get("selection")));
  /** The heads of what is selected; beside another selection there are none. */
  const shown = computed((): HeadsInfo | null => {
    const given = bridge.get("_heads") as HeadsInfo;
    const { layer, positions = [] } = given;
    const cells = positions.map((pos): Cell => [pos, layer, "attn"]);
    return cells.length > 0 && same(cells, wanted.value) ? given : null;
  });
  const rows = computed(() => shown.value?.positions.length ?? 0);
  const scores = computed(() => decode(shown.value?.scores ?? null));
  const columns = computed(() => (rows.value ? scores.value.length / rows.value : 0));
  const strongest = computed((): Place | null => {
    const known = [...scores.value].filter((score) => !Number.isNaN(score));
    const best = scores.value.indexOf(Math.max(...known));
    return best < 0 ? null : [Math.floor(best / columns.value), best % columns.value];
  });
  return {
    at,
    wanted,
    shown,
    rows,
    scores,
    columns,
    strongest,
    /** What was pointed at, where these heads have it; else the strongest. */
    told: computed((): Place | null => {
      const there = at.value && at.value[0] < rows.value && at.value[1] < columns.value;
      return there ? at.value : strongest.value;
    }),
    scoreOf: ([row, head]: Place): number => scores.value[row * columns.value + head] ?? Number.NaN,
  };
}

export function headsPanel(bridge: Bridge<ExplorerTraits>, model: Live) {
  const heads = headsState(bridge);
  const { shown, wanted } = heads;
  /** What the button says and the key does: open, stop, put away. */
  const next = (): readonly [op: string, label: string] =>
    shown.value?.running
      ? ["stop_heads", "Stop"]
      : shown.value
        ? ["close_heads", "Close heads"]
        : ["heads", "Open into heads"];
  const go = (): void => {
    if (wanted.value.length > 0) model.ask(next()[0]);
  };
  return {
    go,
    panel(view: TraceFrame): Part {
      const info = view.state.trace.value;
      const live = view.connected();
      if (!info?.kinds.includes("attn") || (!live && !shown.value)) return nothing;
      const [op, label] = next();
      const [first, ...more] = wanted.value;
      const many = `attention ${first?.[1]} at ${more.length + 1} tokens`;
      const one = first ? describe([first], info.tokens) : "select attention of one layer";
      const where = more.length > 0 ? many : one;
      const error = bridge.get("error");
      return html`<section class="rw-heads" aria-label="Attention heads">
        <div class="rw-row-top">
          <span class="rw-where rw-mute" title=${where}>heads · ${where}</span>
          ${live ? button(op, label, go, undefined, !first) : nothing}
        </div>
        ${live && error?.cause === "heads" ? html`<p class="rw-message">${error.found}</p>` : nothing}
        ${shown.value ? opened(heads, view, info, shown.value) : nothing}
      </section>`;
    },
    /** After each drawing: the figure is painted. */
    drawn(root: ParentNode, view: TraceFrame): void {
      const canvas = root.querySelector<HTMLCanvasElement>("canvas[data-heads]");
      if (!canvas) return;
      const { state } = view;
      const [scores, columns] = [heads.scores.value, heads.columns.value];
      const table = colourTable(canvas, state.ramp("after", "attn"), state.theme.value);
      const colours = { table, ...state.painted("after") };
      paint(canvas, scores, heads.rows.value, columns, colours);
      const values = canvas.parentElement?.querySelector<HTMLCanvasElement>(".rw-values");
      const of = state.readings.value.after;
      const text = (score: number) => shortText(state.scale.value, read(score, of));
      if (values) write(values, scores, columns, sizes(view, columns), colours, text);
    },
  };
}

function opened(heads: Heads, view: TraceFrame, info: TraceInfo, given: HeadsInfo): TemplateResult {
  const total = heads.scores.value.length;
  const done = total - heads.scores.value.filter(Number.isNaN).length;
  const working = total ? `restoring one by one: ${done} of ${total}` : "waiting for the model…";
  const stopped = done < total ? `stopped after ${done} of ${total}` : "";
  const place = heads.told.value;
  return html`
    <p role="status">${given.running ? html`<i class="rw-pulse"></i> ${working}` : stopped}</p>
    ${given.running ? html`<div class="rw-track"><span style="width:${(100 * done) / (total || 1)}%"></span></div>` : nothing}
    ${
      place
        ? html`${figure(heads, view, info, given, place)}
            <p class="rw-told">${sentence(heads, view, info, given, place)}</p>
            <p class="rw-mute">${meaning(info)}</p>`
        : nothing
    }
  `;
}

/** Tokens by heads, in the colours of the attention grid; `drawn` paints it. */
function figure(
  heads: Heads,
  view: TraceFrame,
  info: TraceInfo,
  { layer, positions }: HeadsInfo,
  [row, head]: Place,
): TemplateResult {
  const columns = heads.columns.value;
  const { w, h, labels } = sizes(view, columns);
  const [width, height, step] = [columns * w, positions.length * h, tickStep(w)];
  const inRow = (at: number) => positions[at] ?? 0;
  const point = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const cell = cellAt(x, y, box.width, box.height, positions.length, columns);
    if (cell) heads.at.value = [cell.pos, cell.layer];
  };
  return html`
    <div
      class="rw-opened"
      tabindex="0"
      role="grid"
      aria-label="Heads of attention layer ${layer}: tokens by heads"
      aria-rowcount=${positions.length}
      aria-colcount=${columns + 1}
      aria-activedescendant="${view.id}-head"
      @keydown=${(event: KeyboardEvent) => key(heads, event)}
    >
      <div class="rw-unseen" role="row" aria-rowindex=${row + 1}>
        <span role="rowheader" aria-colindex="1">${rowText(info.tokens[inRow(row)] ?? "", inSubject(info, inRow(row)))}</span>
        ${Array.from(
          { length: columns },
          (_, each) =>
            html`<span role="gridcell" aria-colindex=${each + 2} id=${each === head ? `${view.id}-head` : nothing}>head ${each}, ${scoreText(heads.scoreOf([row, each]), info.corrupted, SHORT[info.metric])}</span>`,
        )}
      </div>
      <div class="rw-names" aria-hidden="true" style="width:${labels}px;line-height:${h}px">
        ${positions.map((pos) => html`<div><bdi>${tokenLabel(info.tokens[pos] ?? "")}</bdi>${inSubject(info, pos) ? "*" : nothing}</div>`)}
      </div>
      <div aria-hidden="true" style="width:${width}px">
        <div class="rw-box" style="width:${width}px;height:${height}px">
          <canvas data-heads @pointermove=${point} @pointerdown=${point}></canvas>
          ${w >= LEGIBLE ? html`<canvas class="rw-values"></canvas>` : nothing}
          <svg class="rw-marks" width=${width} height=${height}>${svg`<rect class="rw-hover" x=${head * w + 0.5} y=${row * h + 0.5} width=${w - 1} height=${h - 1} />`}</svg>
        </div>
        <div class="rw-layers">${Array.from({ length: Math.ceil(columns / step) }, (_, i) => i * step).map(
          (each) => html`<span style="left:${(each + 0.5) * w}px">${each}</span>`,
        )}</div>
        <div class="rw-caption">head</div>
      </div>
    </div>
  `;
}

function key(heads: Heads, event: KeyboardEvent): void {
  const [row, head] = heads.told.value ?? [0, 0];
  const plain = !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);
  const moved = move([row, head, "attn"], event.key, heads.rows.value, heads.columns.value, ["attn"]);
  if (!plain || !moved) return;
  // JupyterLab listens for the same keys above us; these are ours.
  event.stopPropagation();
  event.preventDefault();
  heads.at.value = [moved[0], moved[1]];
}

function sentence(
  heads: Heads,
  view: TraceFrame,
  info: TraceInfo,
  { positions }: HeadsInfo,
  place: Place,
): TemplateResult {
  const token = tokenLabel(info.tokens[positions[place[0]] ?? 0] ?? "");
  const best = String(place) === String(heads.strongest.value);
  return html`<span><b>head ${place[1]} at “<bdi>${token}</bdi>”</b>${best ? ", the strongest" : nothing}</span>
    ${numbers(view.state, info, { ...ALONE, score: heads.scoreOf(place) })}`;
}

/** A cell in pixels, and the column of tokens, which is as wide as that of the grid. */
function sizes({ state, width }: TraceFrame, heads: number): { w: number; h: number; labels: number } {
  const { labels, panel, cell } = state.fit.value;
  const room = (width.value || 900) - (panel === "side" ? PANEL_WIDTH : 0) - labels - AROUND;
  const w = Math.max(NARROWEST, Math.min(WIDEST, Math.floor(room / heads)));
  return { w, h: Math.min(26, cell.h), labels };
}

/** How the numbers differ from those of the grid. */
function meaning({ windows }: TraceInfo): string {
  const window = windows.attn ?? 1;
  const grid = window > 1 ? `all heads of ${window} layers` : "all heads of its layer";
  return `One head alone at one token, the others left corrupted; a cell of the grid restores ${grid}. Colours as there.`;
}
