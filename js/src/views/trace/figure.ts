/** The picture: one plot per kind on one scale, token labels, layer numbers, the colour bar. */

import { html, nothing, svg, type TemplateResult } from "lit-html";
import { colourTable } from "../../colormap.js";
import { axisCaption, KIND_NAMES, less, probability, tokenLabel } from "../../format.js";
import { LEGIBLE, TALL } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { paint, write } from "../../paint.js";
import { picker } from "../../picking.js";
import { read, scaleText, shortText } from "../../scale.js";
import type { Side } from "../../shown_grids.js";
import type { Cell, Comparison, Kind, PathInfo, TraceInfo } from "../../types.js";
import { change, type Part } from "../controls.js";
import { colourBar } from "./colour_bar.js";
import { gestures } from "./gestures.js";
import { help } from "./help.js";
import { type FigureActions, keys } from "./keyboard.js";
import { firstCell, selectionMarks } from "./overlay.js";
import { pathMarks } from "./path_view.js";
import { strongest } from "./strongest_states.js";
import { SCROLL_STEP, subjectDrag, tokenColumn } from "./token_labels.js";
import { sideName } from "./trace_controls.js";

/** Handlers of one figure. They live as long as its view. */
export function figureHandlers(state: GridState, actions: FigureActions) {
  const picks = picker(state, actions.selected);
  const pointer = gestures(state, picks);
  /** The focus comes from the mouse. */
  let held = false;
  return {
    ...pointer,
    ...subjectDrag(state, actions.subject),
    picks,
    best: (cell: Cell) => () => picks.only(cell),
    key: keys(state, picks, actions),
    focus: (on: boolean) => () => {
      const info = state.trace.value;
      state.focused.value = on && !held;
      if (on && !state.cursor.value && info)
        state.bridge.set({ cursor: firstCell(state, info) }, { send: false });
    },
    /** The mouse gives the focus to the grid, and begins no selection of text. */
    hold: (event: MouseEvent) => {
      event.preventDefault();
      held = true;
      gridOf(event.currentTarget as Element)?.focus({ preventScroll: true });
      held = false;
    },
    scroll: (event: Event) =>
      (state.scrolled.value = Math.round((event.target as Element).scrollTop / SCROLL_STEP)),
  };
}

export type FigureHandlers = ReturnType<typeof figureHandlers>;

const gridOf = (part: Element): HTMLElement | null | undefined =>
  part.closest<HTMLElement>("[role=grid]") ??
  part.closest(".rw-figure")?.querySelector<HTMLElement>("[role=grid]");

/**
 * The plots, or the table of the strongest states; `path` is marked on the plots.
 * What moves, `drawPointing`, `drawLabels` and `drawRow` put into the places that are empty here.
 */
export function figure(state: GridState, on: FigureHandlers, path: PathInfo | null = null): TemplateResult {
  const info = state.trace.value;
  if (!info) return html``;
  return html`
    <div
      class=${`rw-figure${info.tokens.length > TALL ? " rw-tall" : ""}`}
      @scroll=${on.scroll}
    >
      ${state.listed.value ? strongest(state, on.picks, info) : pictures({ state, on, info, path })}
      ${state.helping.value ? help(state, on.grips) : nothing}
    </div>
  `;
}

/** What the plots of a picture share. */
interface Picture {
  state: GridState;
  on: FigureHandlers;
  info: TraceInfo;
  path: PathInfo | null;
}

function pictures(picture: Picture): TemplateResult {
  const { state, on, info } = picture;
  const { cell, direction, gap } = state.fit.value;
  const kinds = state.kinds.value;
  const sides = state.sides.value;
  const compared = state.comparison.value;
  const stacked = sides.length > 1 && (kinds.length > 1 || direction === "column");
  /** Sides that share a colour scale. */
  const groups = [sides.filter((side) => side !== "change"), sides.filter((side) => side === "change")];
  return html`
    <div
      class="rw-cells"
      tabindex="0"
      role="grid"
      aria-label="Causal trace: tokens by layers"
      aria-rowcount=${info.tokens.length + 1}
      aria-colcount=${kinds.length * info.n_layers + 1}
      aria-multiselectable="true"
      @keydown=${on.key}
      @focus=${on.focus(true)}
      @blur=${on.focus(false)}
    ><div role="rowgroup"></div></div>
    <div
      class=${`rw-pictures${stacked ? " rw-stacked" : sides.length > 1 ? " rw-beside" : ""}`}
      data-direction=${direction}
    >
      ${groups.map((group) =>
        group.length === 0
          ? nothing
          : html`<div class="rw-group">
              <div class="rw-sides" style="gap:${gap}px">${group.map(
                (side) => html`<div class="rw-side" data-side=${side}>
                  ${compared ? heading(side, info, compared) : nothing}
                  <div class="rw-plots" style="gap:${gap}px" @mousedown=${on.hold}>
                    ${kinds.map((kind, at) => plot(picture, kind, side, direction === "column" || (at === 0 && (stacked || side === sides[0]))))}
                  </div>
                </div>`,
              )}</div>
              ${colourBar(state, info, group.at(-1) as Side, cell.h * info.tokens.length * (stacked ? group.length : 1))}
            </div>`,
      )}
    </div>
  `;
}

