/** The column of tokens, with brackets around the corrupted ones. Of many tokens only those in sight exist. */

import { html, nothing, type TemplateResult } from "lit-html";
import { tokenLabel } from "../../format.js";
import { inSubject, TALL } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import type { TraceInfo } from "../../types.js";
import type { gestures } from "./gestures.js";

/** What a column of tokens answers to. */
type TokenHandlers = ReturnType<typeof subjectDrag> &
  Pick<ReturnType<typeof gestures>, "row" | "point" | "leave">;

/** Pixels above and below what is in sight that are ready, too. */
const MARGIN = 300;
export const SCROLL_STEP = MARGIN / 2;

export function tokenColumn(
  state: GridState,
  on: TokenHandlers,
  info: TraceInfo,
  height = state.fit.value.cell.h,
): TemplateResult {
  const { labels } = state.fit.value;
  const draft = state.draft.value;
  return html`<div
    class="rw-tokens"
    aria-hidden="true"
    title="Select a row, in the plot of the cursor"
    data-height=${height}
    style="width:${labels}px;height:${height * info.tokens.length}px;font-size:${Math.min(13.5, height - 2)}px;line-height:${height}px"
    @click=${on.row}
    @pointerover=${on.point}
    @pointerleave=${on.leave}
  ><div class="rw-here" style="height:${height}px" hidden></div><div class="rw-rows"></div>${otherMentions(info).map(([start, stop]) => span(start, stop, height))}${bracket(draft?.of === info ? draft.span : info.subject_span, height, on)}</div>`;
}

/** Pixels of a row of the column that `part` belongs to. */
export const rowHeight = (part: Element): number =>
  Number(part.closest<HTMLElement>(".rw-tokens")?.dataset.height);

/** What each column holds, so that a drawing of something else leaves it alone. */
const filled = new WeakMap<Element, readonly unknown[]>();

/** Fills the columns below `root`; without templates, which would take longer than all the rest of the picture. */
export function drawLabels(root: HTMLElement, state: GridState): void {
  const info = state.trace.value;
  // Read first: the columns may come later.
  state.scrolled.value;
  if (!info) return;
  for (const column of root.querySelectorAll<HTMLElement>(".rw-rows")) {
    const height = rowHeight(column);
    const [first, last] = inSight(column, info.tokens.length, height);
    const now = [info, first, last];
    column.style.paddingTop = `${first * height}px`;
    if (filled.get(column)?.every((each, i) => each === now[i])) continue;
    filled.set(column, now);
    column.replaceChildren(
      ...info.tokens.slice(first, last).map((token, i) => label(token, first + i, info)),
    );
  }
}

function label(token: string, pos: number, info: TraceInfo): HTMLElement {
  const made = document.createElement("div");
  made.className = "rw-token";
  made.dataset.pos = String(pos);
  made.appendChild(document.createElement("bdi")).textContent = tokenLabel(token);
  if (inSubject(info, pos)) made.appendChild(document.createElement("i")).textContent = "*";
  return made;
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

/** Those that were corrupted besides the last; their brackets cannot be dragged. */
const otherMentions = (info: TraceInfo) => (info.subject_spans ?? []).slice(0, -1);

const span = (start: number, stop: number, height: number, inside: unknown = nothing) =>
  html`<div class="rw-span" title="The subject: the noise is on these tokens (*)" style="top:${start * height}px;height:${(stop - start) * height}px">${inside}</div>`;

function bracket([start, stop]: readonly [number, number], height: number, on: TokenHandlers) {
  const grip = (end: 0 | 1) => html`<b
    class=${end ? "rw-grip rw-end" : "rw-grip"}
    title="Drag: where the subject ${end ? "ends (e)" : "begins (b)"}"
    @pointerdown=${on.grip(end)}
    @pointermove=${on.drag}
    @pointerup=${on.drop}
    @pointercancel=${on.stay}
  ></b>`;
  return span(start, stop, height, on.grips ? [grip(0), grip(1)] : nothing);
}

/** Dragging the ends of the subject; only where `subject` can make it another one. */
export function subjectDrag(state: GridState, subject?: (start: number, stop: number) => void) {
  let held: 0 | 1 | null = null;

  const stay = () => {
    held = null;
    state.draft.value = null;
  };

  return {
    grips: subject !== undefined,
    grip: (end: 0 | 1) => (event: PointerEvent) => {
      if (event.button !== 0) return;
      event.preventDefault();
      (event.target as HTMLElement).setPointerCapture?.(event.pointerId);
      held = end;
    },
    drag(event: PointerEvent): void {
      const info = state.trace.value;
      const column = (event.target as HTMLElement).closest(".rw-tokens");
      if (held === null || !info || !column) return;
      const [start, stop] = info.subject_span;
      const y = event.clientY - column.getBoundingClientRect().top;
      // The border between two rows that is nearest.
      const at = Math.round(y / rowHeight(column));
      state.draft.value = {
        of: info,
        span: held
          ? [start, Math.max(start + 1, Math.min(info.tokens.length, at))]
          : [Math.max(0, Math.min(stop - 1, at)), stop],
      };
    },
    drop(): void {
      const draft = state.draft.value;
      const info = state.trace.value;
      held = null;
      if (!draft || draft.of !== info) return;
      if (String(draft.span) === String(info.subject_span)) state.draft.value = null;
      else subject?.(...draft.span);
    },
    stay,
  };
}
