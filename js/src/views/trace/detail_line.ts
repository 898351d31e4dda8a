/** The line below the picture: the cell under the pointer or the cursor, in words and numbers. */

import { effect } from "@preact/signals-core";
import { html, nothing, render, type TemplateResult } from "lit-html";
import {
  ARROWS,
  direction,
  estimated,
  KIND_NAMES,
  layerRange,
  probability,
  tokenLabel,
} from "../../format.js";
import { inSubject } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { read, reading, SCALES, scaleText } from "../../scale.js";
import type { Detail } from "../../selected_states.js";
import type { Scale, TraceInfo } from "../../types.js";
import { button, change } from "../controls.js";
import { formula } from "./formula.js";
import { helpButton } from "./help.js";

/** Milliseconds that the line must rest before it is read out. */
const SETTLED = 400;

/** Its place, with the ways to more; `drawDetail` fills it. */
export function detailLine(state: GridState): TemplateResult {
  if (!state.trace.value) return html``;
  const listed = state.listed.value;
  return html`
    <div class="rw-detail">
      <div class="rw-said"></div>
      <span class="rw-more">
        ${button(
          "table",
          `View as ${listed ? "picture" : "table"}`,
          () => (state.listed.value = !listed),
          "rw-quiet",
        )}
        ${helpButton(state)}
      </span>
      <p class="rw-unseen rw-spoken" role="status"></p>
    </div>
  `;
}

export function drawDetail(root: HTMLElement, state: GridState): void {
  const place = root.querySelector<HTMLElement>(".rw-said");
  const [info, detail] = [state.trace.value, state.detail.value];
  if (!place || !info) return;
  render(
    detail ? said(state, info, detail) : html`<span class="rw-mute">Point at a state to read it.</span>`,
    place,
  );
}

/** Repeats the line for screen readers when it has come to rest; returns an end. */
export function speak(root: () => HTMLElement | undefined, state: GridState): () => void {
  let pause: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const known = state.detail.value !== null;
    clearTimeout(pause);
    if (!known) return;
    pause = setTimeout(() => {
      const [line, spoken] = [".rw-said", ".rw-spoken"].map((name) => root()?.querySelector(name));
      if (line && spoken) spoken.textContent = line.textContent?.replace(/\s+/g, " ").trim() ?? "";
    }, SETTLED);
  });
  return () => {
    clearTimeout(pause);
    stop();
  };
}

function said(state: GridState, info: TraceInfo, detail: Detail): TemplateResult {
  const [pos, layer, kind] = detail.cell;
  return html`
    <span class="rw-where">
      <b>“<bdi>${tokenLabel(info.tokens[pos] ?? "")}</bdi>”${inSubject(info, pos) ? "*" : ""}, ${KIND_NAMES[kind]} layer ${layer}</b>
      ${
        detail.layers[1] - detail.layers[0] > 1
          ? html` <span class="rw-mute">(${layerRange(detail.layers)} restored)</span>`
          : nothing
      }
    </span>
    ${numbers(state, info, detail)}
  `;
}

/** What is known of a state, as it is, over corrupted and as a share. */
export function numbers(state: GridState, info: TraceInfo, detail: Omit<Detail, "cell" | "layers">): unknown {
  const answer = formula(info);
  if (!Number.isNaN(detail.change))
    return html`<span>${answer} ${state.comparison.value?.names[0]} <b>${probability(detail.before)}</b></span>
      <span>${state.comparison.value?.names[1]} <b>${probability(detail.score)}</b></span>
      <span>difference ${differs(state, detail.change)}</span>`;
  if (Number.isNaN(detail.score))
    return Number.isNaN(detail.estimate)
      ? html`<span class="rw-mute">not computed</span>`
      : html`<span>${answer} <i>${estimated(detail.estimate)}</i></span>`;
  const told = (scale: Scale) => {
    const of = reading(scale, info);
    const value = of && read(detail.score, of);
    if (value === null) return nothing;
    const text = scaleText(scale, value);
    const number = scale === state.scale.value ? html`<b>${text}</b>` : text;
    if (scale === "probability") return html`<span>${answer} ${number}</span>`;
    if (scale === "share") return html`<span class="rw-mute">recovery ${number}</span>`;
    const way = direction(value);
    return html`<span class=${`rw-change rw-${way}`}>${number} <i aria-hidden="true">${ARROWS[way]}</i> over corrupted</span>`;
  };
  return SCALES.map(told);
}

/** A difference on the scale shown. */
const differs = (state: GridState, value: number): TemplateResult =>
  state.scale.value === "share"
    ? html`<span class=${`rw-change rw-${direction(value)}`}>${scaleText("share", value, 4, true)}</span>`
    : change(value, 4);
