/** `EditPanel`: a fact to write, the optimisation as it runs, the history, and before and after. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { editOrders } from "../../edit_orders.js";
import type { EditRequest, EditTraits } from "../../types.js";
import { button, chip, example, header, numberFields, type Part, space } from "../controls.js";
import { frame } from "../frame.js";
import { openHelp } from "../help_dialog.js";
import { errorStrip, live, progressLine } from "../live.js";
import { lossChart, strengthSlider } from "./edit_charts.js";
import { editForm, FORM } from "./edit_form.js";
import { editHelp, editHelpButton } from "./edit_help.js";
import { editHistory, fill } from "./edit_history.js";
import { editRows } from "./edit_rows.js";

export function editView(bridge: Bridge<EditTraits>, host: HTMLElement, abort: AbortSignal): void {
  const model = live(bridge);
  const view = frame(bridge, host, abort);
  const orders = editOrders(bridge, view.connected, abort);
  const fields = numberFields();
  const strength = strengthSlider(bridge, model, view);

  const ready = () =>
    view.connected() && bridge.get("subject").trim() !== "" && bridge.get("target").trim() !== "";
  /** Whether the user is being asked if the edit shall go on top of others. */
  const asking = signal(false);
  /** The marks are being explained. */
  const helping = signal(false);
  const apply = () => {
    if (!ready() || model.busy()) return;
    asking.value = Number(bridge.get("ledger").n_active) > 0;
    if (!asking.value) applyNow();
  };
  const applyNow = (first?: "on_top" | "revert_all") => {
    asking.value = false;
    orders.give("edit", { request: bridge.pick(FORM), first });
  };
  const suggest = () => model.ask("suggest");
  /** Only what failed is done again, and an edit only after the question that comes before it. */
  const again: Record<string, () => void> = { edit: apply, suggest };
  const trouble = errorStrip(model, (cause) => (!ready() || model.busy() ? undefined : again[cause]));

  /** An edit is computed on the weights as they are: on top of another it is another edit. */
  function question(): Part {
    const count = Number(bridge.get("ledger").n_active);
    if (!asking.value || !count || !ready() || model.busy()) return nothing;
    const holds = `The model holds ${count === 1 ? "an edit" : `${count} edits`} already.`;
    return html`<div class="rw-error rw-ask" role="alert"><div>${alreadyApplied(bridge) ?? holds}</div>
      ${button("on-top", "Edit on top", () => applyNow("on_top"), "rw-button")}
      ${button("revert-first", "Revert first", () => applyNow("revert_all"), "rw-button")}
      ${button("not-now", "Not now", () => (asking.value = false), "rw-quiet")}
    </div>`;
  }

  function state(): Part {
    const steps = bridge.get("steps").length;
    const computing = orders.open().some(({ op }) => op === "edit") || steps > 0;
    /** Statistics, which may take minutes, and prefixes come before the first step. */
    const stage = steps > 0 ? `step ${steps}` : "preparing";
    return model.chip(
      view,
      computing ? `${stage} · ${model.share()}` : "changing weights",
      model.status(view) === "cancelled" ? chip("cancelled: no edit was made", "rw-attention") : nothing,
    );
  }

  /** What was done beside how strongly; below, what it did. */
  function body(): TemplateResult {
    const edit = bridge.get("edits").find(({ id }) => id === bridge.get("selected"));
    return html`<div class=${edit ? "rw-main" : "rw-ruled"}>
        <div class="rw-sheets">${edit ? editHistory(bridge, orders) : nothing}${lossChart(bridge, model, edit)}</div>
        ${edit ? html`<aside>${strength(edit)}</aside>` : nothing}
      </div>
      ${edit ? html`<div class="rw-sheets rw-ruled">${editRows(bridge)}</div>` : nothing}`;
  }

  view.draw(() => {
    const engine = bridge.get("engine");
    return {
      attributes: model.attributes(view, "edit"),
      root: html`
        ${header(bridge, "Edit a fact", `${engine.model} · ${engine.n_layers} layers`, space, state(), editHelpButton(helping))}
        ${progressLine(model, "Edit")}
        ${editForm(bridge, model, { ready, apply, suggest, fields }, question())}
        ${trouble()}
        ${bridge.get("edits").length > 0 || model.busy() ? body() : hint(bridge)}
        ${helping.value ? editHelp(helping) : nothing}
      `,
    };
  }, openHelp);
}

/** The fact of the form, where an applied edit writes it. */
function alreadyApplied(bridge: Bridge<EditTraits>): string | undefined {
  const fact = (request: EditRequest) => `“${fill(request)}” → “${request.target.trim()}”`;
  const mine = fact(bridge.pick(FORM));
  const twice = bridge.get("edits").some(({ applied, request }) => applied && fact(request) === mine);
  return twice ? `Already applied: ${mine}.` : undefined;
}

function hint(bridge: Bridge<EditTraits>): TemplateResult {
  const use = bridge.get("engine").examples.slice(0, 3);
  return html`<div class="rw-empty"><div class="rw-hint">
    <p>Name a subject and what the model should say of it. Every edit can be taken back.</p>
    ${use.map((each) =>
      example(`${fill(each)} → ${each.target}`, () => bridge.set({ ...each, method: bridge.get("method") })),
    )}
  </div></div>`;
}
