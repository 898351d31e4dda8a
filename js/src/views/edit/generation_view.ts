/** `GenerationCompare`: prompts by columns, streaming; what differs is underlined and bold. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { visible } from "../../format.js";
import type { GenerationRow, GenerationTraits } from "../../types.js";
import { button, chip, header, heads, space } from "../controls.js";
import { frame } from "../frame.js";
import { errorStrip, live, progressLine } from "../live.js";

export function generationView(
  bridge: Bridge<GenerationTraits>,
  host: HTMLElement,
  abort: AbortSignal,
): void {
  const model = live(bridge);
  const view = frame(bridge, host, abort);
  const copied = signal("");
  const again = () => model.ask("generate");
  const trouble = errorStrip(model, () => again);

  view.draw(() => {
    const { model: name } = bridge.get("engine");
    const columns = bridge.get("columns");
    return {
      attributes: model.attributes(view, "generations"),
      root: html`
        ${header(
          bridge,
          "Generations",
          name,
          space,
          model.chip(
            view,
            `writing · ${model.share()}`,
            model.status(view) === "cancelled" ? chip("cancelled", "rw-attention") : nothing,
          ),
          name && view.connected()
            ? model.busy()
              ? button("cancel", "Cancel", model.cancel)
              : button("generate", "Generate", again)
            : nothing,
        )}
        ${progressLine(model, "Generation")}
        ${trouble()}
        <div class="rw-sheets rw-scroll rw-ruled">
          <table class="rw-sheet rw-generations">
            ${heads(...columns)}
            ${bridge.get("cells").map(
              (
                row,
                at,
              ) => html`<tbody><tr><th scope="rowgroup" colspan=${columns.length}>${visible(row.prompt)}</th></tr>
                <tr>${row.same ? cell(row, at, 0, columns.length) : columns.map((_, column) => cell(row, at, column, 1))}</tr></tbody>`,
            )}
          </table>
        </div>
      `,
    };
  });

  function cell(row: GenerationRow, at: number, column: number, span: number): TemplateResult {
    const spans = row.spans[column] ?? [];
    const key = `${at} ${column}`;
    const copy = async () => {
      await navigator.clipboard?.writeText(row.prompt + spans.map(([, piece]) => piece).join(""));
      copied.value = key;
    };
    return html`<td colspan=${span}>${span > 1 ? html`<small class="rw-chip">same</small> ` : nothing}<span class="rw-text">${spans.map(
      ([differs, piece], at) => (differs ? html`<u>${piece}</u>` : at || piece.trim() ? piece : ""),
    )}</span>${
      spans.some(([, piece]) => piece)
        ? button("copy", copied.value === key ? "copied ✓" : "copy", copy, "rw-quiet rw-copy")
        : nothing
    }</td>`;
  }
}
