/** One view's lifetime: root element, theme, width, drawing, keyboard; all of it ends with the signal. */

import { effect, signal } from "@preact/signals-core";
import { render, type TemplateResult } from "lit-html";
import type { Bridge } from "../model.js";
import { type GridState, gridState } from "../state.js";
import { resolve, watchTheme } from "../theme.js";
import type { GridTraits } from "../types.js";
import { type FigureHandlers, figureHandlers, paintFigure } from "./figure.js";
import type { PanelLook } from "./panel.js";

/** How long an answer may take before the page says that it is on its way. */
const PATIENCE = 150;
const SILENCE = 4000;

export interface View {
  state: GridState;
  figure: FigureHandlers;
  look(): PanelLook;
  /** False when Python has not answered for some seconds, so that what is shown is what was saved. */
  connected(): boolean;
  id: string;
}

let views = 0;

export function mount<T extends GridTraits>(
  traits: Bridge<T>,
  host: HTMLElement,
  abort: AbortSignal,
  template: (view: View) => { root: TemplateResult; attributes: Record<string, string> },
  again: () => void = () => {},
): View {
  const bridge = traits as unknown as Bridge<GridTraits>;
  const state = gridState(bridge);
  const root = document.createElement("div");
  root.className = "rw";
  host.append(root);

  const waiting = signal(false);
  const latency = signal<number | null>(null);
  const connected = signal(true);
  const selectedAt = signal<number | null>(null);
  let patience: ReturnType<typeof setTimeout> | undefined;

  const figure = figureHandlers(state, {
    selected: (at) => {
      latency.value = null;
      selectedAt.value = at;
    },
    again,
  });

  const view: View = {
    state,
    figure,
    id: `rw-${++views}`,
    connected: () => connected.value,
    look: () => ({
      waiting: waiting.value,
      latency: latency.value,
      clear: () => state.select([], state.cursor.value),
    }),
  };

  const themed = () => {
    state.theme.value = resolve(bridge.get("theme"), host);
  };
  watchTheme(themed, abort);

  const sized = () => {
    const width = root.clientWidth;
    if (width > 0) state.width.value = width;
  };
  const observer = new ResizeObserver(sized);
  observer.observe(root);
  sized();

  const endings = [
    () => observer.disconnect(),
    effect(themed),
    // The panel says "updating…" only when the answer takes long enough to be noticed.
    effect(() => {
      const missing = state.selection.value.length > 0 && state.trace.value !== null && !state.current.value;
      clearTimeout(patience);
      if (missing) patience = setTimeout(() => (waiting.value = true), PATIENCE);
      else waiting.value = false;
    }),
    () => clearTimeout(patience),
    effect(() => {
      const { root: content, attributes } = template(view);
      for (const [name, value] of Object.entries(attributes)) root.setAttribute(name, value);
      root.dataset.theme = state.theme.value;
      root.dataset.panel = state.fit.value.panel;
      render(content, root);
      // In the same effect: a canvas must be there before it can be painted.
      paintFigure(root, state);
    }),
    effect(() => {
      const since = selectedAt.value;
      if (!state.current.value || since === null) return;
      selectedAt.value = null;
      requestAnimationFrame(() => {
        latency.value = performance.now() - since;
      });
    }),
    listenForPython(bridge, (alive) => {
      connected.value = alive;
    }),
  ];
  abort.addEventListener(
    "abort",
    () => {
      for (const end of endings) end();
      root.remove();
    },
    { once: true },
  );
  return view;
}

/** Sends a nonce that Python repeats; silence for some seconds means nobody is there. */
function listenForPython(bridge: Bridge<GridTraits>, told: (alive: boolean) => void): () => void {
  const nonce = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const before = bridge.signal("_pong").peek();
  const silence = setTimeout(() => told(false), SILENCE);
  const stop = effect(() => {
    // Two views of one model send two nonces; any answer will do.
    if (bridge.get("_pong") !== before) {
      clearTimeout(silence);
      told(true);
    }
  });
  bridge.set({ _ping: nonce });
  return () => {
    clearTimeout(silence);
    stop();
  };
}
