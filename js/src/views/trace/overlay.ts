/** What follows the pointer and the keyboard: drawn by itself, so that a move touches a few nodes only. */

import { html, nothing, render, svg, type TemplateResult } from "lit-html";
import { cellText, rowText } from "../../aria.js";
import { KIND_NAMES, SHORT } from "../../format.js";
import { inSubject, windowLayers } from "../../geometry.js";
import type { Gesture, GridState } from "../../grid_state.js";
import { border, brackets } from "../../outline.js";
import { read } from "../../scale.js";
import type { Side } from "../../shown_grids.js";
import type { Cell, Kind, TraceInfo } from "../../types.js";
import type { Part } from "../controls.js";
import { rowHeight } from "./token_labels.js";

/** Gridcells on both sides of the active one that a screen reader finds. */
const BESIDE = 10;

/** The marks of the pointer and the cursor in every plot, and where labels and colour bars point. */
export function drawPointing(root: HTMLElement, state: GridState): void {
  const [hover, gesture] = [state.hover.value, state.gesture.value];
  const cursor = state.focused.value ? state.cursor.value : null;
  const detail = state.detail.value;
  const info = state.trace.value;
  if (!info) return;
  root.querySelector(".rw-figure")?.toggleAttribute("data-keys", state.focused.value);
  for (const plot of root.querySelectorAll<SVGElement>(".rw-live")) {
    const { kind, side } = plot.dataset as { kind: Kind; side: Side };
    render(
      [
        hover?.[2] === kind && !gesture ? pointed(state, info, hover) : nothing,
        cursor?.[2] === kind ? cellFrame(state, cursor, -1.5, "rw-cursor") : nothing,
        gesture?.kind === kind && gesture.side === side ? drawn(state, gesture) : nothing,
      ],
      // lit-html draws into any element; its types know HTML only.
      plot as unknown as HTMLElement,
    );
  }
  for (const number of root.querySelectorAll<HTMLElement>(".rw-layers .rw-at")) {
    number.hidden = detail?.cell[2] !== number.dataset.kind;
    if (!detail) continue;
    number.textContent = String(detail.cell[1]);
    number.style.transform = `translateX(calc(${(detail.cell[1] + 0.5) * state.fit.value.cell.w}px - 50%))`;
  }
  for (const mark of root.querySelectorAll<HTMLElement>(".rw-here")) {
    mark.hidden = !detail;
    // Moved by the compositor: another colour of the label would be painted.
    mark.style.transform = `translateY(${(detail?.cell[0] ?? 0) * rowHeight(mark)}px)`;
  }
  for (const pointer of root.querySelectorAll<HTMLElement>(".rw-pointer")) {
    const side = pointer.dataset.side as Side;
    const { low, high } = state.rangeOf(side);
    const held = side === "change" ? detail?.change : side === "before" ? detail?.before : detail?.score;
    const share = (read(held ?? Number.NaN, state.readings.value[side]) - low) / (high - low);
    pointer.hidden = Number.isNaN(share);
    const down = 1 - Math.max(0, Math.min(1, share));
    pointer.style.transform = `translateY(${down * Number(pointer.dataset.height)}px)`;
  }
}

const cellFrame = (state: GridState, [pos, layer]: Cell, inset: number, name: string): TemplateResult => {
  const { w, h } = state.fit.value.cell;
  return svg`<rect class=${name} x=${layer * w + inset} y=${pos * h + inset}
    width=${Math.max(1, w - 2 * inset)} height=${Math.max(1, h - 2 * inset)} />`;
};

/** The cell under the pointer, the layers that it restores, and lightly what that can change. */
function pointed(state: GridState, info: TraceInfo, cell: Cell): TemplateResult {
  const [pos, layer, kind] = cell;
  const size = state.fit.value.cell;
  const window = info.windows[kind] ?? 1;
  const [start] = windowLayers(kind, layer, window, info.n_layers);
  const path = brackets(new Set([pos * info.n_layers + layer]), kind, window, info.n_layers, size);
  const [x, y] = [(start + 1) * size.w, pos * size.h];
  return svg`<path class="rw-cone" d=${`M${x} ${info.tokens.length * size.h}V${y}H${info.n_layers * size.w}`} />
    ${cellFrame(state, cell, 0.5, "rw-hover")}
    <path class="rw-under" d=${path} /><path class="rw-reach rw-soft" d=${path} />`;
}

