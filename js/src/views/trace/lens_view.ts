/** The logit lens: what each layer of each run would say, and how the answer climbs. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { probability, tokenLabel } from "../../format.js";
import { PANEL_WIDTH } from "../../geometry.js";
import type { ExplorerTraits, LensInfo, LensRun } from "../../types.js";
import { type Curve, curves, EDGE } from "../line_chart.js";
import { placeholder } from "./trace_controls.js";
import type { TraceFrame } from "./trace_frame.js";

/** Room for a token of average length. */
const NARROWEST = 52;
const NAMES = 74;
const STEPS: Record<string, readonly [run: number, layer: number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function lensPage(bridge: Bridge<ExplorerTraits>) {
  /** The cell spoken about. */
  const at = signal<readonly [run: number, layer: number] | null>(null);

  const given = (): LensInfo | null => {
    const info = bridge.get("_lens");
    return "runs" in info ? (info as LensInfo) : null;
  };
  /** The runs that belong to what is selected: the restored one only to its own selection. */
  const shown = (view: TraceFrame): LensRun[] => {
    const info = given();
    const mine = !view.connected() || view.state.isOfSelection(info);
    return (info?.runs ?? []).filter(({ name }) => mine || name !== "restored");
  };

  function picture(view: TraceFrame): TemplateResult {
    const info = given();
    const runs = shown(view);
    const layers = view.state.trace.value?.n_layers ?? 0;
    const { panel } = view.state.fit.value;
    const room = (view.width.value || 900) - (panel === "side" ? PANEL_WIDTH : 0) - NAMES - 36;
    const wide = Math.max(NARROWEST, Math.floor(room / layers));
    const most = Math.max(2, ...runs.flatMap(({ ranks }) => ranks));
    const highest = Math.max(0.01, ...runs.flatMap(({ probabilities }) => probabilities.map((p) => p ?? 0)));
    const chart = (label: string, ends: readonly [string, string], top: number, lines: Curve[]) => html`
      <div class="rw-climb">
        <span><i>${ends[0]}</i>${label}<i>${ends[1]}</i></span>
        <div style="width:${(layers - 1) * wide + 2 * EDGE}px;margin-left:${wide / 2 - EDGE}px">
          ${curves(label, (layers - 1) * wide + 2 * EDGE, 92, [layers - 1, top], lines, at.value?.[1])}
        </div>
      </div>`;
    const line = (values: readonly (number | null)[]): Curve => values.map((value, layer) => [layer, value]);
    if (!info) return html`${placeholder(view.state, bridge, view.connected(), info)}`;
    const answer = html`<bdi>${tokenLabel(info.answer)}</bdi>`;
    return html`
      <table class="rw-lens" style="width:${NAMES + layers * wide}px" role="grid" tabindex="0" aria-label="The likeliest next token after each layer"
        aria-activedescendant=${at.value ? `${view.id}-lens` : nothing} @keydown=${(event: KeyboardEvent) => key(event, runs.length, layers)}>
        <thead><tr><th scope="col" style="width:${NAMES}px">after layer</th>${Array.from(
          { length: layers },
          (_, layer) => html`<th scope="col" style="width:${wide}px">${layer}</th>`,
        )}</tr></thead>
        <tbody>${runs.map(
          (run, i) =>
            html`<tr><th scope="row">${run.name}</th>${run.top.map(
              (top, layer) => html`<td
              id=${at.value?.[0] === i && at.value[1] === layer ? `${view.id}-lens` : nothing}
              class=${`${run.ranks[layer] === 1 ? "rw-answer" : ""}${at.value?.[0] === i && at.value[1] === layer ? " rw-at" : ""}`}
              style="--rw-share:${run.probabilities[layer] ?? 0}"
              title=${told(top)}
              @pointerenter=${() => (at.value = [i, layer])}
            ><bdi>${tokenLabel(top[0]?.[0] ?? "", 12)}</bdi>${run.ranks[layer] === 1 ? html`<i aria-label="the answer">✓</i>` : nothing}</td>`,
            )}</tr>`,
        )}</tbody>
      </table>
      <p class="rw-keys">${runs.map(({ name }, i) => html`<span class=${`rw-key-${i}`}>${"○□△◇"[i]} ${name}</span>`)}</p>
      ${chart(
        `p(${tokenLabel(info.answer)})`,
        [highest.toFixed(2), "0"],
        highest,
        runs.map(({ probabilities }) => line(probabilities)),
      )}
      ${chart(
        "rank",
        ["1", String(most)],
        Math.log(most),
        runs.map(({ ranks }) => line(ranks.map((rank) => Math.log(most / rank)))),
      )}
      <p class="rw-caption">What the model’s own head would say after each layer at the last token. Blue: p(${answer}); ✓ where ${answer} is the likeliest.</p>
      ${placeholder(view.state, bridge, view.connected(), info)}
    `;
  }

  function key(event: KeyboardEvent, runs: number, layers: number): void {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // JupyterLab listens for the same keys above us; these are ours.
    event.stopPropagation();
    event.preventDefault();
    const [run, layer] = at.value ?? [0, -1];
    at.value = [
      Math.max(0, Math.min(runs - 1, run + step[0])),
      Math.max(0, Math.min(layers - 1, layer + step[1])),
    ];
  }

  function detail(view: TraceFrame): TemplateResult {
    const [i, layer] = at.value ?? [0, 0];
    const run = at.value && shown(view)[i];
    const top = run?.top[layer];
    return html`<div class="rw-detail" role="status">${
      run && top
        ? html`<span><b>${run.name}, after layer ${layer}</b>: <bdi>${told(top)}</bdi></span>
            <span class="rw-mute">p(<bdi>${tokenLabel(given()?.answer ?? "")}</bdi>) ${probability(run.probabilities[layer])}, rank ${run.ranks[layer]}</span>`
        : html`<span class="rw-mute">Point at a token to read the five likeliest.</span>`
    }</div>`;
  }

  return { picture, detail };
}

const told = (top: LensRun["top"][number]): string =>
  top.map(([token, p]) => `${tokenLabel(token)} ${probability(p, 2)}`).join(" · ");
