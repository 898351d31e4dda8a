/** The frame of a view of a trace: what is derived from its traits, its picture, its pointer and its keyboard. */

import { effect, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Bridge } from "../../bridge.js";
import { type GridState, gridState } from "../../grid_state.js";
import type { GridTraits } from "../../types.js";
import { type Drawing, type Frame, frame } from "../frame.js";
import { openHelp } from "../help_dialog.js";
import { drawDetail, speak } from "./detail_line.js";
import { type FigureHandlers, figureHandlers, paintFigure } from "./figure.js";
import type { FigureActions } from "./keyboard.js";
import { drawPointing, drawRow } from "./overlay.js";
import { drawLabels } from "./token_labels.js";

/** How long an answer may take before the page says that it is on its way. */
const PATIENCE = 150;

export interface TraceFrame extends Frame {
  state: GridState;
  figure: FigureHandlers;
  /** The answer has been on its way for a while. */
  waiting: ReadonlySignal<boolean>;
  /** Milliseconds from the pointer to the paint of the present answer. */
  latency: ReadonlySignal<number | null>;
}

export function traceFrame(
  bridge: Bridge<GridTraits>,
  host: HTMLElement,
  abort: AbortSignal,
  template: (view: TraceFrame) => Drawing,
  actions: Partial<FigureActions> = {},
  painted: (root: ParentNode, view: TraceFrame) => void = () => {},
): TraceFrame {
  const made = frame(bridge, host, abort);
  const state = gridState(bridge, made.width, made.theme);

  const waiting = signal(false);
  const latency = signal<number | null>(null);
  const selectedAt = signal<number | null>(null);
  /** Another object after every drawing. */
  const drawn = signal<{ root: HTMLElement } | null>(null);
  let patience: ReturnType<typeof setTimeout> | undefined;

  const figure = figureHandlers(state, {
    selected: (at) => {
      latency.value = null;
      selectedAt.value = at;
    },
    again: () => {},
    ...actions,
  });

  /** How tall the panel was, of which prompt and in which width. */
  let room = { of: "", height: 0 };
  /** It stays as tall as it was: the next click must not move what is below. */
  function keepRoom(root: HTMLElement): void {
    const panel = root.querySelector<HTMLElement>("aside .rw-panel");
    if (!panel) return;
    const of = `${made.width.value} ${state.trace.value?.prompt}`;
    panel.style.minHeight = room.of === of ? `${room.height}px` : "";
    room = { of, height: panel.offsetHeight };
  }

  const view: TraceFrame = { ...made, state, figure, waiting, latency };

  made.ends(
    // The panel says "updating…" only when the answer takes long enough to be noticed.
    effect(() => {
      const asked = state.selection.value.length > 0 && state.trace.value !== null;
      const missing = asked && !state.current.value && made.connected();
      clearTimeout(patience);
      if (missing) patience = setTimeout(() => (waiting.value = true), PATIENCE);
      else waiting.value = false;
    }),
    () => clearTimeout(patience),
  );
  // In the same effect: a canvas must be there before it can be painted.
  made.draw(
    () => {
      const { root, attributes } = template(view);
      return { root, attributes: { ...attributes, "data-panel": state.fit.value.panel } };
    },
    (root) => {
      keepRoom(root);
      paintFigure(root, state);
      painted(root, view);
      openHelp(root);
      drawn.value = { root };
    },
  );
  // By themselves: what follows the pointer must not draw everything again.
  const each = (draw: (root: HTMLElement) => void) =>
    effect(() => {
      if (drawn.value) draw(drawn.value.root);
    });
  made.ends(
    each((root) => drawLabels(root, state)),
    each((root) => drawPointing(root, state)),
    each((root) => drawRow(root, state, view.id)),
    each((root) => drawDetail(root, state)),
    speak(() => drawn.peek()?.root, state),
    effect(() => {
      const since = selectedAt.value;
      if (!state.current.value || since === null) return;
      selectedAt.value = null;
      requestAnimationFrame(() => (latency.value = performance.now() - since));
    }),
  );
  return view;
}
