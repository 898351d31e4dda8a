/** What the pointer and the keyboard do on a picture, as the handlers of its elements. */

import type { GridState } from "../../grid_state.js";
import { picker } from "../../picking.js";
import type { Cell } from "../../types.js";
import { gestures } from "./gestures.js";
import { type FigureActions, keys } from "./keyboard.js";
import { firstCell } from "./overlay.js";
import { subjectDrag } from "./subject_drag.js";
import { SCROLL_STEP } from "./token_labels.js";

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
