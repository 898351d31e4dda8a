/** The keys of the grid, explained in a dialog. */

import { html, type TemplateResult } from "lit-html";
import type { GridState } from "../state.js";
import { KEYS, MODEL_KEYS } from "./keys.js";

const MOUSE: typeof KEYS = [
  ["Click", "select one state"],
  ["Ctrl or ⌘ + click", "add it, or take it away"],
  ["Shift + click", "select as far as there"],
  ["Drag", "select a rectangle"],
  ["Alt + drag", "draw around states"],
  ["Click a token, a layer", "select its row, its column"],
  ["Double-click", "clear"],
];

const list = (keys: typeof KEYS): TemplateResult =>
  html`<dl>${keys.map(([key, does]) => html`<dt>${key}</dt><dd>${does}</dd>`)}</dl>`;

export const help = (state: GridState, live: boolean): TemplateResult => html`
  <dialog
    class="rw-help"
    aria-label="Keys and pointer"
    @keydown=${(event: Event) => event.stopPropagation()}
    @close=${(event: Event) => {
      state.helping.value = false;
      (event.target as Element).closest(".rw-figure")?.querySelector<HTMLElement>("[role=grid]")?.focus();
    }}
  >
    <form method="dialog"><button class="rw-quiet" aria-label="Close" title="Close (Esc)">✕</button></form>
    ${list(live ? [...KEYS, ...MODEL_KEYS] : KEYS)}${list(MOUSE)}
  </dialog>
`;

/** A dialog has to be asked to open. */
export function openHelp(root: ParentNode): void {
  const dialog = root.querySelector<HTMLDialogElement>(".rw-help");
  if (dialog && !dialog.open) dialog.showModal();
}
