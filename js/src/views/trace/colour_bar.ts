/** The bar beside the plots: what its colours stand for, on the scale that its head chooses. */

import { html, type TemplateResult } from "lit-html";
import { gradient } from "../../colormap.js";
import { SHORT } from "../../format.js";
import { ticks } from "../../geometry.js";
import type { GridState } from "../../grid_state.js";
import { read, reading, SCALES, scaleName, scaleText } from "../../scale.js";
import type { Side } from "../../shown_grids.js";
import type { Scale, TraceInfo } from "../../types.js";

export function colourBar(state: GridState, info: TraceInfo, side: Side, height: number): TemplateResult {
  const { low, high } = state.rangeOf(side);
  const changed = side === "change";
  const scale = state.scale.value;
  const bar = Math.min(height, 264);
  const place = (value: number) => bar - ((value - low) / (high - low)) * bar;
  // Compared, each grid has runs of its own: its heading names them.
  const named = (state.comparison.value ? [] : (["clean", "corrupted"] as const)).flatMap((name) => {
    const given = info[name];
    if (given === null) return [];
    const value = read(given, state.readings.value[side]);
    return [{ value, name, y: place(value) }];
  });
  const numbers = ticks(low, high, bar < 120 ? 3 : 5).filter((value) =>
    named.every(({ y }) => Math.abs(place(value) - y) > 25),
  );
  const digits = Math.max(0, -Math.floor(Math.log10(Math.max(high, -low))) + 1);
  const number = (value: number) =>
    scale === "probability" && !changed
      ? `${Number(value.toPrecision(6))}`.replace("-", "\u2212")
      : scaleText(scale, value, digits, changed);
  const ramps = [...new Set(state.kinds.value.map((kind) => state.ramp(side, kind)))];
  return html`
    <div class="rw-bar" style="width:${state.fit.value.bar}px">
      <div class="rw-plot-title">${scaleSwitch(state, info, changed)}</div>
      <div class="rw-ramps" style="height:${bar}px" aria-hidden="true">
        ${ramps.map((ramp) => html`<span style="background:${gradient(ramp)}"></span>`)}
        <b class="rw-pointer" data-side=${side} data-height=${bar} hidden></b>
        ${numbers.map((value) => html`<i style="top:${place(value)}px">${number(value)}</i>`)}
        ${named.map(
          ({ value, name, y }) =>
            html`<i class=${`rw-named rw-end-${name}`} style="top:${y}px">${scaleText(scale, value, 3)}<em>${name}</em></i>`,
        )}
      </div>
    </div>
  `;
}

/** The name of the scale, which is also its switch where there are others. */
function scaleSwitch(state: GridState, info: TraceInfo, changed: boolean): TemplateResult {
  const scale = state.scale.value;
  const runs = [info, state.comparison.value].filter((run) => run !== null);
  const scales = SCALES.filter((each) => runs.every((run) => reading(each, run)));
  const name = (each: Scale) =>
    changed
      ? `Δ ${each === "probability" ? SHORT[info.metric] : each}`
      : each === "probability" && info.metric !== "probability"
        ? SHORT[info.metric] // Two answers have no room here.
        : scaleName(each, info, 8);
  if (scales.length < 2) return html`<bdi>${name(scale)}</bdi>`;
  return html`<select
    class="rw-scale"
    aria-label="Scale"
    title="What is measured; its rise over corrupted, the indirect effect; or the share that comes back"
    data-is=${scale}
    @change=${(event: Event) => state.bridge.set({ scale: (event.target as HTMLSelectElement).value as Scale })}
  >
    ${scales.map((each) => html`<option value=${each}>${name(each)}</option>`)}
  </select>`;
}
