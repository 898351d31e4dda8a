/** The picture: one plot per kind on one scale, token labels, layer numbers, the colour bar. */

import { html, nothing, svg, type TemplateResult } from "lit-html";
import { cellText, rowText } from "../aria.js";
import { anchors, gradient, lut } from "../colormap.js";
import { axisCaption, KIND_NAMES, less, probability, signed, tokenLabel } from "../format.js";
import { cellAt, move, ticks, windowLayers } from "../geometry.js";
import { paint } from "../paint.js";
import { extend, has, replace, sameCell, toggle } from "../selection.js";
import type { GridState, Side } from "../state.js";
import type { Cell, Comparison, Kind, TraceInfo } from "../types.js";
import { change, sideName } from "./parts.js";

const OWNED = new Set([
  "ArrowUp",
  "ArrowDown",
  "ArrowLeft",
  "ArrowRight",
  "Home",
  "End",
  " ",
  "Enter",
  "Escape",
]);

export interface FigureActions {
  /** A selection was made at this moment (performance.now). */
  selected(at: number): void;
  /** Ask again for the selection that is already there. */
  again(): void;
}

/** Handlers of one figure. They live as long as its view. */
export function figureHandlers(state: GridState, actions: FigureActions) {
  let pressed: Cell | null = null;
  let anchor: Cell | null = null;

  const under = (event: PointerEvent): Cell | null => {
    const canvas = event.currentTarget as HTMLCanvasElement;
    const info = state.trace.value;
    if (!info) return null;
    const box = canvas.getBoundingClientRect();
    const found = cellAt(
      event.clientX - box.left,
      event.clientY - box.top,
      box.width,
      box.height,
      info.tokens.length,
      info.n_layers,
    );
    return found && [found.pos, found.layer, canvas.dataset.kind as Kind];
  };

  const pick = (cell: Cell, event: { ctrlKey: boolean; metaKey: boolean; shiftKey: boolean }): void => {
    const at = performance.now();
    const selected = state.selection.value;
    const next =
      event.ctrlKey || event.metaKey
        ? toggle(selected, cell)
        : event.shiftKey && anchor
          ? extend(selected, anchor, cell)
          : replace(cell);
    anchor = cell;
    state.select(next, cell);
    actions.selected(at);
  };

  return {
    down: (event: PointerEvent) => {
      state.focused.value = false;
      pressed = event.button === 0 ? under(event) : null;
    },
    up: (event: PointerEvent) => {
      const cell = under(event);
      if (cell && pressed && sameCell(cell, pressed)) pick(cell, event);
      pressed = null;
    },
    over: (event: PointerEvent) => {
      const cell = under(event);
      if (!sameCell(cell, state.hover.value)) state.hover.value = cell;
    },
    leave: () => {
      state.hover.value = null;
    },
    row: (pos: number | null) => () => {
      const kind = state.cursor.value?.[2] ?? state.kinds.value[0];
      const layer = state.cursor.value?.[1] ?? 0;
      state.hover.value = pos === null || !kind ? null : [pos, layer, kind];
    },
    best: (cell: Cell) => () => pick(cell, { ctrlKey: false, metaKey: false, shiftKey: false }),
    focus: (on: boolean) => () => {
      const [first] = state.kinds.value;
      const info = state.trace.value;
      if (!on) state.focused.value = false;
      if (on && !state.cursor.value && first && info)
        state.bridge.set({ cursor: [Math.max(0, info.subject_span[1] - 1), 0, first] }, { send: false });
    },
    key: (event: KeyboardEvent) => {
      const info = state.trace.value;
      if (!info || !OWNED.has(event.key) || event.altKey) return;
      if ((event.ctrlKey || event.metaKey || event.shiftKey) && !event.key.startsWith("Arrow")) return;
      // JupyterLab listens for the same keys above us; these are ours.
      event.stopPropagation();
      event.preventDefault();
      state.focused.value = true;
      const kinds = state.kinds.value;
      const cursor = state.cursor.value;
      const here: Cell = cursor && kinds.includes(cursor[2]) ? cursor : [0, 0, kinds[0] ?? "hidden"];
      const moved = move(here, event.key, info.tokens.length, info.n_layers, kinds);
      if (moved) {
        state.hover.value = null;
        if (event.shiftKey) {
          anchor ??= here;
          state.select(extend(state.selection.value, anchor, moved), moved);
          actions.selected(performance.now());
        } else state.bridge.set({ cursor: moved });
        return;
      }
      anchor = here;
      if (event.key === " ") {
        state.select(toggle(state.selection.value, here), here);
        actions.selected(performance.now());
      } else if (event.key === "Enter") {
        if (has(state.selection.value, here)) actions.again();
        else state.select(replace(here), here);
        actions.selected(performance.now());
      } else if (event.key === "Escape") {
        if (state.selection.value.length === 0) (event.currentTarget as HTMLElement).blur();
        else state.select([], here);
      }
    },
  };
}

