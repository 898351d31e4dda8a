/** The picture: one plot per kind on one scale, token labels, layer numbers, the colour bar. */

import { html, nothing, svg, type TemplateResult } from "lit-html";
import { gradient, table } from "../../colormap.js";
import { axisCaption, KIND_NAMES, less, probability, tokenLabel } from "../../format.js";
import { LEGIBLE, TALL, ticks } from "../../geometry.js";
import type { GridState, Side } from "../../grid_state.js";
import { paint, write } from "../../paint.js";
import { picker } from "../../picking.js";
import { read, reading, SCALES, scaleName, scaleText, shortText } from "../../scale.js";
import type { Cell, Comparison, Kind, Scale, TraceInfo } from "../../types.js";
import { change, sideName } from "../controls.js";
import { gestures } from "./gestures.js";
import { help } from "./help.js";
import { keys } from "./keyboard.js";
import { firstCell, selectionMarks } from "./overlay.js";
import { pathMarks } from "./path_view.js";
import { strongest } from "./strongest_states.js";
import { subjectDrag } from "./subject_drag.js";
import { SCROLL_STEP, tokenColumn } from "./token_labels.js";

export interface FigureActions {
  /** A selection was made at this moment (performance.now). */
  selected(at: number): void;
  /** Ask again for the selection that is already there. */
  again(): void;
  /** Make these positions, `[start, stop)`, the subject. Only with a model. */
  subject?: (start: number, stop: number) => void;
  /** Restore so many layers more, or fewer, with each cell. Only with a model. */
  window?: (more: number) => void;
}

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
    scroll: (event: Event) => {
      state.scrolled.value = Math.round((event.target as Element).scrollTop / SCROLL_STEP);
    },
  };
}

export type FigureHandlers = ReturnType<typeof figureHandlers>;

const gridOf = (part: Element): HTMLElement | null | undefined =>
  part.closest<HTMLElement>("[role=grid]") ??
  part.closest(".rw-figure")?.querySelector<HTMLElement>("[role=grid]");

/** What moves, `drawPointing`, `drawLabels` and `drawRow` put into the places that are empty here. */
export function figure(state: GridState, on: FigureHandlers): TemplateResult {
  const info = state.trace.value;
  if (!info) return html``;
  return html`
    <div
      class=${`rw-figure${info.tokens.length > TALL ? " rw-tall" : ""}`}
      @scroll=${on.scroll}
    >
      ${state.listed.value ? strongest(state, on.picks, info) : pictures(state, on, info)}
      ${state.helping.value ? help(state, on.grips) : nothing}
    </div>
  `;
}

