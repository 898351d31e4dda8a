/** The keys of the grid. Those that it owns end here; all others go on to the host. */

import { move } from "../geometry.js";
import type { Picker } from "../picking.js";
import { has, rectangle } from "../selection.js";
import type { GridState } from "../state.js";
import type { Cell, KindChoice, TraceInfo } from "../types.js";
import type { FigureActions } from "./figure.js";

const KIND_KEYS: Record<string, KindChoice> = { h: "hidden", m: "mlp", a: "attn", t: "all" };

/** What the help panel says. The second half needs a model. */
export const KEYS: readonly (readonly [keys: string, does: string])[] = [
  ["← → ↑ ↓", "move"],
  ["Shift + move", "select a rectangle"],
  ["Home, End", "first, last layer"],
  ["Ctrl + Home, End", "first, last token and layer"],
  ["Page up, down", "10 layers"],
  ["g 1 2", "go to layer 12"],
  ["s, Shift + s", "next, last token of the subject"],
  ["Space", "select or not"],
  ["Ctrl + a", "select the row, then the plot"],
  ["Enter", "restore what is selected"],
  ["Esc", "clear, then leave"],
  ["h, m, a, t", "hidden, MLP, attention, all three"],
];
export const MODEL_KEYS: typeof KEYS = [
  ["[ ]", "smaller, larger window"],
  ["b, e", "subject begins, ends here"],
];

export function keys(state: GridState, picker: Picker, actions: FigureActions) {
  /** Digits typed after a "g"; null without one. */
  let typed: string | null = null;

  const cursorNow = (): Cell => {
    const kinds = state.kinds.value;
    const cursor = state.cursor.value;
    return cursor && kinds.includes(cursor[2]) ? cursor : [0, 0, kinds[0] ?? "hidden"];
  };

  const go = (cell: Cell) => {
    state.hover.value = null;
    picker.release();
    state.bridge.set({ cursor: cell });
  };

  function choose(info: TraceInfo, kind: KindChoice): void {
    if (kind !== "all" && !info.kinds.includes(kind)) return;
    const [pos, layer] = cursorNow();
    const cursor: Cell | null = kind === "all" ? state.cursor.value : [pos, layer, kind];
    state.bridge.set({ kind, cursor });
  }

  /** What a single letter does; undefined for letters that the host may have. */
  function letter(key: string, info: TraceInfo): (() => void) | undefined {
    const [pos, layer, kind] = cursorNow();
    const [start, stop] = info.subject_span;
    const { window, subject } = actions;
    const digits = typed;
    typed = null;
    if (digits !== null && /^\d$/.test(key))
      return () => {
        typed = digits + key;
        go([pos, Math.min(info.n_layers - 1, Number(typed)), kind]);
      };
    const chosen = KIND_KEYS[key];
    if (chosen) return () => choose(info, chosen);
    switch (key) {
      case "g":
        return () => {
          typed = "";
        };
      case "s":
        return () => go([pos >= start && pos < stop - 1 ? pos + 1 : start, layer, kind]);
      case "S":
        return () => go([pos > start && pos < stop ? pos - 1 : stop - 1, layer, kind]);
      case "?":
        return () => {
          state.helping.value = true;
        };
      case "[":
        return window && (() => window(-1));
      case "]":
        return window && (() => window(1));
      case "b":
        return subject && (() => subject(pos, Math.max(stop, pos + 1)));
      case "e":
        return subject && (() => subject(Math.min(start, pos), pos + 1));
    }
    return undefined;
  }

  function command(event: KeyboardEvent, info: TraceInfo): (() => void) | undefined {
    const { key, shiftKey: shift } = event;
    // Where brackets are typed with AltGr, the browser says Ctrl and Alt.
    const typing = event.getModifierState("AltGraph");
    const ctrl = (event.ctrlKey || event.metaKey) && !typing;
    if (event.altKey && !typing) return undefined;
    const here = cursorNow();
    const last = info.n_layers - 1;
    if (!ctrl && [...key].length === 1 && key !== " ")
      return state.bridge.get("shortcuts") ? letter(key, info) : undefined;
    typed = null;
    const moved = move(
      here,
      ctrl ? `Ctrl+${key}` : key,
      info.tokens.length,
      info.n_layers,
      state.kinds.value,
    );
    if (moved) return () => (shift ? picker.extend(moved, here) : go(moved));
    if (ctrl && key.toLowerCase() === "a" && !shift) {
      const [pos, , kind] = here;
      const row = rectangle([pos, 0, kind], [pos, last, kind]);
      return () => picker.all(row, rectangle([0, 0, kind], [info.tokens.length - 1, last, kind]), here);
    }
    if (ctrl || shift) return undefined;
    if (key === " ") return () => picker.toggle(here);
    if (key === "Enter") return () => restore(here);
    if (key === "Escape") return () => leave(event.currentTarget as HTMLElement);
    return undefined;
  }

  function restore(cell: Cell): void {
    if (has(state.selection.value, cell)) {
      actions.again();
      actions.selected(performance.now());
    } else picker.only(cell);
  }

  function leave(grid: HTMLElement): void {
    if (state.gesture.value) state.gesture.value = null;
    else if (state.selection.value.length > 0) picker.clear();
    else grid.blur();
  }

  return (event: KeyboardEvent): void => {
    const info = state.trace.value;
    const act = info && command(event, info);
    if (!act) return;
    event.stopPropagation();
    event.preventDefault();
    state.focused.value = true;
    act();
  };
}
