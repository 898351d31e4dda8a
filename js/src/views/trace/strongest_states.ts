/** The strongest states as a table: what a screen reader, or a report, needs of the picture. */

import { html, type TemplateResult } from "lit-html";
import { KIND_NAMES, layerRange, tokenLabel } from "../../format.js";
import type { GridState } from "../../grid_state.js";
import type { Picker } from "../../picking.js";
import { scaleName, scaleText } from "../../scale.js";
import type { TraceInfo } from "../../types.js";
import { heads } from "../controls.js";

const MOST = 20;

export function strongest(state: GridState, picker: Picker, info: TraceInfo): TemplateResult {
  const difference = state.look.value === "change";
  return html`
    <table class="rw-table rw-strongest">
      <caption class="rw-unseen">The ${MOST} strongest states</caption>
      ${heads("", "token", "state", "restores", `${difference ? "Δ " : ""}${scaleName(state.scale.value, info, 12)}`, "")}
      <tbody>
        ${state.strongest(MOST).map(({ cell, value }, i) => {
          const [pos, layer, kind] = cell;
          const layers = state.detailOf(cell)?.layers ?? [layer, layer + 1];
          return html`<tr>
            <td>${i + 1}</td>
            <th scope="row"><bdi>${tokenLabel(info.tokens[pos] ?? "", 18)}</bdi></th>
            <td>${KIND_NAMES[kind]} ${layer}</td>
            <td>${layerRange(layers)}</td>
            <td>${scaleText(state.scale.value, value, 4, difference)}</td>
            <td><button
              class="rw-button rw-small"
              type="button"
              aria-pressed=${state.isSelected(cell)}
              aria-label=${`Select ${tokenLabel(info.tokens[pos] ?? "", 18)}, ${KIND_NAMES[kind]} layer ${layer}`}
              @click=${() => picker.toggle(cell)}
            >${state.isSelected(cell) ? "selected" : "select"}</button></td>
          </tr>`;
        })}
      </tbody>
    </table>
  `;
}
