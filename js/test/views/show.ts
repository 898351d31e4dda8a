/** A view in a page, and the hands of a person on it. Every view ends with its test. */

import { afterEach, vi } from "vitest";
import editing from "../../src/edit.js";
import recorded from "../../src/grid.js";
import sweeping from "../../src/sweep.js";
import tracing from "../../src/trace.js";
import { FakeModel } from "../fake_model.js";

const lives: AbortController[] = [];

export function show(traits: object) {
  const model = new FakeModel(traits);
  const el = document.body.appendChild(document.createElement("div"));
  const life = new AbortController();
  lives.push(life);
  const bundle =
    { grid: recorded, explorer: tracing, sweep: sweeping }[model.get("_view") as string] ?? editing;
  bundle().render({ model, el, signal: life.signal });
  const all = <T extends Element = HTMLElement>(selector: string) => [...el.querySelectorAll<T>(selector)];
  const find = <T extends Element = HTMLElement>(selector: string): T => {
    const [found] = all<T>(selector);
    if (!found) throw new Error(`nothing matches ${selector}`);
    return found;
  };
  /** The texts of what matches, with single spaces. */
  const words = (selector: string) =>
    all(selector).map((each) => each.textContent?.replace(/\s+/g, " ").trim());
  return { model, el, life, all, find, words, root: find(".rw") };
}

afterEach(() => {
  for (const life of lives.splice(0)) life.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
});

export const key = (target: Element, name: string, more: KeyboardEventInit = {}) => {
  const event = new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
};

/** A click of the mouse at the centre of a cell, on a canvas that fills 40 × 50 px. */
export function click(
  find: (selector: string) => HTMLElement,
  kind: string,
  pos: number,
  layer: number,
  more = {},
) {
  const canvas = find(`canvas[data-kind=${kind}]`);
  canvas.getBoundingClientRect = () => ({ left: 100, top: 200, width: 40, height: 50 }) as DOMRect;
  const at = {
    clientX: 100 + layer * 10 + 5,
    clientY: 200 + pos * 10 + 5,
    button: 0,
    bubbles: true,
    ...more,
  };
  canvas.dispatchEvent(new PointerEvent("pointerdown", at));
  canvas.dispatchEvent(new PointerEvent("pointerup", at));
}

/** The pointer on a plot of 10 × 10 px cells, at `[pos, layer]`; fractions lie between centres. */
export function pointer(
  find: (selector: string) => HTMLElement,
  type: string,
  kind: string,
  [pos, layer]: [number, number],
  more = {},
) {
  const canvas = find(`canvas[data-kind=${kind}]`);
  canvas.getBoundingClientRect = () => ({ left: 100, top: 200, width: 40, height: 50 }) as DOMRect;
  const at = { clientX: 100 + layer * 10 + 5, clientY: 200 + pos * 10 + 5, button: 0, bubbles: true };
  canvas.dispatchEvent(new PointerEvent(type, { ...at, ...more }));
}
type At = [pos: number, layer: number];
type Find = (selector: string) => HTMLElement;
export const press = Object.assign(
  (find: Find, kind: string, from: At, to: At, more = {}) => {
    pointer(find, "pointerdown", kind, from, more);
    pointer(find, "pointermove", kind, to, more);
  },
  { on: (find: Find, kind: string, to: At) => pointer(find, "pointermove", kind, to) },
);
export const release = (find: Find, kind: string, at: At, more = {}) =>
  pointer(find, "pointerup", kind, at, more);

export const view = (values: Float32Array): DataView => new DataView(values.buffer);
