/** What an explorer keeps and hands out: runs, A beside B, code, files. */

import { effect, signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { csv, fileName, flowCsv, lensCsv, save } from "../../download.js";
import type { Run } from "../../flow.js";
import { less, probability, tokenLabel } from "../../format.js";
import type {
  ExplorerTraits,
  FlowInfo,
  HistoryRun,
  KeptInfo,
  LensInfo,
  Page,
  TraceInfo,
} from "../../types.js";
import { button, change, heads, menu, type Part } from "../controls.js";
import type { Live } from "../live.js";
import type { TraceFrame } from "./trace_frame.js";

export function explorerActions(bridge: Bridge<ExplorerTraits>, model: Live) {
  /** The code is shown, to be copied by hand. */
  const byHand = signal(false);
  const copied = signal(false);

  const kept = (): KeptInfo | null => {
    const given = bridge.get("kept") as KeptInfo;
    return given.prompt === undefined ? null : given;
  };

  async function copy(): Promise<void> {
    try {
      // Pages that came over http have none.
      await navigator.clipboard.writeText(bridge.get("code"));
      copied.value = true;
      setTimeout(() => (copied.value = false), 2000);
    } catch {
      byHand.value = !byHand.value;
    }
  }

  const past = (run: HistoryRun): TemplateResult => html`
    <button type="button" data-run=${run.id} aria-pressed=${run.id === bridge.get("run_shown")} @click=${() => model.ask("recall", { run: run.id })}>
      <bdi>${tokenLabel(run.settings.prompt, 60)}</bdi> → <b>${tokenLabel(run.answer, 16)}</b>
      <small>${run.id} · ${probability(run.clean, 2)} → ${probability(run.corrupted, 2)} · ${run.words}</small>
    </button>
  `;

  /** How the numbers of a page are written; nothing while it has none. */
  function table(view: TraceFrame, info: TraceInfo, page: Page): (() => string) | null {
    const [scores, flow, lens] = [view.state.scores.value, bridge.get("_flow"), bridge.get("_lens")];
    if (page === "flow") return "noise" in flow ? () => flowCsv(info, flow as FlowInfo) : null;
    if (page === "lens") return "runs" in lens ? () => lensCsv(lens as LensInfo) : null;
    return scores && (() => csv(info, scores));
  }

  return {
    kept,

    history(view: TraceFrame): Part {
      const runs = bridge.get("history");
      if (runs.length === 0 || !view.connected()) return nothing;
      const items = [...runs].reverse().map(past);
      return menu(html`History ${runs.length}`, "Runs that can be brought back", items);
    },

    /** Of the page that is shown; `run` is what the flow shows. */
    downloads(view: TraceFrame, run: Run): Part {
      const info = view.state.trace.value;
      const page = bridge.get("page");
      const numbers = info && table(view, info, page);
      if (!info || !numbers) return nothing;
      const drawn = (form: "svg" | "png") =>
        button(form, `Figure, ${form.toUpperCase()}`, () =>
          model.ask("download", { form, page, flow_run: run }),
        );
      const name = fileName(info, page === "grid" ? "trace" : page);
      return menu(html`<span aria-hidden="true">⤓</span>`, "Download", [
        view.connected() ? [drawn("svg"), drawn("png")] : nothing,
        button("csv", "Numbers, CSV", () => save(`${name}.csv`, "text/csv", numbers())),
      ]);
    },

    /** Saves what Python drew for this page, once. */
    receives(view: TraceFrame): void {
      const before = bridge.signal("_file").peek();
      view.ends(
        effect(() => {
          const file = bridge.get("_file");
          if (file !== before && "data" in file)
            save(file.name, file.type, file.data as DataView<ArrayBuffer>);
        }),
      );
    },

    /** Below the panel: keep as A, compare, copy the code. */
    buttons(view: TraceFrame): Part {
      const a = kept();
      const live = view.connected();
      return html`${a?.reason ? apart(a) : nothing}<div class="rw-actions">
        ${live ? button("keep_as_a", a ? "Keep this as A" : "Keep as A", () => model.ask("keep_as_a")) : nothing}
        ${
          live && a
            ? button("compare", a.comparing ? "Stop comparing" : "Compare with A", () =>
                model.ask(a.comparing ? "stop_comparing" : "compare"),
              )
            : nothing
        }
        ${bridge.get("code") ? button("copy", copied.value ? "Copied ✓" : "Copy code", copy) : nothing}
        ${
          byHand.value
            ? html`<textarea class="rw-code" readonly rows="8" aria-label="Code of this view" .value=${bridge.get("code")} @focus=${select}></textarea>`
            : nothing
        }
      </div>`;
    },
  };
}

const select = (event: Event) => (event.target as HTMLTextAreaElement).select();

/** A and B where their cells do not match: the numbers that do, and why not more. */
const apart = (a: KeptInfo): TemplateResult => html`
  <section aria-label="A and B">
    <p class="rw-note">${a.reason} A is “<bdi>${tokenLabel(a.prompt, 80)}</bdi>” → <b>${tokenLabel(a.answer)}</b>.</p>
    <table class="rw-table rw-plain">
      ${heads("", "A", "B", "B − A")}
      <tbody>${a.rows.map(
        ([name, was, now, ...where]) => html`<tr>
          <th scope="row">${name}</th>
          ${[was, now].map((each, at) => html`<td title=${where[at] ?? ""}>${probability(each, 3)}<small>${where[at]}</small></td>`)}
          <td>${change(less(now, was), 3)}</td>
        </tr>`,
      )}</tbody>
    </table>
  </section>
`;
