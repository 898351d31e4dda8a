/** What a view's keys and marks mean, in a dialog that a "?" opens. */

import { html, type TemplateResult } from "lit-html";
import { iconButton } from "./controls.js";

/** A heading, and lines of what is explained and how, with a bar between them. */
export type HelpPart = readonly [heading: string, lines: string];

export const helpDialog = (
  label: string,
  parts: readonly HelpPart[],
  closed: (dialog: Element) => unknown,
): TemplateResult => html`
  <dialog
    class="rw-help"
    aria-label=${label}
    @keydown=${(event: Event) => event.stopPropagation()}
    @close=${(event: Event) => closed(event.target as Element)}
  >
    <form method="dialog"><button class="rw-quiet" aria-label="Close">✕</button></form>
    ${parts.map(
      ([heading, lines]) =>
        html`<h4>${heading}</h4><dl>${lines
          .trim()
          .split("\n")
          .map((line) => {
            const [what, means] = line.split("|");
            return html`<dt>${what}</dt><dd>${means}</dd>`;
          })}</dl>`,
    )}
  </dialog>
`;

export const helpButton = (label: string, open: () => void): TemplateResult =>
  iconButton("help", "?", label, open);

/** A dialog has to be asked to open. */
export function openHelp(root: ParentNode): void {
  const dialog = root.querySelector<HTMLDialogElement>(".rw-help");
  if (dialog && !dialog.open) dialog.showModal();
}
