/** The pointer on a plot, its layers and its labels: click, rectangle, lasso, row, column. */

import { cellAt, lassoed, type Point } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { adds, type Picker } from "../../picking.js";
import { rectangle, sameCell } from "../../selection.js";
import type { Side } from "../../shown_grids.js";
import type { Cell, Kind, TraceInfo } from "../../types.js";

/** What was pressed, from pointerdown to pointerup. */
interface Press {
  pointer: number;
  /** The pointer has been on another cell, or has drawn. */
  moved: boolean;
}

const within = (value: number, size: number): number => Math.max(0, Math.min(size - 1e-3, value));

export function gestures(state: GridState, picker: Picker) {
  let press: Press | null = null;

  const end = () => {
    press = null;
    state.gesture.value = null;
  };

  /** The point, counted in cells, and its cell; beyond the border the nearest when the plot holds the pointer. */
  const under = (event: PointerEvent, info: TraceInfo): { at: Point; cell: Cell | null } => {
    const canvas = event.currentTarget as HTMLCanvasElement;
    const { left, top, width, height } = canvas.getBoundingClientRect();
    let [x, y] = [event.clientX - left, event.clientY - top];
    if (press) [x, y] = [within(x, width), within(y, height)];
    const found = cellAt(x, y, width, height, info.tokens.length, info.n_layers);
    return {
      at: [(x / width) * info.n_layers, (y / height) * info.tokens.length],
      cell: found && [found.pos, found.layer, canvas.dataset.kind as Kind],
    };
  };

  /** The cell that a label of a token speaks for. */
  const labelled = (event: MouseEvent): Cell | null => {
    const label = (event.target as Element).closest<HTMLElement>("[data-pos]");
    const cursor = state.cursor.value;
    const kind = state.kinds.value.find((each) => each === cursor?.[2]) ?? state.kinds.value[0];
    return label && kind ? [Number(label.dataset.pos), cursor?.[1] ?? 0, kind] : null;
  };

  function down(event: PointerEvent): void {
    const info = state.trace.value;
    if (!info || event.button !== 0) return;
    const canvas = event.currentTarget as HTMLCanvasElement;
    const { at, cell } = under(event, info);
    state.focused.value = false;
    if (!cell) return;
    try {
      // The plot hears of the rest, wherever the pointer goes.
      canvas.setPointerCapture?.(event.pointerId);
    } catch {
      // It has gone already, or a script made the event: a click all the same.
    }
    press = { pointer: event.pointerId, moved: false };
    state.gesture.value = {
      kind: cell[2],
      side: canvas.dataset.side as Side,
      from: cell,
      to: cell,
      lasso: event.altKey ? [at] : null,
    };
  }

  function move(event: PointerEvent): void {
    const info = state.trace.value;
    if (!info) return;
    const { at, cell } = under(event, info);
    const gesture = state.gesture.value;
    if (!press || !gesture || !cell) {
      if (!sameCell(cell, state.hover.value)) state.hover.value = cell;
      return;
    }
    if (event.pointerId !== press.pointer) return;
    if (!gesture.lasso && sameCell(cell, gesture.to)) return;
    press.moved = true;
    state.hover.value = cell;
    state.gesture.value = { ...gesture, to: cell, lasso: gesture.lasso && [...gesture.lasso, at] };
  }

  function up(event: PointerEvent): void {
    // Where it was let go counts, also when nothing was heard on the way there.
    if (!state.gesture.value?.lasso) move(event);
    const gesture = state.gesture.value;
    const info = state.trace.value;
    const moved = press?.moved;
    end();
    if (!gesture || !info) return;
    const { from, to, lasso, kind } = gesture;
    if (lasso && moved) {
      const cells = lassoed(lasso, info.tokens.length, info.n_layers, kind);
      if (cells.length > 0) picker.take(cells, adds(event), to);
    } else if (moved && !event.shiftKey) picker.take(rectangle(from, to), adds(event), to);
    else picker.pick(to, event);
  }

  return {
    down,
    move,
    up,
    cancel: end,
    leave: () => {
      if (!press) state.hover.value = null;
    },
    twice: (event: MouseEvent) => {
      if (!adds(event) && !event.shiftKey && !event.altKey) picker.clear();
    },
    /** A label stands for the row of the plot that the cursor is in. */
    row: (event: MouseEvent) => {
      const info = state.trace.value;
      const cell = labelled(event);
      if (!info || !cell) return;
      const [pos, , kind] = cell;
      picker.take(rectangle([pos, 0, kind], [pos, info.n_layers - 1, kind]), adds(event), cell);
    },
    point: (event: MouseEvent) => (state.hover.value = labelled(event)),
    /** The strip of layer numbers: each place on it stands for the column above. */
    column: (kind: Kind) => (event: MouseEvent) => {
      const info = state.trace.value;
      if (!info) return;
      const { left, width } = (event.currentTarget as HTMLElement).getBoundingClientRect();
      const layer = Math.floor(within(((event.clientX - left) / width) * info.n_layers, info.n_layers));
      const cells = rectangle([0, layer, kind], [info.tokens.length - 1, layer, kind]);
      picker.take(cells, adds(event), [state.cursor.value?.[0] ?? 0, layer, kind]);
    },
  };
}
