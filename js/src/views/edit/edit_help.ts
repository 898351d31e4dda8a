/** What the words and marks of an edit mean, in a dialog. */

import type { Signal } from "@preact/signals-core";
import type { TemplateResult } from "lit-html";
import { helpButton, helpDialog } from "../help_dialog.js";
import { SCORES, SIZE } from "./edit_history.js";
import { DELTA } from "./edit_rows.js";

const FORM_HELP = `
from trace|the MLP layer that brings most back
v*|what the layer is to write at the subject, optimised
nll, KL|−log p(new object); how far other predictions move`;

const HISTORY_HELP = `
‖Δ‖/‖W‖|${SIZE}
${SCORES.map(([, short, says]) => `${short}|${says}`).join("\n")}
Δ ▲ ▼|${DELTA}
✓ ✗|as an edit should leave it, or not
bled|what should stay says the new object`;

const LABEL = "Words and marks";

export const editHelp = (helping: Signal<boolean>): TemplateResult =>
  helpDialog(
    LABEL,
    [
      ["Making an edit", FORM_HELP],
      ["What it did", HISTORY_HELP],
    ],
    () => (helping.value = false), // The focus goes back by itself.
  );

export const editHelpButton = (helping: Signal<boolean>): TemplateResult =>
  helpButton(LABEL, () => (helping.value = true));
