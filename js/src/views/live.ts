/** What every view with a model behind it has: a status, requests of which the latest wins, a stop, progress, errors. */

import { effect, signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../bridge.js";
import { duration, percent } from "../format.js";
import type { ErrorInfo, LiveTraits, Status } from "../types.js";
import { button, chip, iconButton, type Part } from "./controls.js";
import type { Frame } from "./frame.js";

const A_SECOND = 1000;
const NOT_LONG = { ms: 0, from: 0 };

export type Live = ReturnType<typeof live>;

export function live(bridge: Bridge<LiveTraits>) {
  const elapsed = signal(NOT_LONG);
  let count = Date.now();
  /** A number larger than all before, also than those of a page that was open earlier. */
  const next = () => ++count;
  /** By how fast it went; before anything is done, by the plan if there is one. */
  const left = (ms: number, done: number, from: number) => {
    if (done > from) return `, ${duration((ms * (1 - done)) / (done - from))} left`;
    const planned = A_SECOND * bridge.get("expected_seconds");
    return planned > ms ? `, about ${duration(planned - ms)} left` : "";
  };
  const busy = () => ["queued", "running"].includes(bridge.get("status"));
  /** What to show; a model that does not answer is not busy. */
  const status = (frame: Frame): Status => (frame.connected() || !busy() ? bridge.get("status") : "idle");
  return {
    bridge,
    next,
    ask: (op: string, more?: object) => bridge.set({ _request: { ...more, id: next(), op } }),
    cancel: () => bridge.set({ _cancel_id: next() }),
    busy,
    status,
    attributes: (frame: Frame, view: string) => ({
      "data-view": view,
      "data-status": status(frame),
      "aria-busy": String(busy()),
    }),
    /** The share that is done, in words; after a second also how long it took and will take. */
    share: (): string => {
      const done = bridge.get("progress");
      const { ms, from } = elapsed.value;
      if (ms < A_SECOND) return percent(done);
      return `${percent(done)} · ${duration(ms)}${left(ms, done, from)}`;
    },
    /** Measures how long a run takes, until the view ends. */
    clock: (frame: Frame): void => {
      let ticking: ReturnType<typeof setInterval> | undefined;
      frame.ends(
        effect(() => {
          clearInterval(ticking);
          elapsed.value = NOT_LONG;
          if (bridge.get("status") !== "running") return;
          const [began, from] = [performance.now(), bridge.signal("progress").peek()];
          ticking = setInterval(
            () => (elapsed.value = { ms: performance.now() - began, from }),
            A_SECOND / 2,
          );
        }),
        () => clearInterval(ticking),
      );
    },
    /** The state in a chip; `running` and `done` in the view's own words. */
    chip: (frame: Frame, running: unknown, done: Part): Part => {
      const now = status(frame);
      if (!frame.connected()) return chip("Kernel not connected: showing saved results", "rw-attention");
      if (now === "queued")
        return chip("waiting for the model", "", "It is busy: a cell or another widget runs it.");
      return now === "running" ? chip(running) : done;
    },
  };
}

/** The thin line above the header while something runs. */
export const progressLine = ({ bridge, busy }: Live, label: string): TemplateResult => html`
  <div class="rw-progress" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.round(bridge.get("progress") * 100)} ?hidden=${!busy()}>
    <span style="width:${bridge.get("progress") * 100}%"></span>
  </div>
`;

/**
 * The red strip. It goes when it is dismissed, or when Python says that all is well.
 * "Try again" does what `again` gives for what failed; where that is nothing there is no button.
 */
export function errorStrip({ bridge }: Live, again: (cause: string) => (() => void) | undefined): () => Part {
  const dismissed = signal<ErrorInfo | null>(null);
  return () => {
    const error = bridge.get("error");
    if (!error || dismissed.value === error) return nothing;
    const retry = again(error.cause);
    return html`
      <div class="rw-error" role="alert">
        <div>
          <b>${error.found || error.message}</b>
          ${error.wanted ? html`<p>${error.wanted}</p>` : nothing}
          ${error.remedy ? html`<p>${error.remedy}</p>` : nothing}
          <details><summary>${error.type}</summary><pre>${error.traceback}</pre></details>
        </div>
        ${
          retry && error.fix
            ? button(
                "fix",
                error.fix.label,
                () => {
                  bridge.set(error.fix?.values ?? {}, { send: false });
                  retry();
                },
                "rw-button rw-small rw-primary",
              )
            : nothing
        }
        ${retry ? button("retry", "Try again", retry) : nothing}
        ${iconButton("dismiss", "✕", "Dismiss", () => (dismissed.value = error))}
      </div>
    `;
  };
}
