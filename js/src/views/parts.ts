/** Small parts that several views share. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { GridState } from "../state.js";
import type { KindChoice } from "../types.js";

const CHOICES: readonly (readonly [KindChoice, string])[] = [
  ["all", "All three"],
  ["hidden", "Hidden"],
  ["mlp", "MLP"],
  ["attn", "Attention"],
];

export function kindSwitch(state: GridState): TemplateResult | typeof nothing {
  const there = state.trace.value?.kinds ?? ["hidden", "mlp", "attn"];
  if (there.length < 2) return nothing;
  const chosen = state.bridge.get("kind");
  return html`
    <div class="rw-switch" role="group" aria-label="Kind of state">
      ${CHOICES.filter(([kind]) => kind === "all" || there.includes(kind)).map(
        ([kind, name]) => html`<button
          type="button"
          data-choice=${kind}
          aria-pressed=${chosen === kind}
          @click=${() => state.bridge.set({ kind })}
        >${name}</button>`,
      )}
    </div>
  `;
}

/** What hatching means, while some of it is on screen. */
export const legend = (state: GridState): TemplateResult | typeof nothing =>
  state.estimated.value
    ? html`<span
        class="rw-chip rw-legend"
        title="Hatched states are a first-order estimate; exact values replace it as they are computed."
      ><b></b>estimate</span>`
    : nothing;

export function notes(state: GridState): TemplateResult | typeof nothing {
  const said = state.trace.value?.notes ?? [];
  if (said.length === 0) return nothing;
  return html`<ul class="rw-notes">${said.map((note) => html`<li>${note}</li>`)}</ul>`;
}

/** The dotted grid of a widget that has nothing to show yet. */
export const skeleton = (hint: TemplateResult): TemplateResult => html`
  <div class="rw-empty">
    <div class="rw-skeleton" aria-hidden="true"></div>
    <div class="rw-hint">${hint}</div>
  </div>
`;