function pictures(state: GridState, on: FigureHandlers, info: TraceInfo): TemplateResult {
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
                    ${kinds.map((kind, at) => plot(state, on, info, kind, side, direction === "column" || (at === 0 && (stacked || side === sides[0]))))}
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

function plot(
  state: GridState,
  on: FigureHandlers,
  info: TraceInfo,
  kind: Kind,
  side: Side,
  labelled: boolean,
): TemplateResult {
  const { cell, tickStep } = state.fit.value;
  const width = cell.w * info.n_layers;
  const height = cell.h * info.tokens.length;
  const layers = Array.from({ length: Math.ceil(info.n_layers / tickStep) }, (_, i) => i * tickStep);
  return html`
    <div class="rw-row">
      ${labelled ? tokenColumn(state, on, info) : nothing}
      <div class="rw-plot" style="width:${width}px">
        <div class="rw-plot-title">${KIND_NAMES[kind]}</div>
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
            ${selectionMarks(state, info, kind)}${pathMarks(state, kind)}${peak(state, side, kind)}<g class="rw-live" data-kind=${kind} data-side=${side}></g>
          </svg>
        </div>
        <div class="rw-layers" aria-hidden="true" title="Select a column" @click=${on.column(kind)}>
          ${layers.map((layer) => html`<span style="left:${(layer + 0.5) * cell.w}px">${layer}</span>`)}
          <span class="rw-at" data-kind=${kind} hidden></span>
        </div>
        <div class="rw-caption">${axisCaption(kind, info.windows[kind])}</div>
        ${best(state, on, info, kind, side)}
      </div>
    </div>
  `;
}

const legible = (state: GridState): boolean =>
  state.bridge.get("values") && state.fit.value.cell.w >= LEGIBLE;

/** A dot on the strongest state, or the largest difference. */
function peak(state: GridState, side: Side, kind: Kind): TemplateResult | typeof nothing {
  const found = state.bestOf(side, kind);
  if (!found || state.isSelected(found.cell) || legible(state)) return nothing;
  const { w, h } = state.fit.value.cell;
  const [pos, layer] = found.cell;
  return svg`<circle class="rw-peak" cx=${(layer + 0.5) * w} cy=${(pos + 0.5) * h} r=${Math.min(w, h) < 7 ? 1.5 : 2.2} />`;
}

function best(state: GridState, on: FigureHandlers, info: TraceInfo, kind: Kind, side: Side) {
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

function colourBar(state: GridState, info: TraceInfo, side: Side, height: number): TemplateResult {
  const { low, high } = state.rangeOf(side);
  const changed = side === "change";
  const scale = state.scale.value;
  const bar = Math.min(height, 264);
  const place = (value: number) => bar - ((value - low) / (high - low)) * bar;
  // Compared, each grid has runs of its own: its heading names them.
  const named = (state.comparison.value ? [] : (["clean", "corrupted"] as const)).flatMap((name) => {
    const given = info[name];
    if (given === null) return [];
    const value = read(given, state.readings.value[side]);
    return [{ value, name, y: place(value) }];
  });
  const numbers = ticks(low, high, bar < 120 ? 3 : 5).filter((value) =>
    named.every(({ y }) => Math.abs(place(value) - y) > 25),
  );
  const digits = Math.max(0, -Math.floor(Math.log10(high)) + 1);
  const number = (value: number) =>
    scale === "probability" && !changed
      ? Number(value.toPrecision(6))
      : scaleText(scale, value, digits, changed);
  const ramps = [...new Set(state.kinds.value.map((kind) => state.ramp(side, kind)))];
  return html`
    <div class="rw-bar" style="width:${state.fit.value.bar}px">
      <div class="rw-plot-title">${scaleSwitch(state, info, changed)}</div>
      <div class="rw-ramps" style="height:${bar}px" aria-hidden="true">
        ${ramps.map((ramp) => html`<span style="background:${gradient(ramp)}"></span>`)}
        <b class="rw-pointer" data-side=${side} data-height=${bar} hidden></b>
        ${numbers.map((value) => html`<i style="top:${place(value)}px">${number(value)}</i>`)}
        ${named.map(
          ({ value, name, y }) =>
            html`<i class=${`rw-named rw-end-${name}`} style="top:${y}px">${scaleText(scale, value, 3)}<em>${name}</em></i>`,
        )}
      </div>
    </div>
  `;
}

/** The name of the scale, which is also its switch where there are others. */
function scaleSwitch(state: GridState, info: TraceInfo, changed: boolean): TemplateResult {
  const scale = state.scale.value;
  const runs = [info, state.comparison.value].filter((run) => run !== null);
  const scales = SCALES.filter((each) => runs.every((run) => reading(each, run)));
  const name = (each: Scale) =>
    changed ? `Δ ${each === "probability" ? "p" : each}` : scaleName(each, info.answer, 8);
  if (scales.length < 2) return html`<bdi>${name(scale)}</bdi>`;
  return html`<select
    class="rw-scale"
    aria-label="Scale"
    title="Probability; its rise over corrupted, the indirect effect; or the share that comes back"
    data-is=${scale}
    @change=${(event: Event) => state.bridge.set({ scale: (event.target as HTMLSelectElement).value as Scale })}
  >
    ${scales.map((each) => html`<option value=${each}>${name(each)}</option>`)}
  </select>`;
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
    const { low, high } = state.painted(side);
    const grid = state.grids[side].value?.get(kind);
    const guess = side === "after" ? state.estimate.value?.get(kind) : undefined;
    const colours = table(canvas, state.ramp(side, kind), theme);
    const values = canvas.parentElement?.querySelector<HTMLCanvasElement>(".rw-values");
    const now = [grid, guess, low, high, colours, values, state.scale.value, state.fit.value.cell.w];
    const before = painted.get(canvas);
    if (!grid || before?.every((each, i) => each === now[i])) continue;
    paint(canvas, grid, info.tokens.length, info.n_layers, colours, low, high, guess);
    if (values) {
      const of = state.readings.value[side];
      const text = (value: number) => shortText(state.scale.value, read(value, of), side === "change");
      write(values, grid, info.n_layers, state.fit.value.cell, { colours, low, high, text });
    }
    painted.set(canvas, now);
  }
}
