/** `PredictionCompare`: what several runs say next, as one table that sorts. */

import { html, nothing, type TemplateResult } from "lit-html";
import { probability, tokenLabel } from "../format.js";
import type { Bridge } from "../model.js";
import type { Metric, PredictionTraits, TokenRow } from "../types.js";
import { frame } from "./frame.js";
import { change, choice, header, space } from "./parts.js";

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

  const value = (row: TokenRow, run: number): number | null => {
    const metric = bridge.get("metric");
    const p = row.probs[run] ?? null;
    if (metric === "rank") return row.ranks[run] ?? null;
    return metric === "prob" || p === null ? p : Math.log(p);
  };
  const written = (number: number | null): string =>
    bridge.get("metric") === "rank" ? `${number ?? "–"}` : probability(number, 3).replace("-", "\u2212");
  const difference = (row: TokenRow, run: number): number | null => {
    const [from, to] = [value(row, bridge.get("baseline")), value(row, run)];
    return from === null || to === null ? null : to - from;
  };

  /** What a row sorts by; unknown numbers come last. */
  const key = (row: TokenRow): number | string => {
    const [kind = "", run = "0"] = bridge.get("sort").split(/^(?=\d)|:/);
    if (kind === "token") return tokenLabel(row.token);
    const found = kind === "delta" ? difference(row, Number(run)) : value(row, Number(run));
    const size = bridge.get("metric") === "rank" && kind !== "delta" ? -(found ?? Infinity) : found;
    return size ?? -Infinity;
  };

  const shown = (): TokenRow[] => {
    const { rows, k, target, way } = {
      rows: bridge.get("rows"),
      k: bridge.get("k"),
      target: bridge.get("target"),
      way: bridge.get("descending") ? -1 : 1,
    };
    return rows
      .filter((row) => row.token === target || row.ranks.some((rank) => rank !== null && rank <= k))
      .map((row) => [key(row), row] as const)
      .sort(([a], [b]) => (a < b ? -way : a > b ? way : 0))
      .map(([, row]) => row);
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
    return {
      attributes: { "data-view": "predictions", "data-status": "static" },
      root: html`
        ${header(
          bridge as never,
          "Predictions",
          "",
          space,
          html`<label class="rw-field">first <input type="number" data-field="k" min="1" style="width:4ch" .value=${String(bridge.get("k"))}
            @change=${(event: Event) => bridge.set({ k: Math.max(1, Math.round((event.target as HTMLInputElement).valueAsNumber) || 1) })} /></label>`,
          choice("Metric", METRICS, bridge.get("metric"), (metric) => bridge.set({ metric })),
        )}
        <div class="rw-sheets rw-scroll">
          <table class="rw-sheet rw-predictions">
            <thead><tr>${column("next token", "token")}
              ${runs.map((run, at) => [column(run, String(at)), at === base ? nothing : column("Δ", `delta:${at}`)])}</tr></thead>
            <tbody>${shown().map(
              (
                row,
              ) => html`<tr data-token=${row.token} class=${row.token === bridge.get("target") ? "rw-answer" : ""}>
                <th scope="row"><bdi>${tokenLabel(row.token)}</bdi>${row.token === bridge.get("target") ? html`<small>followed</small>` : nothing}</th>
                ${runs.map((_, at) => [cell(row, at), at === base ? nothing : html`<td>${delta(row, at)}</td>`])}</tr>`,
            )}</tbody>
          </table>
        </div>
      `,
    };
  });

  const cell = (row: TokenRow, run: number): TemplateResult => html`<td>
    <span class=${`rw-barred rw-run-${run === bridge.get("baseline") ? "base" : "other"}`}><s style="width:${(row.probs[run] ?? 0) * 100}%"></s><b>${written(value(row, run))}</b></span></td>`;

  /** Sign, arrow and number; a rank that moved says from where to where. */
  function delta(row: TokenRow, run: number): TemplateResult {
    const [from, to] = [row.ranks[bridge.get("baseline")], row.ranks[run]];
    const moved = from !== to && from && to;
    // A better rank is a smaller number, and points up.
    const by = bridge.get("metric") === "rank" ? -(difference(row, run) ?? Number.NaN) : difference(row, run);
    return html`${change(by, bridge.get("metric") === "rank" ? 0 : 3)}${moved ? html`<small>${from} → ${to}</small>` : nothing}`;
  }
}
