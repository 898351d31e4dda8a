/** The keys of the grid. Those that it owns end here; all others go on to the host. */

import { move } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { adds, type Picker } from "../../picking.js";
import { has, rectangle } from "../../selection.js";
import type { Cell, KindChoice, TraceInfo } from "../../types.js";

/** What a picture asks of its view. */
export interface FigureActions {
  /** A selection was made at this moment (performance.now). */
  selected(at: number): void;
  /** Ask again for the selection that is already there. */
  again(): void;
  /** Make these positions, `[start, stop)`, the subject. Only with a model. */
  subject?: (start: number, stop: number) => void;
  /** Restore so many layers more, or fewer, with each cell. Only with a model. */
  window?: (more: number) => void;
  /** Open the selected attention into its heads, or put them away. Only with a model. */
  heads?: () => void;
}

const KIND_KEYS: Record<string, KindChoice> = { h: "hidden", m: "mlp", a: "attn", t: "all" };

/** What the help panel says, a key and what it does in turns. The second half needs a model. */
export const KEYS = `← → ↑ ↓|move
Home, End|first, last layer
Ctrl + Home, End|first, last state
Page ↑ ↓|10 layers
g 1 2|layer 12
s, Shift + s|next, last subject token
Shift + move|select a rectangle
Space|select or not
Ctrl + a|select the row, the plot
Enter|restore
Esc|clear, leave
h, m, a, t|hidden, MLP, attention, all`;
export const MODEL_KEYS = `
[ ]|smaller, larger window
o|open attention into its heads, or close
b, e|subject begins, ends here`;

export function keys(state: GridState, picker: Picker, actions: FigureActions) {
  /** Digits typed after a "g"; null without one. */
  let typed: string | null = null;

  const cursorNow = (): Cell => {
    const kinds = state.kinds.value;
    const cursor = state.cursor.value;
    return cursor && kinds.includes(cursor[2]) ? cursor : [0, 0, kinds[0] ?? "hidden"];
  };

  const go = (...cell: Cell) => {
    state.hover.value = null;
    picker.release();
    state.bridge.set({ cursor: cell });
  };

  function choose(kind: KindChoice): void {
    const [pos, layer] = cursorNow();
    state.bridge.set(kind === "all" ? { kind } : { kind, cursor: [pos, layer, kind] });
  }

  /** Does what a single letter stands for; false for letters that the host may have. */
  function letter(key: string, info: TraceInfo): boolean {
    const here = cursorNow();
    const [pos, layer, kind] = here;
    const [start, stop] = info.subject_span;
    const { window, subject, heads } = actions;
    const digits = typed;
    const chosen = KIND_KEYS[key];
    typed = null;
    if (digits !== null && /\d/.test(key)) {
      typed = digits + key;
      go(pos, Math.min(info.n_layers - 1, Number(typed)), kind);
    } else if (chosen && (chosen === "all" || info.kinds.includes(chosen))) choose(chosen);
    else if (key === "g") typed = "";
    else if (key === "s") go(pos >= start && pos < stop - 1 ? pos + 1 : start, layer, kind);
    else if (key === "S") go(pos > start && pos < stop ? pos - 1 : stop - 1, layer, kind);
    else if (key === "?") state.helping.value = true;
    else if (window && (key === "[" || key === "]")) window(key === "[" ? -1 : 1);
    else if (heads && key === "o") {
      if (kind === "attn" && !has(state.selection.value, here)) picker.only(here);
      heads();
    } else if (subject && key === "b") subject(pos, Math.max(stop, pos + 1));
    else if (subject && key === "e") subject(Math.min(start, pos), pos + 1);
    else return false;
    return true;
  }

  /** Does what the keys stand for; false for those that are not ours. */
  function command(event: KeyboardEvent, info: TraceInfo): boolean {
    const { key, shiftKey: shift } = event;
    // Where brackets are typed with AltGr, the browser says Ctrl and Alt.
    const typing = event.getModifierState("AltGraph");
    const ctrl = adds(event) && !typing;
    if (event.altKey && !typing) return false;
    if (!ctrl && key.length === 1 && key !== " ") return state.bridge.get("shortcuts") && letter(key, info);
    typed = null;
    const here = cursorNow();
    const [pos, , kind] = here;
    const [rows, columns] = [info.tokens.length, info.n_layers];
    const moved = move(here, ctrl ? `Ctrl+${key}` : key, rows, columns, state.kinds.value);
    if (moved) shift ? picker.extend(moved, here) : go(...moved);
    else if (shift) return false;
    else if (ctrl && key === "a") {
      const corner: Cell = [pos, columns - 1, kind];
      picker.all(
        rectangle([pos, 0, kind], corner),
        rectangle([0, 0, kind], [rows - 1, columns - 1, kind]),
        here,
      );
    } else if (ctrl) return false;
    else if (key === " ") picker.toggle(here);
    else if (key === "Enter") restore(here);
    else if (key === "Escape") leave(event.currentTarget as HTMLElement);
    else return false;
    return true;
  }

  function restore(cell: Cell): void {
    if (!has(state.selection.value, cell)) picker.only(cell);
    else {
      actions.again();
      actions.selected(performance.now());
    }
  }

  function leave(grid: HTMLElement): void {
    if (state.gesture.value) state.gesture.value = null;
    else if (state.selection.value.length > 0) picker.clear();
    else grid.blur();
  }

  return (event: KeyboardEvent): void => {
    const info = state.trace.value;
    state.focused.value = true;
    if (!info || !command(event, info)) return;
    event.stopPropagation();
    event.preventDefault();
    const figure = (event.currentTarget as Element).closest(".rw-figure");
    figure?.querySelector(".rw-cursor")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
}
