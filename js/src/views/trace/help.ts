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
* and bracket|the subject, which the noise is on
Colour|p(answer) with the state restored; hatched: none yet, or an estimate
○|the subject’s strongest state; below: its layer and value
Frame|selected; dashed: the keyboard’s cursor
Bracket below it|the layers restored with it
○ — ●|p of a token from the left run to the right, on 0 to 1
Δ ▲ ▼|the difference: more, less`;
const MODEL_MARKS = `
path back to|the share that a small set of states is to bring back; numbered dots: its steps
A, B|what was kept, what is on screen
Flow: circle|a hidden state
Flow: square|what MLP (green), attention (red) writes
Flow: fan|what attention can read, darker where more moved
Lens: word ✓|the likeliest token is the answer`;

export const help = (state: GridState, live: boolean): TemplateResult =>
  helpDialog(
    "Keys and pointer",
    [
      ["Marks", MARKS + (live ? MODEL_MARKS : "")],
      ["Keys", KEYS + (live ? MODEL_KEYS : "")],
      ["Pointer", MOUSE],
    ],
    (dialog) => {
      state.helping.value = false;
      dialog.closest(".rw")?.querySelector<HTMLElement>("[role=grid]")?.focus();
    },
  );

/** The same for who has a pointer and does not know the key. */
export const helpButton = ({ helping }: GridState): TemplateResult =>
  button("Keys and pointer", "Marks, keys and pointer (?)", () => (helping.value = true));
