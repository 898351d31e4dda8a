/** `TraceExplorer`: the prompt and its settings, the picture, the answer. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { duration, probability } from "../../format.js";
import type { ExplorerTraits, Page, Status, TraceInfo } from "../../types.js";
import {
  button,
  chip,
  choice,
  example,
  fullScreen,
  header,
  iconButton,
  numberFields,
  type Part,
  space,
} from "../controls.js";
import { errorStrip, type Live, live, progressLine } from "../live.js";
import { detailLine } from "./detail_line.js";
import { explorerActions } from "./explorer_actions.js";
import { figure } from "./figure.js";
import { flowPage } from "./flow_view.js";
import { formula } from "./formula.js";
import { headsPanel } from "./heads.js";
import { lensPage } from "./lens_view.js";
import { pathOf, pathPanel } from "./path_view.js";
import { promptForm } from "./prompt_form.js";
import { panel } from "./restoration_panel.js";
import { kindSwitch, legend, lookSwitch, notes, skeleton } from "./trace_controls.js";
import { type TraceFrame, traceFrame } from "./trace_frame.js";

const PAGES: readonly (readonly [Page, string])[] = [
  ["grid", "Grid"],
  ["flow", "Flow"],
  ["lens", "Lens"],
];
/** What fails when the model is asked about a selection; to ask again is to restore. */
const OF_A_SELECTION = ["restoration", "flow", "lens"];

export function explorerView(bridge: Bridge<ExplorerTraits>, host: HTMLElement, abort: AbortSignal): void {
  const model = live(bridge);
  const flow = flowPage(bridge);
  const lens = lensPage(bridge);
  const heads = headsPanel(bridge, model);
  const actions = explorerActions(bridge, model);
  const { trace, changed, form } = promptForm(bridge, model);
  const fields = numberFields();
  const restore = () => model.ask("restore");
  const trouble = errorStrip(model, (cause) =>
    ["path", "heads"].includes(cause)
      ? () => model.ask(cause)
      : OF_A_SELECTION.includes(cause)
        ? restore
        : trace,
  );

  const shown = traceFrame(
    bridge,
    host,
    abort,
    (view) => {
      const { state } = view;
      const info = state.trace.value;
      const differs = changed(view);
      const engine = bridge.get("engine");
      const page = { grid: null, flow, lens }[bridge.get("page")];
      const faded = (differs || bridge.get("stale")) && !model.busy();
      return {
        attributes: model.attributes(view, "explorer"),
        root: html`
          ${header(
            bridge,
            "Causal trace",
            engine.model && `${engine.model} · ${engine.n_layers} layers`,
            space,
            legend(state),
            html`<span class="rw-state">${runState(bridge, model, view, differs)}</span>`,
            actions.history(view),
            actions.downloads(view, flow.run(view)),
            fullScreen,
          )}
          ${progressLine(model, "Trace")}
          ${form(view, differs)}
          ${controls(bridge, model, view)}
          ${trouble()}
          ${
            info
              ? html`<div class=${`rw-main${faded ? " rw-stale" : ""}`}>
                  <div class="rw-picture">${page ? page.picture(view) : figure(state, view.figure, pathOf(bridge))}${heads.panel(view)}${pathPanel(bridge, model, state, view.connected(), fields)}</div>
                  <aside>${panel(view, actions.kept())}${actions.buttons(view)}${notes(state)}</aside>
                </div>`
              : skeleton(emptyHint(bridge, model.status(view), trace))
          }
          ${page && info ? page.detail(view) : detailLine(state)}
        `,
      };
    },
    {
      again: restore,
      subject: (start, stop) => model.ask("subject", { start, stop }),
      window: (more) => resizeWindow(bridge, more),
      heads: heads.go,
    },
    (root, view) => {
      flow.drawn(root, view);
      heads.drawn(root, view);
    },
  );
  model.clock(shown);
  actions.receives(shown);
}

/** From the window of the trace, where the form leaves it to the model's depth. */
function resizeWindow(bridge: Bridge<ExplorerTraits>, more: number): void {
  const { windows } = bridge.get("_trace") as TraceInfo;
  const now = bridge.get("window") ?? Math.max(1, ...Object.values(windows ?? {}));
  bridge.set({ window: Math.max(1, Math.min(bridge.get("engine").n_layers ?? now, now + more)) });
}

/** Where the run is, or what is to be known of the trace that it gave. */
function runState(bridge: Bridge<ExplorerTraits>, model: Live, view: TraceFrame, changed: boolean): Part {
  const { known, total } = view.state.done.value;
  const counted = total > 0 ? `${known}/${total} states` : "";
  const finished = (status: Status): Part => {
    if (changed) return chip("changed since this trace", "rw-attention");
    if (bridge.get("stale")) return chip("the model was edited since this trace", "rw-attention");
    if (status === "cancelled")
      return html`${chip(`cancelled${counted ? ` · ${counted}` : ""}`, "rw-attention")}${counted ? button("resume", "Resume", () => model.ask("resume")) : nothing}`;
    const took = duration(view.state.trace.value?.ms);
    return status === "done" && took
      ? html`<span class="rw-chip rw-quietly">traced in ${took}</span>`
      : nothing;
  };
  return model.chip(view, `${counted} · ${model.share()}`, finished(model.status(view)));
}

/** Which page, which kinds, which of the compared grids. */
function controls(bridge: Bridge<ExplorerTraits>, model: Live, { state }: TraceFrame): TemplateResult {
  const info = state.trace.value;
  const page = bridge.get("page");
  const pages = choice("Page", PAGES, page, (next) => {
    state.hover.value = null;
    bridge.set({ page: next });
  });
  return html`<div class="rw-controls rw-second">
    ${info ? pages : nothing}
    ${page === "lens" ? nothing : kindSwitch(state)}
    <span class="rw-space"></span>
    ${
      state.comparison.value
        ? html`<span class="rw-looks">${page === "grid" ? lookSwitch(state) : nothing}${iconButton("stop_comparing", "✕", "Stop comparing", () => model.ask("stop_comparing"))}</span>`
        : info && info.clean !== null
          ? html`<span class="rw-mute">${formula(info)}: clean <b>${probability(info.clean)}</b>, corrupted <b>${probability(info.corrupted)}</b></span>`
          : nothing
    }
  </div>`;
}

function emptyHint(bridge: Bridge<ExplorerTraits>, status: Status, trace: () => void): TemplateResult {
  const examples = bridge.get("engine").examples ?? [];
  if (status === "queued" || status === "running")
    return html`<p>${status === "queued" ? "Waiting for the model…" : "Running the clean and corrupted prompts…"}</p>`;
  return html`
    <p>Write a prompt that stops just before the fact, and name its subject.</p>
    ${examples.slice(0, 3).map(([prompt, subject]) =>
      example(prompt, () => {
        bridge.set({ prompt, subject }, { send: false });
        trace();
      }),
    )}
  `;
}
