/** The pictures of a sweep: a plot of roles by layers per kind, and what the keyboard and a screen reader have of them. */

import { html, nothing, svg, type TemplateResult } from "lit-html";
import { colourTable, gradient, type Theme } from "../../colormap.js";
import { axisCaption, KIND_NAMES, percent, plusMinus, signed, tokenLabel, visible } from "../../format.js";
import { cellAt, move, ticks } from "../../geometry.js";
import type { Grids } from "../../grid_numbers.js";
import { paint } from "../../paint.js";
import type { SweepState } from "../../sweep_state.js";
import { type Cell, type Kind, ROLES } from "../../types.js";
import type { Part } from "../controls.js";

/** Which pictures: of the averages, or of the selected fact. */
type Side = "above" | "own";

/** The roles as the paper's figures name their rows. */
export const ROLE_TITLES = [
  "First subject token",
  "Middle subject tokens",
  "Last subject token",
  "First subsequent token",
  "Further tokens",
  "Last token",
] as const;
/** Cells on each side of the active one that a screen reader can go to. */
const BESIDE = 10;
const KIND_KEYS: Record<string, Kind> = { h: "hidden", m: "mlp", a: "attn" };

/** Where a fact's own pictures will be: their room is there before, so that choosing one moves nothing. */
const HINT = html`<span class="rw-mute">Choose a fact: its own effects appear here.</span>`;

/** Makes a cell the selected one. */
export const choose = (state: SweepState, [row, layer, kind]: Cell): void =>
  state.bridge.set({ role: ROLES[row] ?? "last subject", layer, kind });

/** The pictures; `help` is a dialog over them, or nothing. */
export function heatMaps(state: SweepState, id: string, help: Part): TemplateResult {
  const { kinds, n_layers } = state.info.value;
  return html`
    <div class="rw-figure" ?data-keys=${state.focused.value}>
      <div
        class="rw-cells"
        tabindex="0"
        role="grid"
        aria-label="Effects: roles of tokens by layers"
        aria-rowcount=${ROLES.length + 1}
        aria-colcount=${kinds.length * n_layers + 1}
        aria-activedescendant=${`${id}-active`}
        @keydown=${keys(state)}
        @focus=${() => (state.focused.value = true)}
        @blur=${() => (state.focused.value = false)}
      >${activeRow(state, id)}</div>
      ${side(state, "above", aboveTitle(state))}
      ${side(state, "own", state.example.value ? ownTitle(state) : HINT)}
      ${help}
    </div>
  `;
}

const aboveTitle = ({ shows, info }: SweepState): TemplateResult =>
  shows.value === "peaks"
    ? html`<b>Peaks</b> <span class="rw-mute">share of ${info.value.facts.length} facts whose greatest effect is there</span>`
    : html`<b>Average indirect effect</b> <span class="rw-mute">of ${info.value.facts.length} facts, on ${onWhat(info.value.metric)}</span>`;

const onWhat = (metric: string): string => (metric.endsWith("p") ? `${metric}(answer)` : metric);

function ownTitle(state: SweepState): TemplateResult {
  const { prompt = "", answer = "", clean = null, corrupted = null } = state.example.value ?? {};
  const three = (value: number | null) => (value === null ? "–" : value.toFixed(3));
  return html`<b class="rw-serif"><bdi>${visible(prompt)}</bdi> <span class="rw-leads">→ <bdi>${tokenLabel(answer)}</bdi></span></b>
    <span class="rw-mute">clean ${three(clean)}, corrupted ${three(corrupted)}</span>`;
}

function side(state: SweepState, of: Side, title: TemplateResult): TemplateResult {
  const { gap, direction } = state.fit.value;
  const { kinds } = state.info.value;
  const stacked = direction === "column";
  const waits = of === "own" && !state.example.value;
  return html`<section class="rw-side" data-side=${of} ?data-waits=${waits} aria-hidden="true">
    <p class="rw-sweep-title">${title}</p>
    ${
      waits && stacked
        ? nothing
        : html`<div class="rw-pictures" data-direction=${direction}>
            <div class="rw-plots" style="gap:${gap}px">
              ${kinds.map((kind, at) => plot(state, of, kind, at === 0 || stacked))}
            </div>
            ${bar(state, of)}
          </div>`
    }
  </section>`;
}

