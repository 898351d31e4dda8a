/** The column of tokens, with brackets around the corrupted ones. Of many tokens only those in sight exist. */

import { html, nothing, render, type TemplateResult } from "lit-html";
import { tokenLabel } from "../format.js";
import { TALL } from "../geometry.js";
import type { GridState } from "../state.js";
import type { TraceInfo } from "../types.js";
import type { FigureHandlers } from "./figure.js";

/** Pixels above and below what is in sight that are ready, too. */
const MARGIN = 300;
export const SCROLL_STEP = MARGIN / 2;

/** Draws every column of tokens below `root`. */
export function drawLabels(root: HTMLElement, state: GridState, on: FigureHandlers): void {
  const info = state.trace.value;
  // Read first: the columns may come later.
  state.scrolled.value;
  const height = state.fit.value.cell.h;
  const draft = state.draft.value;
  const span = info && draft?.of === info ? draft.span : info?.subject_span;
  if (!info || !span) return;
  for (const column of root.querySelectorAll<HTMLElement>(".rw-tokens")) {
    const [first, last] = inSight(column, info.tokens.length, height);
    render(
      html`${first > 0 ? html`<div style="height:${first * height}px"></div>` : nothing}
        ${info.tokens.slice(first, last).map((token, i) => label(token, first + i, height, info, on))}
        ${bracket(span, height, on)}`,
      column,
    );
  }
}

function inSight(column: HTMLElement, rows: number, height: number): [number, number] {
  const box = column.closest(".rw-figure");
  if (rows <= TALL || !box) return [0, rows];
  const top = box.getBoundingClientRect().top - column.getBoundingClientRect().top;
  return [
    Math.max(0, Math.floor((top - MARGIN) / height)),
    Math.max(0, Math.min(rows, Math.ceil((top + box.clientHeight + MARGIN) / height))),
  ];
}

function label(
  token: string,
  pos: number,
  height: number,
  info: TraceInfo,
  on: FigureHandlers,
): TemplateResult {
  const corrupted = pos >= info.subject_span[0] && pos < info.subject_span[1];
  return html`<div
    class=${corrupted ? "rw-token rw-corrupted" : "rw-token"}
    data-pos=${pos}
    style="height:${height}px;font-size:${Math.min(13.5, height - 2)}px"
    title=${`position ${pos}${corrupted ? ", corrupted with noise" : ""}. Click: the whole row, in the plot of the cursor (Ctrl adds)`}
    @click=${on.row(pos)}
    @pointerenter=${on.point(pos)}
    @pointerleave=${on.point(null)}
  ><bdi>${tokenLabel(token)}</bdi>${corrupted ? html`<i>*</i>` : nothing}</div>`;
}

function bracket([start, stop]: readonly [number, number], height: number, on: FigureHandlers) {
  const grip = (end: 0 | 1) => html`<b
    class=${end ? "rw-grip rw-end" : "rw-grip"}
    title=${end ? "Drag to where the subject ends, or press e there" : "Drag to where the subject begins, or press b there"}
    @pointerdown=${on.grip(end)}
    @pointermove=${on.drag}
    @pointerup=${on.drop}
    @pointercancel=${on.stay}
  ></b>`;
  return html`<div class="rw-span" style="top:${start * height}px;height:${(stop - start) * height}px">
    ${on.grips ? [grip(0), grip(1)] : nothing}
  </div>`;
}
