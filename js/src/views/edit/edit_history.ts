/** The history of the edits: what each is, how well it did, whether it is applied. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import type { EditOrders } from "../../edit_orders.js";
import { probability, tokenLabel } from "../../format.js";
import type { EditRecord, EditRequest, EditTraits } from "../../types.js";
import { button, heads, type Part, space } from "../controls.js";

/** A share of prompts: its name, the head of its column, and what it says. */
export const SCORES = [
  ["efficacy", "effic.", "Share of prompts where it says the new object, all of its tokens"],
  ["paraphrase", "parap.", "The same, of the fact in other words"],
  ["neighborhood", "neigh.", "Share of prompts about other subjects where it says what it said"],
  ["others", "others", "The same, of other facts about the subject"],
] as const;
export const SIZE = "Size of the change over the size of the weights";
/** What the weights are: other words for each, and why. */
const WEIGHTS = {
  original: ["original weights ✓", "Bit for bit, the weights are what they were before any edit"],
  match: [
    "weights match the history ✓",
    "Bit for bit, the weights are what they were before any edit, plus the edits that are ticked",
  ],
  differ: [
    "weights do not match the history ✗",
    "Something else wrote to the weights: they are not what they were before any edit, plus the edits that are ticked",
  ],
} as const;

/** The prompt of a request, its subject filled in. */
export const fill = ({ template, subject }: EditRequest): string => template.replace("{}", () => subject);

export function editHistory(bridge: Bridge<EditTraits>, orders: EditOrders): TemplateResult {
  const edits = bridge.get("edits");
  const none = !orders.connected() || !edits.some((edit) => edit.applied);
  return html`<section aria-label="History">
    <header class="rw-bar-top"><h4>History</h4>${space}
      ${weights(bridge.get("ledger"))}
      ${button("revert-all", "Revert all", () => orders.give("revert_all"), undefined, none)}
    </header>
    <table class="rw-sheet rw-history">
      ${heads(
        html`<th scope="col"><span class="rw-unseen">applied</span></th>`,
        "edit",
        "layer",
        html`<th scope="col" title=${SIZE}>‖Δ‖/‖W‖</th>`,
        ...SCORES.map(([, short, title]) => html`<th scope="col" title=${title}>${short}</th>`),
        "",
      )}
      <tbody>${edits.map((edit) => line(bridge, orders, edit))}</tbody>
    </table>
  </section>`;
}

/** Whether the weights are the original ones, or what the ticked edits say, where that is known. */
function weights({ fingerprint_ok: match, original }: EditTraits["ledger"]): Part {
  if (match === null || match === undefined) return nothing;
  const [said, why] = WEIGHTS[!match ? "differ" : original ? "original" : "match"];
  return html`<span class=${`rw-weights ${match ? "rw-mute" : "rw-wrong"}`} title=${why}>${said}</span>`;
}

function line(bridge: Bridge<EditTraits>, orders: EditOrders, edit: EditRecord): TemplateResult {
  const waits = orders.waits(edit.id);
  const put = (applied: boolean) => orders.give("applied", { edit: edit.id, applied });
  const chosen = edit.id === bridge.get("selected");
  const said = remarks(edit);
  return html`<tr data-edit=${edit.id} class=${`${chosen ? "rw-chosen" : ""}${edit.applied ? "" : " rw-off"}${said.length > 0 ? " rw-noted" : ""}`}>
    <td><input type="checkbox" aria-label="applied" data-is=${edit.applied} ?disabled=${waits}
      @change=${(event: Event) => put((event.target as HTMLInputElement).checked)} /></td>
    <th scope="row"><button class="rw-pick" type="button" aria-pressed=${chosen} title="Show this edit" @click=${() => bridge.set({ selected: edit.id })}>
      ${fill(edit.request)} → <b><bdi>${tokenLabel(edit.request.target)}</bdi></b></button></th>
    <td data-head="layer" title=${edit.layer_reason}>${edit.layer}</td><td data-head="‖Δ‖/‖W‖" title=${SIZE}>${probability(edit.norm_ratio, 3)}</td>
    ${SCORES.map(([name, short, title]) => html`<td data-head=${short} title=${title}>${probability(edit.scores[name], 2)}</td>`)}
    <td>${edit.applied ? button("revert", "Revert", () => put(false), "rw-quiet", waits) : button("reapply", "Reapply", () => put(true), "rw-quiet", waits)}</td></tr>
    ${said.length > 0 ? html`<tr class=${`rw-remarks${chosen ? " rw-chosen" : ""}`}><td></td><td colspan="8">${said}</td></tr>` : nothing}`;
}

/** What is to be known of an edit besides its figures. */
function remarks({ warnings, strength }: EditRecord): TemplateResult[] {
  const said = warnings.map((each) => html`<small class="rw-attention">⚠ ${each}</small>`);
  if (strength === 1) return said;
  const weak = html`<small>strength × ${strength.toFixed(2)}; the figures above are those of × 1</small>`;
  return [...said, weak];
}
