/** The keys of the grid, explained in a dialog. */

import { html, type TemplateResult } from "lit-html";
import type { GridState } from "../../grid_state.js";
import { iconButton } from "../controls.js";
import { KEYS, MODEL_KEYS } from "./keyboard.js";

const MOUSE = `
Click|select
Ctrl, ⌘ + click|select or not
Shift + click, drag|select a rectangle
Alt + drag|draw around states
Token, layer|select its row, its column
Double-click|clear`;

export const help = (state: GridState, live: boolean): TemplateResult => html`
  <dialog
    class="rw-help"
    aria-label="Keys and pointer"
    @keydown=${(event: Event) => event.stopPropagation()}
    @close=${(event: Event) => {
      state.helping.value = false;
      (event.target as Element).closest(".rw")?.querySelector<HTMLElement>("[role=grid]")?.focus();
    }}
  >
    <form method="dialog"><button class="rw-quiet" aria-label="Close">✕</button></form>
    <dl>${`${KEYS}${live ? MODEL_KEYS : ""}${MOUSE}`.split("\n").map((line) => {
      const [key, does] = line.split("|");
      return html`<dt>${key}</dt><dd>${does}</dd>`;
    })}</dl>
  </dialog>
`;

/** The same for who has a pointer and does not know the key. */
export const helpButton = ({ helping }: GridState): TemplateResult =>
  iconButton("help", "?", "Keys and pointer", () => (helping.value = true), "Keys and pointer (?)");

/** A dialog has to be asked to open. */
export function openHelp(root: ParentNode): void {
  const dialog = root.querySelector<HTMLDialogElement>(".rw-help");
  if (dialog && !dialog.open) dialog.showModal();
}