function plot(state: SweepState, of: Side, kind: Kind, labelled: boolean): TemplateResult {
  const { cell, labels, tickStep } = state.fit.value;
  const { n_layers, windows } = state.info.value;
  const [width, height] = [cell.w * n_layers, cell.h * ROLES.length];
  const layers = Array.from({ length: Math.ceil(n_layers / tickStep) }, (_, i) => i * tickStep);
  const [row, layer, chosen] = state.cell.value;
  const label = (name: string, at: number) => html`<div
    class=${`rw-token${at === row ? " rw-on" : ""}`}
    title=${ROLE_TITLES[at]}
    @click=${() => choose(state, [at, layer, chosen])}
  ><bdi>${name}</bdi></div>`;
  return html`<div class="rw-row">
    ${
      labelled
        ? html`<div class="rw-tokens" style="width:${labels}px;height:${height}px;line-height:${cell.h}px">${ROLES.map(label)}</div>`
        : nothing
    }
    <div class="rw-plot" style="width:${width}px">
      <div class="rw-plot-title">${width < 90 ? KIND_NAMES[kind].split(" ")[0] : KIND_NAMES[kind]}</div>
      <div class="rw-box" style="width:${width}px;height:${height}px">
        <canvas
          data-kind=${kind}
          data-of=${of}
          width=${n_layers}
          height=${ROLES.length}
          @pointermove=${(event: PointerEvent) => point(state, cellOf(state, event))}
          @pointerleave=${() => point(state, null)}
          @click=${(event: MouseEvent) => take(state, event)}
        ></canvas>
        <svg class="rw-marks" width=${width} height=${height}>
          ${mark(state, state.hover.value, kind, "rw-hover")}
          ${mark(state, state.cell.value, kind, "rw-halo")}${mark(state, state.cell.value, kind, "rw-selected")}
        </svg>
      </div>
      <div class="rw-layers rw-fixed">${layers.map((each) => html`<span style="left:${(each + 0.5) * cell.w}px">${each}</span>`)}</div>
      <div class="rw-caption">${axisCaption(kind, windows[kind])}</div>
    </div>
  </div>`;
}

function mark(state: SweepState, cell: Cell | null, kind: Kind, look: string): Part {
  if (cell?.[2] !== kind) return nothing;
  const { w, h } = state.fit.value.cell;
  return svg`<rect class=${look} x=${cell[1] * w} y=${cell[0] * h} width=${w} height=${h} />`;
}

/** What the colours stand for. */
function bar(state: SweepState, of: Side): TemplateResult {
  const high = of === "own" ? state.ownTop.value : state.aboveTop.value;
  const shares = of === "above" && state.shows.value === "peaks";
  const { cell, bar } = state.fit.value;
  const height = cell.h * ROLES.length;
  const text = (value: number) => (shares ? percent(value) : `${Number(value.toPrecision(6))}`);
  return html`<div class="rw-bar" style="width:${bar}px">
    <div class="rw-plot-title">${shares ? "of facts" : "effect"}</div>
    <div class="rw-ramps" style="height:${height}px">
      ${state.info.value.kinds.map((kind) => html`<span style="background:${gradient(kind)}"></span>`)}
      ${ticks(0, high, 4).map((value) => html`<i style="top:${height * (1 - value / high)}px">${text(value)}</i>`)}
    </div>
  </div>`;
}

function cellOf(state: SweepState, event: MouseEvent): Cell | null {
  const canvas = event.currentTarget as HTMLCanvasElement;
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - left, event.clientY - top];
  const found = cellAt(x, y, width, height, ROLES.length, state.info.value.n_layers);
  return found && [found.pos, found.layer, canvas.dataset.kind as Kind];
}

