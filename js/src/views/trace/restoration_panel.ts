/** The restoration panel: one share, one probability, and what the model would now say. */

import { html, nothing, type TemplateResult } from "lit-html";
import { restorationText } from "../../aria.js";
import {
  describe,
  direction,
  joint,
  less,
  percent,
  probability,
  stateCount,
  tokenLabel,
  visible,
} from "../../format.js";
import type { GridState } from "../../grid_state.js";
import type { Answer } from "../../selected_states.js";
import type { KeptInfo, PredictionRow, RestorationInfo, TraceInfo, WholeAnswer } from "../../types.js";
import { change, heads, iconButton, type Part } from "../controls.js";
import { formula } from "./formula.js";
import type { TraceFrame } from "./trace_frame.js";

const ROWS = 8;

/** `kept` is what stands beside it as A. */
export function panel(view: TraceFrame, kept: KeptInfo | null = null): Part {
  const { state, waiting, latency } = view;
  /** There is no Python to answer. */
  const alone = !view.connected();
  const info = state.trace.value;
  if (!info) return nothing;
  const selected = state.selection.value;
  const answer = state.answer.value;
  if (selected.length === 0) return baseline(info);
  const shown = answer ?? (alone ? null : stale(state));
  const current = answer?.settled === true;
  const source = current ? answer.source : alone ? "cell" : "exact";
  const a = kept?.comparing ? recorded(kept) : null;
  return html`
    <section
      class=${`rw-panel${waiting.value && !current ? " rw-waiting" : ""}`}
      aria-label="Restoration"
      data-selection=${current ? JSON.stringify(answer.selection) : nothing}
      data-score=${current && answer.score !== null ? answer.score : nothing}
      data-latency-ms=${current && latency.value !== null ? latency.value.toFixed(1) : nothing}
      aria-busy=${!current && !alone}
    >
      <header>
        <h4>
          Restored: ${stateCount((answer?.states ?? selected).length)} <span class="rw-mute">· ${describe(answer?.states ?? selected, info.tokens)}</span>
        </h4>
        ${iconButton("clear", "✕", "Clear the selection", () => state.select([], state.cursor.value), "Clear the selection (Esc)")}
      </header>
      ${shown ? gauge(shown, info, a) : nothing}
      ${shown?.message ? html`<p class="rw-message">${shown.message}</p>` : nothing}
      ${alone && !shown ? html`<p class="rw-message">Recorded single-state effects; a kernel is needed to combine them.</p>` : nothing}
      ${a ? html`<p class="rw-line"><b class="rw-a">A</b> ${percent(a.recovery)} back with ${stateCount(a.states.length)} <span class="rw-mute">· ${describe(a.states, kept?.tokens ?? [])}</span></p>` : nothing}
      ${
        current
          ? html`<p class="rw-unseen" role="status">${restorationText(named(info, answer), answer.score, answer.recovery, answer.states.length)}</p>`
          : nothing
      }
      ${waiting.value && !current ? html`<p class="rw-updating" role="status">updating…</p>` : nothing}
      ${shown && shown.rows.length > 0 ? predictionTable(shown.rows, info, "restored", a?.rows) : nothing}
      ${shown && source !== "exact" && !shown.message ? html`<p class="rw-note">${SOURCES[source]}</p>` : nothing}
    </section>
  `;
}

const SOURCES = {
  edited: "⚠ By the model as edited since; the grid is from before.",
  recorded: "From the recording of this trace.",
  cell: "Read from the grid; other tokens were not recorded.",
} as const;

/** While the model works: the previous answer, if the grid has no number of its own. */
function stale(state: GridState): Answer | null {
  const last = state.restoration.value;
  return last ? { ...last, message: null, settled: false } : null;
}

function baseline(info: TraceInfo): TemplateResult {
  const effect = info.clean === null || info.corrupted === null ? null : info.clean - info.corrupted;
  const rows = likeliest(info);
  if (info.clean === null)
    return html`<section class="rw-panel" aria-label="Restoration"><h4 class="rw-mute">Nothing restored yet</h4></section>`;
  return html`
    <section class="rw-panel" aria-label="Restoration">
      <header><h4>Nothing restored <span class="rw-mute">· click a state to bring it back</span></h4></header>
      <div class="rw-gauge"><p class="rw-line">
        ${info.other_subject ? html`“<bdi>${visible(info.other_subject)}</bdi>” in its place` : "The noise"} takes ${formula(info)} from
        <b>${probability(info.clean)}</b> to <b>${probability(info.corrupted)}</b>${
          effect === null ? nothing : html`: ${change(-effect, 4)}`
        }
      </p>
      ${whole(info.whole)}</div>
      ${rows.length > 0 ? predictionTable(rows, info, "corrupted") : nothing}
    </section>
  `;
}

/** The answer, then what either run finds likeliest: as many rows as a restoration has, for the page not to jump. */
function likeliest({ baseline, answer_id }: TraceInfo): PredictionRow[] {
  const most = ({ id, clean, corrupted }: PredictionRow) =>
    id === answer_id ? Infinity : Math.max(clean ?? 0, corrupted ?? 0);
  return [...(baseline ?? [])].sort((a, b) => most(b) - most(a)).slice(0, ROWS);
}

