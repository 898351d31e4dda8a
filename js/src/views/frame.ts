/** One view's root: theme, width, whether Python is there, one drawing effect; all end with the signal. */

import { effect, signal } from "@preact/signals-core";
import { render, type TemplateResult } from "lit-html";
import type { Bridge } from "../bridge.js";
import type { Theme } from "../colormap.js";
import { resolve, watchTheme } from "../theme.js";
import type { BaseTraits } from "../types.js";

const SILENCE = 4000;
/** Named keys of a widget. Together with Shift they are the host's. */
const NAMED = /^(Arrow|Page|Home|End|Enter|Escape)/;
/** Narrower than this, what stands beside the picture goes below it. */
const NARROW = 760;
/** Narrower than this, half a page or a page at 200 %, also tables are stacked. */
const SMALL = 560;

export interface Drawing {
  root: TemplateResult;
  attributes: Record<string, string>;
}

export type Frame = ReturnType<typeof frame>;

let views = 0;
const PAGE = Math.random().toString(36).slice(2);

export function frame(bridge: Bridge<BaseTraits>, host: HTMLElement, abort: AbortSignal) {
  const root = document.createElement("div");
  root.className = "rw";
  // Its style sheet hides the picture that Python displays for when there is no view.
  root.dataset.still = bridge.get("_still_name");
  host.append(root);
  root.addEventListener("keydown", keep);

  const width = signal(0);
  const theme = signal<Theme>("light");
  const connected = signal(true);

  const themed = () => (theme.value = resolve(bridge.get("theme"), host));
  watchTheme(themed, abort);
  const sized = () => {
    if (root.clientWidth > 0) width.value = root.clientWidth;
  };
  const observer = new ResizeObserver(sized);
  observer.observe(root);
  sized();

  const endings = [
    () => observer.disconnect(),
    countView(bridge),
    effect(() => void themed()),
    listenForPython(bridge, (alive) => (connected.value = alive)),
  ];
  abort.addEventListener(
    "abort",
    () => {
      for (const end of endings) end();
      root.remove();
    },
    { once: true },
  );
  return {
    width,
    theme,
    /** False when Python has not answered for some seconds, so that what is shown is what was saved. */
    connected: (): boolean => connected.value,
    id: `rw-${++views}`,
    /** Draws now and whenever something that was read changes. */
    draw: (template: () => Drawing, drawn?: (root: HTMLElement) => void) =>
      endings.push(
        effect(() => {
          const { root: content, attributes } = template();
          root.dataset.theme = theme.value;
          root.dataset.panel = width.value < NARROW ? "below" : "right";
          root.toggleAttribute("data-small", width.value < SMALL);
          for (const [name, value] of Object.entries(attributes)) root.setAttribute(name, value);
          render(content, root);
          for (const input of root.querySelectorAll<HTMLInputElement>("[data-is]")) hold(input);
          drawn?.(root);
        }),
      ),
    /** Ends with the view. */
    ends: (...more: (() => void)[]) => endings.push(...more),
  };
}

/** Tells Python how many views this page has: what nobody sees need not follow the model. */
function countView(bridge: Bridge<BaseTraits>): () => void {
  const add = (more: number) => {
    const now = bridge.signal("_views").peek();
    bridge.set({ _views: { page: PAGE, open: (now?.page === PAGE ? now.open : 0) + more } });
  };
  add(1);
  return () => add(-1);
}

/**
 * Plain keys that are pressed in a widget are meant for it. JupyterLab would go to another cell, or
 * cut this one at an "x" that nobody here listens for.
 */
function keep(event: KeyboardEvent): void {
  const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
  const plain = !(ctrlKey || metaKey || altKey);
  if (plain && (key.length === 1 || (NAMED.test(key) && !shiftKey))) event.stopPropagation();
}

/** A control shows what its trait holds, also where a person or a refusal left it elsewhere. */
function hold(input: HTMLInputElement): void {
  const value = input.dataset.is as string;
  if (input.type === "checkbox") input.checked = value === "true";
  else if (input.value !== value) input.value = value;
}

/** Sends a nonce that Python repeats; silence for some seconds means nobody is there. */
function listenForPython(bridge: Bridge<BaseTraits>, told: (alive: boolean) => void): () => void {
  const pong = bridge.signal("_pong");
  let before = pong.peek();
  let silence: ReturnType<typeof setTimeout> | undefined;
  const ask = () => {
    clearTimeout(silence);
    silence = setTimeout(() => told(false), SILENCE);
    bridge.set({ _ping: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}` });
  };
  const stop = effect(() => {
    // Two views of one model send two nonces; any answer will do.
    if (pong.value === before) return;
    before = pong.value;
    clearTimeout(silence);
    told(true);
  });
  // JupyterLab's word for a kernel that went, or came back.
  bridge.hear("comm_live_update", ask);
  ask();
  return () => {
    clearTimeout(silence);
    stop();
  };
}
