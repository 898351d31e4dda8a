/** The path that brings the prediction back: its line through a plot, and its steps in the panel. */

import { html, nothing, svg, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { describe, percent, probability, stateCount } from "../../format.js";
import type { GridState } from "../../grid_state.js";
import type { Cell, ExplorerTraits, Kind, PathInfo } from "../../types.js";
import { button, type numberFields, type Part } from "../controls.js";
import type { Live } from "../live.js";
import { formula } from "./formula.js";

/** The path of an explorer, where one was looked for. */
export function pathOf(bridge: Bridge<ExplorerTraits>): PathInfo | null {
  const path = bridge.get("_path");
  return Array.isArray(path.states) ? (path as PathInfo) : null;
}

/** The path's cells of one kind, each with its step; a set, not a route: what is restored is overwritten. */
export function pathMarks(state: GridState, path: PathInfo | null, kind: Kind): TemplateResult[] {
  const { cell } = state.fit.value;
  const middle = ([pos, layer]: Cell) => [(layer + 0.5) * cell.w, (pos + 0.5) * cell.h] as const;
  return steps(state, path, middle, Math.min(cell.w, cell.h) >= 12, (each) => each[2] === kind);
}

/** The path's states that are shown, numbered where there is room. */
export function steps(
  state: GridState,
  path: PathInfo | null,
  middle: (cell: Cell) => readonly [number, number],
  named: boolean,
  shown: (cell: Cell) => boolean = () => true,
): TemplateResult[] {
  return (path?.states ?? []).flatMap((each, i) => {
    if (!shown(each) || !state.detailOf(each)) return [];
    const [x, y] = middle(each);
    return [
      svg`<circle class="rw-step" cx=${x} cy=${y} r=${named ? 6 : 2.5} />`,
      ...(named ? [svg`<text class="rw-step" x=${x} y=${y}>${i + 1}</text>`] : []),
    ];
  });
}

/** Below the restoration: look for a path, follow the search, read its steps. */
export function pathPanel(
  bridge: Bridge<ExplorerTraits>,
  model: Live,
  state: GridState,
  connected: boolean,
  fields: ReturnType<typeof numberFields>,
): TemplateResult {
  const path = pathOf(bridge);
  const running = path?.running && connected;
  if (!connected)
    return path
      ? html`<section class="rw-path" aria-label="Path">${found(path, state, false)}</section>`
      : html``;
  return html`<section class="rw-path" aria-label="Path">
    <div class="rw-row-top">
      <label class="rw-field" title="The share of the fact that a set of states is to bring back">path back to
        ${fields({
          name: "recovery",
          value: Math.round(bridge.get("recovery") * 100),
          set: (value) => bridge.set({ recovery: (value ?? 100) / 100 }),
          width: 3.5,
          min: 1,
          max: 100,
        })} %</label>
      <span class="rw-space"></span>
      ${
        running
          ? button("stop_path", "Stop", () => model.ask("stop_path"))
          : button(
              "path",
              path ? "Find again" : "Find path",
              () => model.ask("path"),
              undefined,
              !state.trace.value,
            )
      }
    </div>
    ${path ? found(path, state, running) : nothing}
  </section>`;
}

function found(path: PathInfo, state: GridState, running: boolean | undefined): Part {
  const { states, clean, corrupted, target } = path;
  const tokens = state.trace.value?.tokens ?? [];
  const share = (p: number | undefined) => ((p ?? corrupted) - corrupted) / (clean - corrupted);
  const total = share(path.scores.at(-1));
  const short = !path.reached && !running;
  const doing = path.reached ? "reached, looking for fewer: " : "looking: ";
  return html`
    <p role="status">${
      running ? html`<i class="rw-pulse"></i> ${doing}` : nothing
    }<b>${stateCount(states.length)}</b> bring${states.length === 1 ? "s" : ""} <b>${path.reached ? percent(total) : below(total, target)}</b> back${
      short ? html`<span class="rw-attention">, not ${percent(target)}</span>` : nothing
    } <span class="rw-mute">· ${path.n_restored} sets tried</span></p>
    ${running ? html`<div class="rw-track"><span style="width:${Math.max(0, Math.min(1, total / target)) * 100}%"></span></div>` : nothing}
    <ol class="rw-steps">
      ${states.map(
        (cell, i) => html`<li
          @pointerenter=${() => (state.hover.value = cell)}
          @pointerleave=${() => (state.hover.value = null)}
        ><span>${describe([cell], tokens)}</span>
          <span>${i ? "→ " : html`${formula(path, 10)} `}${probability(path.scores[i], 2)}</span><b>${percent(share(path.scores[i]))}</b></li>`,
      )}
    </ol>
    ${states.length > 0 && !running ? button("select_path", "Select these", () => state.selectStates(states)) : nothing}
  `;
}

/** A share that does not reach another one, written so that it does not look as if it did. */
const below = (share: number, target: number): string =>
  percent(share) === percent(target)
    ? `${(Math.floor(share * 1000) / 10).toFixed(1)}\u202f%`
    : percent(share);