/** The restoration that was kept as A, if one was. */
function recorded(kept: KeptInfo): RestorationInfo | null {
  const restoration = kept.restoration as RestorationInfo;
  return Array.isArray(restoration.rows) && restoration.score !== null ? restoration : null;
}

/** What is measured; an answer has the words of the trace that it was asked of. */
const named = (info: TraceInfo, { answer }: RestorationInfo) => ({ ...info, answer: answer || info.answer });

const clip = (share: number | null): number => Math.max(0, Math.min(1, share ?? 0));

function gauge(answer: Answer, info: TraceInfo, a: RestorationInfo | null): Part {
  if (answer.score === null) return nothing; // There is a sentence instead of numbers.
  const { score: now, corrupted, clean, recovery } = answer;
  const difference = now === null || corrupted === null ? null : now - corrupted;
  return html`
    <div class="rw-gauge">
      <p>
        ${
          recovery === null
            ? html`<span class="rw-mute">No share: the corruption took nothing away.</span>`
            : html`<b class="rw-share">${percent(recovery)}</b> <span class="rw-mute">of the fact is back</span>`
        }
      </p>
      <div class="rw-track" role="img" aria-label=${`${percent(recovery)} of the way from corrupted to clean`}>
        <span style="width:${clip(recovery) * 100}%"></span>${a ? html`<i style="left:${clip(a.recovery) * 100}%" title="A"></i>` : nothing}
      </div>
      <div class="rw-ends"><span>corrupted ${probability(corrupted, 3)}</span><span>clean ${probability(clean, 3)}</span></div>
      <p class="rw-line">
        ${formula(named(info, answer))}&nbsp;<b>${probability(now)}</b> ${difference === null ? nothing : change(difference, 4)}
      </p>
      ${whole(answer.whole ?? info.whole)}
    </div>
  `;
}

/** An answer of several tokens, whole: what stands around it is of its first token. */
function whole(answer: WholeAnswer | null): Part {
  if (!answer) return nothing;
  const { text, tokens, clean, corrupted, restored } = answer;
  return html`<p class="rw-line rw-whole" title="The product over its ${tokens.length} tokens, each after those before it: ${tokens.map((token) => `‘${visible(token)}’`).join(" ")}. The picture follows the first.">
    <span class="rw-mute">all ${tokens.length} tokens of</span> p(<bdi>${tokenLabel(text)}</bdi>)
    <span class="rw-mute">clean</span> <b>${joint(clean)}</b> <span class="rw-mute">corrupted</span> <b>${joint(corrupted)}</b>${
      restored === null ? nothing : html` <span class="rw-mute">restored</span> <b>${joint(restored)}</b>`
    }
  </p>`;
}

function predictionTable(
  rows: readonly PredictionRow[],
  info: TraceInfo,
  last: "restored" | "corrupted",
  a?: readonly PredictionRow[],
): TemplateResult {
  const was = new Map(a?.map((row) => [row.id, row.restored]));
  const [start, end] = a
    ? ["A", "B"]
    : last === "restored"
      ? ["corrupted", "restored"]
      : ["clean", "corrupted"];
  return html`
    <table class="rw-table">
      ${heads(
        "next token",
        "clean",
        a ? "A" : "corrupted",
        a ? "B" : last === "restored" ? "restored" : nothing,
        html`<th scope="col" title="${end} minus ${start}">Δ</th>`,
      )}
      <tbody>
        ${rows.map((row) => {
          const lost = a ? (was.get(row.id) ?? null) : row.corrupted;
          const [from, to] = last === "restored" ? [lost, row.restored] : [row.clean, row.corrupted];
          return html`<tr class=${row.id === info.answer_id ? "rw-answer" : ""}>
            <th scope="row" title=${tokenLabel(row.token)}><bdi>${tokenLabel(row.token, 18)}</bdi>${dumbbell(from, to)}</th>
            <td>${probability(row.clean, 3)}</td>
            <td>${probability(lost, 3)}</td>
            ${last === "restored" ? html`<td>${probability(row.restored, 3)}</td>` : nothing}
            <td>${change(less(to, from), 3)}</td>
          </tr>`;
        })}
      </tbody>
    </table>
    <p class="rw-dots" aria-hidden="true"><u></u>${start} <b></b>${end}, on a scale from 0 to 1</p>
  `;
}

/** Under its row, on the scale 0 to 1, from a hollow dot to a full one: a difference as a shape. */
function dumbbell(from: number | null, to: number | null): Part {
  if (from === null || to === null) return nothing;
  const low = Math.min(from, to) * 100;
  const high = Math.max(from, to) * 100;
  return html`<span class=${`rw-dumbbell rw-${direction(to - from, 3)}`} aria-hidden="true">
    <s style="left:${low}%;width:${high - low}%"></s><u style="left:${from * 100}%"></u><b style="left:${to * 100}%"></b>
  </span>`;
}
