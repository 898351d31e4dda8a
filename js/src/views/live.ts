/** What every view with a model behind it has: a status, requests of which the latest wins, and a stop. */

import { percent } from "../format.js";
import type { Bridge } from "../model.js";
import type { LiveTraits, Status } from "../types.js";
import type { Frame } from "./frame.js";
import { chip, type Part } from "./parts.js";

export interface Live {
  bridge: Bridge<LiveTraits>;
  /** A number larger than all before, also than those of a page that was open earlier. */
  next(): number;
  ask(op: string, more?: object): void;
  cancel(): void;
  busy(): boolean;
  /** What to show; a model that does not answer is not busy. */
  status(frame: Frame): Status;
  attributes(frame: Frame, view: string): Record<string, string>;
  /** The share that is done, in words. */
  share(): string;
  /** The state in a chip; `running` and `done` in the view's own words. */
  chip(frame: Frame, running: unknown, done: Part): Part;
}

export function live<T extends LiveTraits>(traits: Bridge<T>): Live {
  const bridge = traits as unknown as Bridge<LiveTraits>;
  let count = Date.now();
  const next = () => ++count;
  const busy = () => ["queued", "running"].includes(bridge.get("status"));
  const status = (frame: Frame) => (frame.connected() || !busy() ? bridge.get("status") : "idle");
  return {
    bridge,
    next,
    ask: (op, more) => bridge.set({ _request: { ...more, id: next(), op } }),
    cancel: () => bridge.set({ _cancel_id: next() }),
    busy,
    status,
    attributes: (frame, view) => ({
      "data-view": view,
      "data-status": status(frame),
      "aria-busy": String(busy()),
    }),
    share: () => percent(bridge.get("progress")),
    chip: (frame, running, done) => {
      const now = status(frame);
      if (!frame.connected()) return chip("Python is not answering: what was saved is shown", "rw-attention");
      if (now === "queued") return chip("waiting for the model");
      return now === "running" ? chip(running) : done;
    },
  };
}
