/** `PredictionCompare`: what several runs say next, as one table that sorts. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { joint, less, probability, signed, tokenLabel } from "../../format.js";
import type { Metric, PredictionTraits, TokenRow } from "../../types.js";
import { change, choice, header, numberFields, type Part, space } from "../controls.js";
import { frame } from "../frame.js";

const METRICS: readonly (readonly [Metric, string])[] = [
  ["prob", "probability"],
  ["logprob", "log prob"],
  ["rank", "rank"],
];

export function predictionView(
  bridge: Bridge<PredictionTraits>,
  host: HTMLElement,
  abort: AbortSignal,
): void {
  const view = frame(bridge, host, abort);
  const fields = numberFields();

  /** More is better: a rank counts as its negative. */
  const value = (row: TokenRow, run: number): number | null => {
    const p = row.probs[run] ?? null;
    if (bridge.get("metric") === "rank") return row.ranks[run] ? -row.ranks[run] : null;
    return bridge.get("metric") === "prob" || p === null ? p : Math.log(p);
  };
  const difference = (row: TokenRow, run: number): number | null => {
    const [from, to] = [value(row, bridge.get("baseline")), value(row, run)];
    return from === null || to === null ? null : to - from;
  };
  const digits = () => (bridge.get("metric") === "rank" ? 0 : 3);
  const written = (number: number | null): string =>
    bridge.get("metric") === "prob" || number === null
      ? probability(number, 3)
      : bridge.get("metric") === "rank"
        ? `${-number}`
        : signed(number, 3);

  /** What a row sorts by: its token, a run's value, or (`d` and the run) its difference. */
  const key = (row: TokenRow): number | string => {
    const sort = bridge.get("sort");
    if (sort === "token") return tokenLabel(row.token);
    const of = sort[0] === "d" ? difference : value;
    return of(row, Number(sort.replace("d", ""))) ?? Number.NEGATIVE_INFINITY;
  };

  const shown = (): TokenRow[] => {
    const { rows, k, target, descending } = bridge.pick(["rows", "k", "target", "descending"]);
    const way = descending ? -1 : 1;
    return rows
      .filter(({ token, ranks }) => token === target || ranks.some((rank) => rank !== null && rank <= k))
      .sort((a, b) => (key(a) < key(b) ? -way : way));
  };

  const column = (name: unknown, sort: string): TemplateResult => {
    const chosen = bridge.get("sort") === sort;
    const down = bridge.get("descending");
    return html`<th scope="col" aria-sort=${chosen ? (down ? "descending" : "ascending") : nothing}>
      <button class="rw-quiet" type="button" data-sort=${sort} @click=${() => bridge.set({ sort, descending: chosen ? !down : sort !== "token" })}>${name}${chosen ? (down ? " ↓" : " ↑") : ""}</button></th>`;
  };

  view.draw(() => {
    const runs = bridge.get("runs");
    const base = bridge.get("baseline");
    const of = bridge.get("target_of");
    return {
      attributes: { "data-view": "predictions", "data-status": "static" },
      root: html`
        ${header(
          bridge,
          "Predictions",
          "",
          space,
          html`<label class="rw-field" title="Rows: the likeliest tokens of each run, and the one that is followed">first ${fields(
            {
              name: "k",
              value: bridge.get("k"),
              set: (k) => bridge.set({ k: k ?? 1 }),
              width: 4,
              min: 1,
            },
          )} of each</label>`,
          choice("Metric", METRICS, bridge.get("metric"), (metric) => bridge.set({ metric })),
        )}
        <div class="rw-sheets rw-scroll rw-ruled">
          <table class="rw-sheet rw-predictions">
            <thead><tr>${column("next token", "token")}
              ${runs.map((run, at) => [column(run, String(at)), at === base ? nothing : column("Δ", `d${at}`)])}</tr></thead>
            <tbody>${shown().map(
              (
                row,
              ) => html`<tr data-token=${row.token} class=${row.token === bridge.get("target") ? "rw-answer" : ""}>
                <th scope="row"><bdi>${tokenLabel(row.token)}</bdi>${row.token === bridge.get("target") ? html`<small>${of ? html`first token of “<bdi>${tokenLabel(of)}</bdi>”` : "followed"}</small>` : nothing}</th>
                ${runs.map((_, at) => [cell(row, at), at === base ? nothing : html`<td>${delta(row, at)}</td>`])}</tr>`,
            )}${wholeRow(runs.length, base)}</tbody>
          </table>
        </div>
      `,
    };
  });

  /** The word that the followed token begins, whole: a probability, whatever the metric is. */
  function wholeRow(runs: number, base: number): Part {
    const whole = bridge.get("whole");
    if (whole.length !== runs) return nothing;
    return html`<tr class="rw-answer rw-whole" title="All of its tokens, each after those before it">
      <th scope="row">all of “<bdi>${tokenLabel(bridge.get("target_of"))}</bdi>”</th>
      ${whole.map((p, at) => [
        html`<td><span class="rw-barred rw-run-${at === base ? "base" : "other"}"><s style="--rw-share:${(p ?? 0) * 100}%"></s><b>${joint(p, 3)}</b></span></td>`,
        at === base ? nothing : html`<td>${change(less(p, whole[base] ?? null), 3)}</td>`,
      ])}</tr>`;
  }

  function cell(row: TokenRow, run: number): TemplateResult {
    return html`<td>
    <span class=${`rw-barred rw-run-${run === bridge.get("baseline") ? "base" : "other"}`}><s style="--rw-share:${(row.probs[run] ?? 0) * 100}%"></s><b>${written(value(row, run))}</b></span></td>`;
  }

  /** Sign, arrow and number; a rank that moved says from where to where. */
  function delta(row: TokenRow, run: number): TemplateResult {
    const [from, to] = [row.ranks[bridge.get("baseline")], row.ranks[run]];
    const moved = from !== to && from && to;
    return html`${change(difference(row, run), digits())}${moved ? html`<small>${from} → ${to}</small>` : nothing}`;
  }
}
