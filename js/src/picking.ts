/** From clicks, drags and keys to selections: what is replaced, added or spanned. No DOM. */

import type { GridState } from "./grid_state.js";
import { covers, rectangle, same, toggle, union } from "./selection.js";
import type { Cell, Selection } from "./types.js";

/** Whether a click or a drag adds to what is there. */
export const adds = (event: MouseEvent | KeyboardEvent): boolean => event.ctrlKey || event.metaKey;

export type Picker = ReturnType<typeof picker>;

/** `selected` is called with the time of a selection (performance.now) when it was made. */
export function picker(state: GridState, selected: (at: number) => void) {
  /** Where a span begins, what was selected around it, and what it came to. */
  let span: { anchor: Cell; around: Selection; made: Selection } | null = null;

  const put = (made: Selection, anchor: Cell, cursor: Cell, around = made): void => {
    const at = performance.now();
    span = { anchor, around, made };
    state.select(made, cursor);
    selected(at);
  };

  const only = (cell: Cell) => put([cell], cell, cell);
  const toggled = (cell: Cell) => put(toggle(state.selection.value, cell), cell, cell);
  /** The rectangle from where the last selection began, instead of the last such rectangle. */
  const extend = (to: Cell, from = state.cursor.value ?? to): void => {
    const now = state.selection.value;
    const anchor = span && state.detailOf(span.anchor) ? span.anchor : from;
    const around = span && same(span.made, now) ? span.around : now;
    put(union(around, rectangle(anchor, to)), anchor, to, around);
  };

  return {
    only,
    toggle: toggled,
    extend,
    /** A click: alone it replaces, with Ctrl or ⌘ it toggles, with Shift it spans. */
    pick: (cell: Cell, event: MouseEvent) => (event.shiftKey ? extend : adds(event) ? toggled : only)(cell),
    take(cells: Selection, adds: boolean, cursor: Cell): void {
      put(adds ? union(state.selection.value, cells) : union(cells, []), cells[0] ?? cursor, cursor);
    },
    /** Everything of a row; when that is selected already, everything of the plot. */
    all(row: Selection, plot: Selection, cursor: Cell): void {
      put(
        covers(state.selection.value, row) ? union(plot, []) : union(state.selection.value, row),
        cursor,
        cursor,
      );
    },
    clear(): void {
      span = null;
      state.select([], state.cursor.value);
    },
    /** The cursor moved on: the next span begins there. */
    release(): void {
      span = null;
    },
  };
}
