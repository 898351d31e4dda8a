/** The keys of the grid, explained in a dialog. */

import { html, type TemplateResult } from "lit-html";
import type { GridState } from "../../grid_state.js";
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
export const helpButton = (state: GridState): TemplateResult => html`<button
  class="rw-quiet"
  type="button"
  data-action="help"
  aria-label="Keys and pointer"
  title="Keys and pointer (?)"
  @click=${() => {
    state.helping.value = true;
  }}
>?</button>`;

/** A dialog has to be asked to open. */
export function openHelp(root: ParentNode): void {
  const dialog = root.querySelector<HTMLDialogElement>(".rw-help");
  if (dialog && !dialog.open) dialog.showModal();
}
