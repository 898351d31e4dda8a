/** `GenerationCompare`: prompts by columns, streaming; what differs is underlined and bold. */

import { html, nothing, type TemplateResult } from "lit-html";
import { percent, visible } from "../format.js";
import type { Bridge } from "../model.js";
import { signal } from "../signals.js";
import type { GenerationRow, GenerationTraits, LiveTraits } from "../types.js";
import { frame } from "./frame.js";
import { busy, button, chip, errorStrip, header, progressLine, space, statusChip } from "./parts.js";

export function generationView(
  bridge: Bridge<GenerationTraits>,
  host: HTMLElement,
  abort: AbortSignal,
): void {
  const live = bridge as unknown as Bridge<LiveTraits>;
  const view = frame(bridge, host, abort);
  const copied = signal("");
  let requests = Date.now();
  const again = () => bridge.set({ _request: { id: ++requests, op: "generate" } });
  const trouble = errorStrip(live, again);

  view.draw(() => {
    const { model } = bridge.get("engine");
    const status = view.connected() || !busy(live) ? bridge.get("status") : "idle";
    const columns = bridge.get("columns");
    return {
      attributes: { "data-view": "generations", "data-status": status, "aria-busy": String(busy(live)) },
      root: html`
        ${header(
          bridge as never,
          "Generations",
          model,
          space,
          statusChip(
            view,
            status,
            `writing · ${percent(bridge.get("progress"))}`,
            status === "cancelled" ? chip("cancelled", "rw-attention") : nothing,
          ),
          model && view.connected()
            ? busy(live)
              ? button("cancel", "Cancel", () => bridge.set({ _cancel_id: ++requests }))
              : button("generate", "Generate", again)
            : nothing,
        )}
        ${progressLine(live, "Generation")}
        ${trouble()}
        <div class="rw-sheets rw-scroll rw-ruled">
          <table class="rw-sheet rw-generations">
            <thead><tr>${columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
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
        ? button("copy", copied.value === key ? "copied ✓" : "copy", copy, false, "rw-quiet rw-copy")
        : nothing
    }</td>`;
  }
}
