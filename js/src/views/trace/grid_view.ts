/** `TraceGrid`: a recorded trace. */

import { html, nothing } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { tokenLabel } from "../../format.js";
import type { GridTraits, TraceInfo } from "../../types.js";
import { header, space } from "../controls.js";
import { detailLine } from "./detail_line.js";
import { figure } from "./figure.js";
import { panel } from "./restoration_panel.js";
import { kindSwitch, legend, lookSwitch, notes, skeleton } from "./trace_controls.js";
import { traceFrame } from "./trace_frame.js";

export function gridView(bridge: Bridge<GridTraits>, host: HTMLElement, abort: AbortSignal): void {
  traceFrame(bridge, host, abort, (view) => {
    const { state } = view;
    const info = state.trace.value;
    return {
      attributes: { "data-view": "grid", "data-status": "static" },
      root: html`
        ${header(
          bridge,
          "Causal trace",
          info ? `${info.model} · ${info.n_layers} layers` : "",
          html`<span class="rw-chip rw-quietly">recorded</span>`,
          legend(state),
          space,
          lookSwitch(state),
          kindSwitch(state),
        )}
        ${info ? sentence(info) : nothing}
        ${
          info
            ? html`<div class="rw-main">
                <div class="rw-picture">${figure(state, view.figure)}</div>
                <aside>${panel(view)}${notes(state)}</aside>
              </div>`
            : skeleton(html`<p>This trace is empty.</p>`)
        }
        ${detailLine(state)}
      `,
    };
  });
}

/** The prompt as a sentence, the subject underlined, and where it leads. */
function sentence(info: TraceInfo) {
  const at = info.subject ? info.prompt.lastIndexOf(info.subject) : -1;
  const cut = at < 0 ? 0 : at;
  const end = at < 0 ? 0 : at + info.subject.length;
  return html`
    <div class="rw-prompt">
      <p class="rw-sentence">${info.prompt.slice(0, cut)}${
        at < 0 ? nothing : html`<mark>${info.subject}</mark>`
      }${info.prompt.slice(end)} <span class="rw-leads">→ <bdi>${tokenLabel(info.answer)}</bdi></span></p>
    </div>
    <div class="rw-controls rw-mute">
      ${
        info.other_subject
          ? html`<span>in place of the subject <b><bdi>${info.other_subject}</bdi></b></span>`
          : html`<span>noise <b>${info.noise}</b></span><span>samples <b>${info.samples}</b></span>`
      }
      ${info.seed === null ? nothing : html`<span>seed <b>${info.seed}</b></span>`}
    </div>
  `;
}