export type FigureHandlers = ReturnType<typeof figureHandlers>;

export function figure(state: GridState, on: FigureHandlers, id: string): TemplateResult {
  const info = state.trace.value;
  if (!info) return html``;
  const { cell, direction, gap } = state.fit.value;
  const kinds = state.kinds.value;
  const sides = state.sides.value;
  const compared = state.comparison.value;
  const stacked = sides.length > 1 && (kinds.length > 1 || direction === "column");
  /** Sides that share a colour scale. */
  const groups = [sides.filter((side) => side !== "change"), sides.filter((side) => side === "change")];
  return html`
    <div
      class=${`rw-figure${stacked ? " rw-stacked" : sides.length > 1 ? " rw-beside" : ""}`}
      data-direction=${direction}
      tabindex="0"
      role="grid"
      aria-label="Causal trace: tokens by layers"
      aria-rowcount=${info.tokens.length + 1}
      aria-colcount=${info.n_layers + 1}
      aria-multiselectable="true"
      aria-activedescendant=${state.cursor.value ? `${id}-active` : nothing}
      @keydown=${on.key}
      @focus=${on.focus(true)}
      @blur=${on.focus(false)}
    >
      ${groups.map((group) =>
        group.length === 0
          ? nothing
          : html`<div class="rw-group">
              <div class="rw-sides" style="gap:${gap}px">${group.map(
                (side) => html`<div class="rw-side" data-side=${side}>
                  ${compared ? heading(side, info, compared) : nothing}
                  <div class="rw-plots" style="gap:${gap}px">
                    ${kinds.map((kind, at) => plot(state, on, info, kind, side, direction === "column" || (at === 0 && (stacked || side === sides[0]))))}
                  </div>
                </div>`,
              )}</div>
              ${colourBar(state, info, group.at(-1) as Side, cell.h * info.tokens.length * (stacked ? group.length : 1))}
            </div>`,
      )}
      ${activeRow(state, info, id)}
    </div>
  `;
}

/** Which of the compared grids this is: how the model was edited, and what its two runs gave. */
function heading(side: Side, info: TraceInfo, compared: Comparison): TemplateResult {
  const runs = side === "before" ? compared : info;
  const told = (name: "clean" | "corrupted") =>
    side === "change" ? change(less(info[name], compared[name]), 4) : html`<b>${probability(runs[name])}</b>`;
  return html`<p class="rw-which">
    <b>${sideName(compared, side)}</b><span>${side === "change" ? (compared.same ? "every number is what it was" : `${compared.names[1]} − ${compared.names[0]}`) : compared[side]}</span>
    <span class="rw-mute">clean ${told("clean")}</span><span class="rw-mute">corrupted ${told("corrupted")}</span>
  </p>`;
}

