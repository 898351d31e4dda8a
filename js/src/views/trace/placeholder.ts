/** What stands in for a flow or a lens that is not there, or beside one of another selection. */

import { html, nothing } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { describe } from "../../format.js";
import { same } from "../../selection.js";
import type { ExplorerTraits, FlowInfo, LensInfo } from "../../types.js";
import type { Part } from "../controls.js";
import type { TraceFrame } from "./trace_frame.js";

export function placeholder(
  view: TraceFrame,
  bridge: Bridge<ExplorerTraits>,
  shown: FlowInfo | LensInfo | null,
): Part {
  const { trace, selection } = view.state;
  if (shown && same(shown.selection, selection.value)) return nothing;
  const said = view.connected()
    ? bridge.get("stale")
      ? "The model was edited since this trace."
      : "Running the model…"
    : shown
      ? `As saved: restored ${describe(shown.states, trace.value?.tokens ?? []) || "nothing"}.`
      : "This needs a live model.";
  return html`<p class="rw-note" role="status">${said}</p>`;
}
