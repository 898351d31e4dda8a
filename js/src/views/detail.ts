/** The line below the picture: the cell under the pointer or the cursor, in words and numbers. */

import { html, nothing, type TemplateResult } from "lit-html";
import {
  ARROWS,
  direction,
  estimated,
  KIND_NAMES,
  layerRange,
  percent,
  probability,
  signed,
  tokenLabel,
} from "../format.js";
import type { GridState } from "../state.js";
import { change } from "./parts.js";

export function detailLine(state: GridState): TemplateResult {
  const info = state.trace.value;
  const detail = state.detail.value;
  if (!info) return html``;
  if (!detail)
    return html`<div class="rw-detail rw-mute" role="status">
      <span>Point at a state to read it.</span>
    </div>`;
  const [pos, layer, kind] = detail.cell;
  const answer = html`p(<bdi>${tokenLabel(info.answer)}</bdi>)`;
  const compared = !Number.isNaN(detail.change);
  const [start, stop] = info.subject_span;
  const rise = info.corrupted === null ? null : detail.score - info.corrupted;
  const effect = info.clean === null || info.corrupted === null ? 0 : info.clean - info.corrupted;
  const way = direction(rise);
  const computed = !Number.isNaN(detail.score);
  return html`
    <div class="rw-detail" role="status">
      <span class="rw-where">
        <b>“<bdi>${tokenLabel(info.tokens[pos] ?? "")}</bdi>”${pos >= start && pos < stop ? "*" : ""}, ${KIND_NAMES[kind]} layer ${layer}</b>
        ${
          detail.layers[1] - detail.layers[0] > 1
            ? html`<span class="rw-mute">(${layerRange(detail.layers)} restored)</span>`
            : nothing
        }
      </span>
      ${
        compared
          ? html`<span>${answer} ${state.comparison.value?.names[0]} <b>${probability(detail.before)}</b></span>
              <span>${state.comparison.value?.names[1]} <b>${probability(detail.score)}</b></span>
              <span>difference ${change(detail.change, 4)}</span>`
          : computed
            ? html`<span>${answer} <b>${probability(detail.score)}</b></span>
              ${
                rise === null
                  ? nothing
                  : html`<span class=${`rw-change rw-${way}`}>${signed(rise)} <i aria-hidden="true">${ARROWS[way]}</i> over corrupted</span>`
              }
              ${effect <= 0 || rise === null ? nothing : html`<span class="rw-mute">recovery ${percent(rise / effect)}</span>`}`
            : Number.isNaN(detail.estimate)
              ? html`<span class="rw-mute">not computed</span>`
              : html`<span>${answer} <i>${estimated(detail.estimate)}</i></span>`
      }
    </div>
  `;
}