/** Which of the compared grids this is: how the model was edited, and what its two runs gave. */
function heading(side: Side, info: TraceInfo, compared: Comparison): TemplateResult {
  const runs = side === "before" ? compared : info;
  const told = (name: "clean" | "corrupted") =>
    side === "change" ? change(less(info[name], compared[name]), 4) : html`<b>${probability(runs[name])}</b>`;
  return html`<p class="rw-which">
    <b>${sideName(compared, side)}</b><span>${side === "change" ? `${compared.names[1]} − ${compared.names[0]}` : compared[side]}${compared.same ? ": nothing changed, bit for bit" : nothing}</span>
    <span class="rw-mute">clean ${told("clean")}</span><span class="rw-mute">corrupted ${told("corrupted")}</span>
  </p>`;
}

function plot(picture: Picture, kind: Kind, side: Side, labelled: boolean): TemplateResult {
  const { state, on, info, path } = picture;
  const { cell, tickStep } = state.fit.value;
  const width = cell.w * info.n_layers;
  const height = cell.h * info.tokens.length;
  const layers = Array.from({ length: Math.ceil(info.n_layers / tickStep) }, (_, i) => i * tickStep);
  return html`
    <div class="rw-row">
      ${labelled ? tokenColumn(state, on, info) : nothing}
      <div class="rw-plot" style="width:${width}px">
        <div class="rw-plot-title">${width < 90 ? KIND_NAMES[kind].split(" ")[0] : KIND_NAMES[kind]}</div>
        <div class=${`rw-box${side === "after" && state.estimated.value ? " rw-estimated" : ""}`} style="width:${width}px;height:${height}px">
          <canvas
            data-kind=${kind}
            data-side=${side}
            width=${info.n_layers}
            height=${info.tokens.length}
            aria-hidden="true"
            @pointerdown=${on.down}
            @pointerup=${on.up}
            @pointermove=${on.move}
            @pointerleave=${on.leave}
            @pointercancel=${on.cancel}
            @dblclick=${on.twice}
          ></canvas>
          ${legible(state) ? html`<canvas class="rw-values" aria-hidden="true"></canvas>` : nothing}
          <svg class="rw-marks" width=${width} height=${height} aria-hidden="true">
            ${selectionMarks(state, info, kind)}${pathMarks(state, path, kind)}${peak(state, side, kind)}<g class="rw-live" data-kind=${kind} data-side=${side}></g>
          </svg>
        </div>
        <div class="rw-layers" aria-hidden="true" title="Select a column" @click=${on.column(kind)}>
          ${layers.map((layer) => html`<span style="left:${(layer + 0.5) * cell.w}px">${layer}</span>`)}
          <span class="rw-at" data-kind=${kind} hidden></span>
        </div>
        <div class="rw-caption">${axisCaption(kind, info.windows[kind])}</div>
        ${best(picture, kind, side)}
      </div>
    </div>
  `;
}

const legible = (state: GridState): boolean =>
  state.bridge.get("values") && state.fit.value.cell.w >= LEGIBLE;

/** A dot on the strongest state, or the largest difference. */
function peak(state: GridState, side: Side, kind: Kind): Part {
  const found = state.bestOf(side, kind);
  if (!found || state.isSelected(found.cell) || legible(state)) return nothing;
  const { w, h } = state.fit.value.cell;
  const [pos, layer] = found.cell;
  return svg`<circle class="rw-peak" cx=${(layer + 0.5) * w} cy=${(pos + 0.5) * h} r=${Math.min(w, h) < 7 ? 1.5 : 2.2} />`;
}

function best({ state, on, info }: Picture, kind: Kind, side: Side): Part {
  const found = state.bestOf(side, kind);
  if (!found) return nothing;
  const [pos, layer] = found.cell;
  const changed = side === "change";
  const value = scaleText(state.scale.value, read(found.score, state.readings.value[side]), 2, changed);
  return html`<button
    class="rw-best"
    type="button"
    tabindex="-1"
    aria-hidden="true"
    title=${`The ${changed ? "largest difference" : "subject’s strongest state"}: “${tokenLabel(info.tokens[pos] ?? "")}”, layer ${layer}. Click to restore it.`}
    @click=${on.best(found.cell)}
  ><i></i>layer ${layer} · ${value}</button>`;
}

/** What each canvas shows, so that pointing at it repaints nothing. */
const painted = new WeakMap<HTMLCanvasElement, readonly unknown[]>();

/** Paints every canvas below `root` whose scores, scale or theme changed. */
export function paintFigure(root: ParentNode, state: GridState): void {
  const info = state.trace.value;
  if (!info) return;
  const theme = state.theme.value;
  for (const canvas of root.querySelectorAll<HTMLCanvasElement>("canvas[data-kind]")) {
    const { kind, side } = canvas.dataset as { kind: Kind; side: Side };
    const grid = state.grids[side].value?.get(kind);
    const guess = side === "after" ? state.estimate.value?.get(kind) : undefined;
    const colours = { table: colourTable(canvas, state.ramp(side, kind), theme), ...state.painted(side) };
    const values = canvas.parentElement?.querySelector<HTMLCanvasElement>(".rw-values");
    const now = [grid, guess, ...Object.values(colours), values, state.scale.value, state.fit.value.cell.w];
    const before = painted.get(canvas);
    if (!grid || before?.every((each, i) => each === now[i])) continue;
    paint(canvas, grid, info.tokens.length, info.n_layers, colours, guess);
    if (values) {
      const of = state.readings.value[side];
      const text = (value: number) => shortText(state.scale.value, read(value, of), side === "change");
      write(values, grid, info.n_layers, state.fit.value.cell, colours, text);
    }
    painted.set(canvas, now);
  }
}