function tokenColumn(state: GridState, on: FigureHandlers, info: TraceInfo): TemplateResult {
  const { cell, labels } = state.fit.value;
  const [start, stop] = info.subject_span;
  const at = state.detail.value?.cell[0];
  return html`
    <div class="rw-tokens" aria-hidden="true" style="width:${labels}px">
      ${info.tokens.map((token, pos) => {
        const corrupted = pos >= start && pos < stop;
        const edge = corrupted
          ? `${pos === start ? " rw-first" : ""}${pos === stop - 1 ? " rw-last" : ""}`
          : "";
        return html`<div
          class=${`rw-token${corrupted ? " rw-corrupted" : ""}${edge}${at === pos ? " rw-at" : ""}`}
          style="height:${cell.h}px;font-size:${Math.min(13.5, cell.h - 2)}px"
          title=${`position ${pos}${corrupted ? ", corrupted with noise" : ""}`}
          @pointerenter=${on.row(pos)}
          @pointerleave=${on.row(null)}
        ><bdi>${tokenLabel(token)}</bdi>${corrupted ? html`<i>*</i>` : nothing}</div>`;
      })}
    </div>
  `;
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
  const best = state.bestOf(side, kind);
  const detail = state.detail.value;
  const at = detail?.cell[2] === kind ? detail.cell[1] : -1;
  const gapless = cell.w < 7 || cell.h < 7;
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
            @pointermove=${on.over}
            @pointerleave=${on.leave}
          ></canvas>
          <svg class="rw-marks" width=${width} height=${height} aria-hidden="true">
            ${marks(state, info, kind, best?.cell, gapless)}
          </svg>
        </div>
        <div class="rw-layers" aria-hidden="true">
          ${layers.map(
            (layer) =>
              html`<span class=${layer === at ? "rw-at" : ""} style="left:${(layer + 0.5) * cell.w}px">${layer}</span>`,
          )}
        </div>
        <div class="rw-caption">${axisCaption(kind, info.windows[kind])}</div>
        ${
          best
            ? html`<button
                class="rw-best"
                type="button"
                tabindex="-1"
                title=${`The ${side === "change" ? "largest difference" : "subject’s strongest state"}: “${tokenLabel(info.tokens[best.cell[0]] ?? "")}”, layer ${best.cell[1]}. Click to restore it.`}
                @click=${on.best(best.cell)}
              ><i></i>layer ${best.cell[1]} · ${side === "change" ? signed(best.score, 2) : probability(best.score, 2)}</button>`
            : nothing
        }
      </div>
    </div>
  `;
}

/** Selected cells with the layers they really restore, the cursor, and what is under the pointer. */
function marks(
  state: GridState,
  info: TraceInfo,
  kind: Kind,
  best: Cell | undefined,
  thin: boolean,
): TemplateResult[] {
  const { cell } = state.fit.value;
  const window = info.windows[kind] ?? 1;
  const out: TemplateResult[] = [];
  const outline = ([pos, layer]: Cell, inset: number, name: string) => svg`<rect class=${name}
    x=${layer * cell.w + inset} y=${pos * cell.h + inset}
    width=${Math.max(1, cell.w - 2 * inset)} height=${Math.max(1, cell.h - 2 * inset)} />`;
  const reach = ([pos, layer]: Cell, name: string) => {
    const [start, stop] = windowLayers(kind, layer, window, info.n_layers);
    if (stop - start < 2) return nothing;
    const y = (pos + 1) * cell.h - 1.5;
    const x1 = start * cell.w + 1;
    const x2 = stop * cell.w - 1;
    const path = `M${x1} ${y - 3}V${y}H${x2}V${y - 3}`;
    return svg`<path class="rw-under" d=${path} /><path class=${name} d=${path} />`;
  };
  for (const each of state.selection.value) {
    if (each[2] !== kind || !state.detailOf(each)) continue;
    const inset = thin ? 0 : 1;
    out.push(
      svg`${outline(each, inset, "rw-halo")}${outline(each, inset, "rw-selected")}${reach(each, "rw-reach")}`,
    );
  }
  if (best && !state.isSelected(best)) {
    const [pos, layer] = best;
    out.push(
      svg`<circle class="rw-peak" cx=${(layer + 0.5) * cell.w} cy=${(pos + 0.5) * cell.h} r=${thin ? 1.5 : 2.2} />`,
    );
  }
  const cursor = state.cursor.value;
  if (state.focused.value && cursor?.[2] === kind) out.push(outline(cursor, thin ? -2 : -1.5, "rw-cursor"));
  const hover = state.hover.value;
  if (hover?.[2] === kind)
    out.push(svg`${outline(hover, 0.5, "rw-hover")}${reach(hover, "rw-reach rw-soft")}`);
  return out;
}

function colourBar(state: GridState, info: TraceInfo, side: Side, height: number): TemplateResult {
  const { low, high } = state.rangeOf(side);
  const changed = side === "change";
  const bar = Math.min(height, 264);
  const place = (value: number) => bar - ((value - low) / (high - low)) * bar;
  // Compared, each grid has runs of its own: its heading names them.
  const named = (state.comparison.value ? [] : (["clean", "corrupted"] as const)).flatMap((name) => {
    const value = info[name];
    return value === null ? [] : [{ value, name, y: place(value) }];
  });
  const numbers = ticks(low, high, bar < 120 ? 3 : 5).filter((value) =>
    named.every(({ y }) => Math.abs(place(value) - y) > 25),
  );
  const detail = state.detail.value;
  const score = (changed ? detail?.change : side === "before" ? detail?.before : detail?.score) ?? Number.NaN;
  return html`
    <div class="rw-bar" style="width:${state.fit.value.bar}px" aria-hidden="true">
      <div class="rw-plot-title">${changed ? "Δ " : ""}p(<bdi>${tokenLabel(info.answer || "answer", changed ? 7 : 9)}</bdi>)</div>
      <div class="rw-ramps" style="height:${bar}px">
        ${(changed ? (["change"] as const) : state.kinds.value).map((ramp) => html`<span style="background:${gradient(ramp)}"></span>`)}
        ${
          Number.isNaN(score)
            ? nothing
            : html`<b class="rw-pointer" style="top:${place(Math.max(low, Math.min(high, score)))}px"></b>`
        }
        ${numbers.map((value) => html`<i style="top:${place(value)}px">${changed ? signed(value, Math.max(0, -Math.floor(Math.log10(high)) + 1)) : Number(value.toPrecision(6))}</i>`)}
        ${named.map(
          ({ value, name, y }) =>
            html`<i class=${`rw-named rw-end-${name}`} style="top:${y}px">${probability(value, 3)}<em>${name}</em></i>`,
        )}
      </div>
    </div>
  `;
}

/** Off screen: the column numbers and the row of the cursor, for screen readers. */
function activeRow(state: GridState, info: TraceInfo, id: string): TemplateResult | typeof nothing {
  const cursor = state.cursor.value;
  if (!cursor || !state.detailOf(cursor)) return nothing;
  const [pos, layer, kind] = cursor;
  const [start, stop] = info.subject_span;
  return html`
    <div class="rw-unseen" role="rowgroup">
      <div role="row" aria-rowindex=${pos + 2}>
        <span role="rowheader">${KIND_NAMES[kind]}: ${rowText(info.tokens[pos] ?? "", pos >= start && pos < stop)}</span>
        ${Array.from(
          { length: info.n_layers },
          (_, each) => html`<span
            role="gridcell"
            id=${each === layer ? `${id}-active` : nothing}
            aria-colindex=${each + 2}
            aria-selected=${state.isSelected([pos, each, kind])}
          >${cellText(each, state.scoreOf([pos, each, kind]), info.corrupted, state.estimateOf([pos, each, kind]), state.detailOf([pos, each, kind])?.change)}</span>`,
        )}
      </div>
    </div>
  `;
}

/** What each canvas shows, so that pointing at it repaints nothing. */
const painted = new WeakMap<HTMLCanvasElement, readonly unknown[]>();

/** Paints every canvas below `root` whose scores, scale or theme changed. */
export function paintFigure(root: ParentNode, state: GridState): void {
  const info = state.trace.value;
  if (!info) return;
  for (const canvas of root.querySelectorAll<HTMLCanvasElement>("canvas[data-kind]")) {
    const kind = canvas.dataset.kind as Kind;
    const side = canvas.dataset.side as Side;
    const { low, high } = state.rangeOf(side);
    const grid = state.grids[side].value?.get(kind);
    const guess = side === "after" ? state.estimate.value?.get(kind) : undefined;
    const now = [grid, guess, low, high, state.theme.value];
    const before = painted.get(canvas);
    if (!grid || before?.every((each, i) => each === now[i])) continue;
    paint(
      canvas,
      grid,
      info.tokens.length,
      info.n_layers,
      lut(anchors(canvas, side === "change" ? side : kind)),
      low,
      high,
      guess,
    );
    painted.set(canvas, now);
  }
}
