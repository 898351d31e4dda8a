/** The keys and the marks of the grid, explained in a dialog. */

import type { TemplateResult } from "lit-html";
import type { GridState } from "../../grid_state.js";
import { helpButton as button, helpDialog } from "../help_dialog.js";
import { KEYS, MODEL_KEYS } from "./keyboard.js";

const MOUSE = `
Click|select
Ctrl, ⌘ + click|select or not
Shift + click, drag|select a rectangle
Alt + drag|draw around states
Token, layer|select its row, its column
Double-click|clear`;

/** Every mark that is drawn somewhere on the page. */
const MARKS = `
* and bracket|the subject: the noise is on it
Colour|p(answer) with the state restored; hatched: not computed, or an estimate
○|the subject’s strongest state
Frame|selected; dashed: the cursor
Bracket below|the layers restored with it
○ — ●|p in the left run and in the right one
Δ ▲ ▼|the difference: more, less`;
const MODEL_MARKS = `
heads|what single heads of an attention bring back
path back to|the share that a few states are to bring back; dots: its steps
Flow: circle|a hidden state
Flow: square|what MLP (green), attention (red) write
Lens ✓|the answer is the likeliest`;

const LABEL = "Keys and pointer";

export const help = (state: GridState, live: boolean): TemplateResult =>
  helpDialog(
    LABEL,
    [
      ["Marks", MARKS + (live ? MODEL_MARKS : "")],
      [LABEL, KEYS + (live ? MODEL_KEYS : "") + MOUSE],
    ],
    (dialog) => {
      state.helping.value = false;
      dialog.closest(".rw")?.querySelector<HTMLElement>("[role=grid]")?.focus();
    },
  );

/** The same for who has a pointer and does not know the key. */
export const helpButton = ({ helping }: GridState): TemplateResult =>
  button(LABEL, () => (helping.value = true));