function drawn(state: GridState, { from, to, lasso }: Gesture): TemplateResult {
  const { w, h } = state.fit.value.cell;
  if (lasso)
    return svg`<path class="rw-band" d=${`M${lasso.map(([x, y]) => `${x * w} ${y * h}`).join("L")}Z`} />`;
  const [top, bottom] = [Math.min(from[0], to[0]), Math.max(from[0], to[0]) + 1];
  const [left, right] = [Math.min(from[1], to[1]), Math.max(from[1], to[1]) + 1];
  if (bottom - top === 1 && right - left === 1) return cellFrame(state, to, 0.5, "rw-hover");
  return svg`<rect class="rw-band" x=${left * w} y=${top * h} width=${(right - left) * w} height=${(bottom - top) * h} />`;
}

/** Selected cells of a plot as one outline, with the layers that they really restore. */
export function selectionMarks(state: GridState, info: TraceInfo, kind: Kind): Part {
  const cells = state.selected.value.get(kind);
  if (!cells?.size) return nothing;
  const size = state.fit.value.cell;
  const outline = border(cells, info.n_layers, size);
  const window = state.single.value ? 1 : (info.windows[kind] ?? 1);
  const path = brackets(cells, kind, window, info.n_layers, size);
  const reach = (name: string) => (path ? svg`<path class=${name} d=${path} />` : nothing);
  return svg`${reach("rw-under")}<path class="rw-halo" d=${outline} />${reach("rw-reach")}<path class="rw-selected" d=${outline} />`;
}

/** Where the cursor is before it was moved: at the subject's last token. */
export const firstCell = (state: GridState, info: TraceInfo): Cell => [
  Math.max(0, info.subject_span[1] - 1),
  0,
  state.kinds.value[0] ?? "hidden",
];

/** For screen readers: the row of the cursor, as far as they may go next. */
export function drawRow(root: HTMLElement, state: GridState, id: string): void {
  const grid = root.querySelector<HTMLElement>(".rw-cells");
  const info = state.trace.value;
  const cursor = state.cursor.value;
  if (!grid || !info) return;
  const here = cursor && state.kinds.value.includes(cursor[2]) && state.detailOf(cursor) ? cursor : null;
  if (here) grid.setAttribute("aria-activedescendant", `${id}-active`);
  else grid.removeAttribute("aria-activedescendant");
  render(activeRow(state, info, here ?? firstCell(state, info), id), grid.firstElementChild as HTMLElement);
}

/** Each cell is `said` in words. */
export function activeRow(
  state: GridState,
  info: TraceInfo,
  [pos, layer, kind]: Cell,
  id: string,
  said = (cell: Cell) => {
    const detail = state.detailOf(cell);
    const { score, estimate, before } = detail ?? { score: Number.NaN };
    const name = state.comparison.value?.names[0];
    return cellText(cell[1], score, info.corrupted, estimate, before, name, SHORT[info.metric]);
  },
): TemplateResult {
  const before = state.kinds.value.indexOf(kind) * info.n_layers + 2;
  const first = Math.max(0, layer - BESIDE);
  const layers = Array.from(
    { length: Math.min(info.n_layers, layer + BESIDE + 1) - first },
    (_, i) => first + i,
  );
  return html`
    <div role="row" aria-rowindex="1">
      <span role="columnheader" aria-colindex="1">token</span>
      ${layers.map((each) => html`<span role="columnheader" aria-colindex=${before + each}>${KIND_NAMES[kind]} ${each}</span>`)}
    </div>
    <div role="row" aria-rowindex=${pos + 2}>
      <span role="rowheader" aria-colindex="1">${KIND_NAMES[kind]}: ${rowText(info.tokens[pos] ?? "", inSubject(info, pos))}</span>
      ${layers.map(
        (each) => html`<span
          role="gridcell"
          id=${each === layer ? `${id}-active` : nothing}
          aria-colindex=${before + each}
          aria-selected=${state.isSelected([pos, each, kind])}
        >${said([pos, each, kind])}</span>`,
      )}
    </div>
  `;
}
