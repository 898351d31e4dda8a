/** What the views of a trace share: which kinds and which grids are shown, the legend, the notes, the empty grid. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { describe } from "../../format.js";
import type { GridState } from "../../grid_state.js";
import type { Look, Side } from "../../shown_grids.js";
import type { Comparison, ExplorerTraits, FlowInfo, KindChoice, LensInfo } from "../../types.js";
import { choice, type Part } from "../controls.js";

const CHOICES: readonly (readonly [KindChoice, string])[] = [
  ["all", "All three"],
  ["hidden", "Hidden"],
  ["mlp", "MLP"],
  ["attn", "Attention"],
];

/** What one of the compared grids is called, on its own. */
export function sideName({ names }: Comparison, side: Side): string {
  const name = side === "change" ? "difference" : names[side === "before" ? 0 : 1];
  return name.charAt(0).toUpperCase() + name.slice(1);
}

export function kindSwitch(state: GridState): Part {
  const there = state.trace.value?.kinds ?? ["hidden", "mlp", "attn"];
  if (there.length < 2) return nothing;
  const chosen = state.bridge.get("kind");
  return choice(
    "Kind of state",
    CHOICES.filter(([kind]) => kind === "all" || there.includes(kind)),
    chosen,
    (kind) => state.bridge.set({ kind }),
  );
}

/** What to show of a comparison: all of it where there is room, or one grid. */
export function lookSwitch(state: GridState): Part {
  const compared = state.comparison.value;
  if (!compared) return nothing;
  const sides = (["before", "after", "change"] as const).map((side): [Look, string] => [
    side,
    sideName(compared, side),
  ]);
  const looks: [Look, string][] = state.roomy.value ? [["together", "Side by side"], ...sides] : sides;
  return choice("What to show", looks, state.look.value, (look) => (state.chosen.value = look));
}

/** What hatching means, while some of it is on screen. */
export const legend = (state: GridState): Part =>
  state.estimated.value
    ? html`<span
        class="rw-chip rw-legend"
        title="Hatched: a first-order estimate, rough on real models; exact values replace it"
      ><b></b>estimate</span>`
    : nothing;

export function notes(state: GridState): Part {
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

/** What stands in for a flow or a lens that is not there, or beside one of another selection. */
export function placeholder(
  { trace, isOfSelection }: GridState,
  bridge: Bridge<ExplorerTraits>,
  connected: boolean,
  shown: FlowInfo | LensInfo | null,
): Part {
  if (shown && isOfSelection(shown)) return nothing;
  const said = connected
    ? bridge.get("stale")
      ? "The model was edited since this trace."
      : "Running the model…"
    : shown
      ? `As saved: restored ${describe(shown.states, trace.value?.tokens ?? []) || "nothing"}.`
      : "This needs a live model.";
  return html`<p class="rw-note" role="status">${said}</p>`;
}