function point(state: SweepState, cell: Cell | null): void {
  if (String(state.hover.peek()) !== String(cell)) state.hover.value = cell;
}

/** A click of the mouse selects, and gives the keyboard to the pictures. */
function take(state: SweepState, event: MouseEvent): void {
  const cell = cellOf(state, event);
  if (!cell) return;
  choose(state, cell);
  const figure = (event.currentTarget as Element).closest(".rw-figure");
  figure?.querySelector<HTMLElement>("[role=grid]")?.focus({ preventScroll: true });
}

const keys =
  (state: SweepState) =>
  (event: KeyboardEvent): void => {
    const ctrl = event.ctrlKey || event.metaKey;
    if (event.altKey || event.shiftKey) return;
    const { kinds, n_layers } = state.info.value;
    const kind = ctrl ? undefined : KIND_KEYS[event.key];
    const [row, layer] = state.cell.value;
    const name = ctrl ? `Ctrl+${event.key}` : event.key;
    const to =
      kind && kinds.includes(kind)
        ? ([row, layer, kind] as const)
        : move(state.cell.value, name, ROLES.length, n_layers, kinds);
    const grid = event.currentTarget as HTMLElement;
    if (to) choose(state, to);
    else if (event.key === "Enter")
      grid.closest(".rw")?.querySelector<HTMLElement>("[role=listbox]")?.focus();
    else if (event.key === "Escape") grid.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

/** For screen readers: the row of the selected cell, as far as they may go next. */
function activeRow(state: SweepState, id: string): TemplateResult {
  const { kinds, n_layers } = state.info.value;
  const [row, layer, kind] = state.cell.value;
  const first = Math.max(0, layer - BESIDE);
  const layers = Array.from({ length: Math.min(n_layers, layer + BESIDE + 1) - first }, (_, i) => first + i);
  const column = kinds.indexOf(kind) * n_layers + 2;
  return html`<div role="rowgroup">
    <div role="row" aria-rowindex="1">
      <span role="columnheader" aria-colindex="1">role</span>
      ${layers.map((each) => html`<span role="columnheader" aria-colindex=${column + each}>${KIND_NAMES[kind]} ${each}</span>`)}
    </div>
    <div role="row" aria-rowindex=${row + 2}>
      <span role="rowheader" aria-colindex="1">${ROLE_TITLES[row]}</span>
      ${layers.map(
        (each) => html`<span
          role="gridcell"
          id=${each === layer ? `${id}-active` : nothing}
          aria-colindex=${column + each}
          aria-selected=${each === layer}
        >${inWords(state, [row, each, kind])}</span>`,
      )}
    </div>
  </div>`;
}

function inWords(state: SweepState, cell: Cell): string {
  const { average, interval, peaks, own } = state.at(cell);
  if (Number.isNaN(average)) return `layer ${cell[1]}, no such token`;
  const fact = Number.isNaN(own) ? "" : `, this fact ${signed(own, 3)}`;
  return `layer ${cell[1]}, average ${signed(average, 3)}${plusMinus(interval, 3, "plus or minus")}, ${percent(peaks)} of facts peak here${fact}`;
}

/** Paints every plot below `root`. */
export function paintHeatMaps(root: ParentNode, state: SweepState, theme: Theme): void {
  const shown: Record<Side, [Grids | null, number]> = {
    above: [state.above.value, state.aboveTop.value],
    own: [state.own.value, state.ownTop.value],
  };
  for (const canvas of root.querySelectorAll<HTMLCanvasElement>("canvas[data-kind]")) {
    const kind = canvas.dataset.kind as Kind;
    const [grids, high] = shown[canvas.dataset.of as Side];
    const { n_layers } = state.info.value;
    const grid = grids?.get(kind) ?? new Float32Array(ROLES.length * n_layers).fill(Number.NaN);
    paint(canvas, grid, ROLES.length, n_layers, { table: colourTable(canvas, kind, theme), low: 0, high });
  }
}
