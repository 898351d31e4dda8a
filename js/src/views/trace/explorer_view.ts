/** `TraceExplorer`: the prompt as an editable sentence, the settings, the picture, the answer. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { duration, probability, tokenLabel } from "../../format.js";
import type { ExplorerTraits, Page, Settings, Status, TraceInfo } from "../../types.js";
import {
  button,
  chip,
  choice,
  entered,
  errorStrip,
  example,
  fullScreen,
  header,
  kindSwitch,
  legend,
  lookSwitch,
  notes,
  type Part,
  progressLine,
  skeleton,
  space,
  textField,
} from "../controls.js";
import { live } from "../live.js";
import { detailLine } from "./detail_line.js";
import { keeping } from "./explorer_actions.js";
import { figure } from "./figure.js";
import { flowPage } from "./flow_view.js";
import { lensPage } from "./lens_view.js";
import { pathPanel } from "./path_view.js";
import { panel } from "./restoration_panel.js";
import { mount, type View } from "./trace_frame.js";

const SETTINGS = ["prompt", "subject", "noise", "samples", "seed", "window", "answer"] as const;

const PAGES: readonly (readonly [Page, string])[] = [
  ["grid", "Grid"],
  ["flow", "Flow"],
  ["lens", "Lens"],
];
/** Where the subject stands in the prompt, UTF-16. */
function places(prompt: string, subject: string): number[] {
  const found: number[] = [];
  for (let at = prompt.indexOf(subject); subject && at >= 0; at = prompt.indexOf(subject, at + 1))
    found.push(at);
  return found;
}

type NumberTrait = "noise" | "samples" | "seed" | "window";

export function explorerView(bridge: Bridge<ExplorerTraits>, host: HTMLElement, abort: AbortSignal): void {
  const marked = signal("");
  const model = live(bridge);
  const flow = flowPage(bridge);
  const lens = lensPage(bridge);
  const keeps = keeping(bridge, model);
  const trace = () => {
    marked.value = "";
    model.ask("trace");
  };

  /** The place of the subject as Python counts characters: its own, not half of a pair. */
  const counted = (at: number): [number, number] => {
    const start = [...bridge.get("prompt").slice(0, at)].length;
    return [start, start + [...bridge.get("subject")].length];
  };
  /** Which of its places is meant: the one that was chosen, else the last. */
  function meant(): { all: number[]; at: number; chosen: boolean } {
    const all = places(bridge.get("prompt"), bridge.get("subject"));
    const place = JSON.stringify(bridge.get("place"));
    const at = all.find((each) => JSON.stringify(counted(each)) === place);
    return { all, at: at ?? all.at(-1) ?? -1, chosen: at !== undefined };
  }

  const settings = (): Settings => ({
    ...(Object.fromEntries(SETTINGS.map((key) => [key, bridge.get(key)])) as unknown as Settings),
    place: meant().chosen ? bridge.get("place") : null,
  });

  const trouble = errorStrip(model, (cause) =>
    cause === "path"
      ? () => model.ask(cause)
      : ["restoration", "flow", "lens"].includes(cause)
        ? () => model.ask("restore")
        : trace,
  );
  const enter = () => {
    if (ready()) trace();
  };
  const onEnter = entered(enter);

  /** The form differs from what the picture was made with. */
  const stale = (view: View): boolean => {
    const made = view.state.trace.value?.settings;
    if (!made) return false;
    const now = settings();
    return [...SETTINGS, "place" as const].some(
      (key) => JSON.stringify(made[key] ?? null) !== JSON.stringify(now[key] ?? null),
    );
  };

  const ready = () => bridge.get("prompt").trim() !== "" && bridge.get("subject").trim() !== "";

  const shown = mount(
    bridge,
    host,
    abort,
    (view) => {
      const { state } = view;
      const status = model.status(view);
      const info = state.trace.value;
      const changed = stale(view);
      const page = { grid: null, flow, lens }[bridge.get("page")];
      return {
        attributes: model.attributes(view, "explorer"),
        root: html`
          ${top(view, status, changed)}
          ${sentence(view, changed)}
          ${controls(view)}
          ${trouble()}
          ${
            info
              ? html`<div class=${`rw-main${(changed || bridge.get("stale")) && !model.busy() ? " rw-stale" : ""}`}>
                  <div class="rw-picture">${page ? page.picture(view) : figure(state, view.figure)}${pathPanel(bridge, model, state, view.connected())}</div>
                  <aside>${panel(state, view.look(), keeps.kept())}${keeps.actions(view)}${notes(state)}</aside>
                </div>`
              : skeleton(emptyHint(status))
          }
          ${page && info ? page.detail(view) : detailLine(state)}
        `,
      };
    },
    {
      again: () => model.ask("restore"),
      subject: (start, stop) => model.ask("subject", { start, stop }),
      window: resize,
    },
    flow.drawn,
  );
  model.clock(shown);
  keeps.receives(shown);

  /** From the window of the trace, where the form leaves it to the model's depth. */
  function resize(more: number): void {
    const { windows } = bridge.get("trace") as TraceInfo;
    const now = bridge.get("window") ?? Math.max(1, ...Object.values(windows ?? {}));
    bridge.set({ window: Math.max(1, Math.min(bridge.get("engine").n_layers ?? now, now + more)) });
  }

  function top(view: View, status: Status, changed: boolean): TemplateResult {
    const engine = bridge.get("engine");
    return html`
      ${header(
        bridge as unknown as Bridge<never>,
        "Causal trace",
        engine.model && `${engine.model} · ${engine.n_layers} layers`,
        space,
        legend(view.state),
        html`<span class="rw-state">${state(view, status, changed)}</span>`,
        keeps.history(view),
        keeps.downloads(view),
        fullScreen,
      )}
      ${progressLine(model, "Trace")}
    `;
  }

  function state(view: View, status: Status, changed: boolean): Part {
    const { cells, total } = view.state.done.value;
    const counted = total > 0 ? `${cells}/${total} states` : "";
    return model.chip(view, `${counted} · ${model.share()}`, finished(view, status, changed, counted));
  }

  function finished(view: View, status: Status, changed: boolean, counted: string): Part {
    if (changed) return chip("changed since this trace", "rw-attention");
    if (bridge.get("stale")) return chip("the model was edited since this trace", "rw-attention");
    if (status === "cancelled")
      return html`${chip(`cancelled${counted ? ` · ${counted}` : ""}`, "rw-attention")}${counted ? button("resume", "Resume", () => model.ask("resume")) : nothing}`;
    const took = duration(view.state.trace.value?.ms);
    return status === "done" && took
      ? html`<span class="rw-chip rw-quietly">traced in ${took}</span>`
      : nothing;
  }

  function sentence(view: View, changed: boolean): TemplateResult {
    const prompt = bridge.get("prompt");
    const subject = bridge.get("subject");
    const { all, at } = meant();
    const info = view.state.trace.value;
    const leads = info && !changed && info.answer;
    /** What the edited model says instead of the word that is followed. */
    const top = [...(info?.baseline ?? [])].sort((a, b) => (b.clean ?? 0) - (a.clean ?? 0))[0];
    const now =
      view.state.comparison.value?.names[1] === "after" && top?.id !== info?.answer_id ? top : undefined;
    const primary = !info || changed || bridge.get("stale");
    return html`
      <div class="rw-prompt">
        <div class="rw-editor">
          <div class="rw-sentence" aria-hidden="true">${
            at < 0
              ? prompt
              : html`${prompt.slice(0, at)}<mark>${subject}</mark>${prompt.slice(at + subject.length)}`
          }${leads ? html`<span class="rw-leads"> → <bdi>${tokenLabel(info.answer)}</bdi>${now ? html`, now <bdi>${tokenLabel(now.token)}</bdi>` : nothing}</span>` : "\u200b"}</div>
          <textarea
            class="rw-sentence"
            rows="1"
            spellcheck="false"
            autocomplete="off"
            aria-label="Prompt"
            placeholder="A sentence that stops just before the fact"
            data-is=${prompt}
            @input=${(event: Event) => {
              bridge.set({ prompt: (event.target as HTMLTextAreaElement).value }, { send: false });
              marked.value = "";
            }}
            @change=${() => bridge.send()}
            @select=${mark}
            @pointerup=${mark}
            @blur=${() => setTimeout(() => (marked.value = ""), 200)}
            @keydown=${onEnter}
          ></textarea>
        </div>
        ${
          !view.connected()
            ? nothing
            : model.busy()
              ? button("cancel", "Cancel", model.cancel, false, "rw-button")
              : button(
                  "trace",
                  info && !changed ? "Trace again" : "Trace",
                  trace,
                  !ready(),
                  `rw-button${primary ? " rw-primary" : ""}`,
                )
        }
      </div>
      <div class="rw-controls">
        <label class="rw-field">subject
          ${textField(bridge, "subject", "Subject", "its subject", Math.max(12, Math.min(32, subject.length + 1)), enter)}
        </label>
        ${
          marked.value && marked.value !== subject
            ? html`<button class="rw-button rw-small" type="button" data-action="subject" @pointerdown=${useMarked}>
                make “<bdi>${tokenLabel(marked.value, 24)}</bdi>” the subject
              </button>`
            : subject && at < 0
              ? html`<span class="rw-attention">not in the prompt</span>`
              : all.length > 1
                ? html`<span class="rw-mute" title="The subject stands in the prompt ${all.length} times; one of them is corrupted.">which one</span>${choice(
                    "Which occurrence of the subject",
                    all.map((_, n) => [`${n}`, `${n + 1}`] as const),
                    `${all.indexOf(at)}`,
                    (n) => bridge.set({ place: counted(all[Number(n)] as number) }),
                  )}`
                : nothing
        }
        <span class="rw-space"></span>
        ${numbers(view)}
      </div>
    `;
  }

  function controls(view: View): TemplateResult {
    const info = view.state.trace.value;
    const compared = view.state.comparison.value;
    return html`<div class="rw-controls rw-second">
      ${
        info
          ? choice("Page", PAGES, bridge.get("page"), (page) => {
              view.state.hover.value = null;
              bridge.set({ page });
            })
          : nothing
      }
      ${bridge.get("page") === "lens" ? nothing : kindSwitch(view.state)}
      <span class="rw-space"></span>
      ${
        compared
          ? html`<span class="rw-looks">${bridge.get("page") === "grid" ? lookSwitch(view.state) : nothing}<button class="rw-quiet" type="button" data-action="stop_comparing" title="Stop comparing" aria-label="Stop comparing" @click=${() => model.ask("stop_comparing")}>✕</button></span>`
          : info && info.clean !== null
            ? html`<span class="rw-mute">p(<bdi>${tokenLabel(info.answer)}</bdi>): clean <b>${probability(info.clean)}</b>, corrupted <b>${probability(info.corrupted)}</b></span>`
            : nothing
      }
    </div>`;
  }

  function numbers(view: View): TemplateResult {
    const info = view.state.trace.value;
    const sigma = info?.noise.match(/σ = [\d.e-]+/)?.[0];
    const used = Object.values(info?.windows ?? {});
    const automatic = used.length > 0 && info?.settings?.window === null ? Math.max(...used) : null;
    const asked = info?.settings?.answer;
    const first = asked && asked === bridge.get("answer") ? tokenLabel(info.answer) : "";
    return html`<div class="rw-numbers">
      <label class="rw-field" title="The word whose probability is followed; empty: what the model says itself">answer
        ${textField(bridge, "answer", "Answer", "auto", Math.max(5, Math.min(16, bridge.get("answer")?.length ?? 0)), enter)}${
          first && first !== asked?.trim()
            ? html`<span class="rw-mute">followed by its first token, “<bdi>${first}</bdi>”</span>`
            : nothing
        }
      </label>
      <label class="rw-field" title="How many consecutive layers one cell of MLP and attention restores">window
        ${number("window", { min: 1, step: 1, empty: automatic ? `auto ${automatic}` : "auto", width: 6 })}
      </label>
      <label class="rw-field" title=${info?.noise ?? "Standard deviation of the noise, in multiples of σ"}>noise
        ${number("noise", { min: 0, step: 0.5, width: 3 })} × σ${
          sigma ? html` <span class="rw-mute rw-sigma">(${sigma})</span>` : nothing
        }
      </label>
      <label class="rw-field" title="Noise draws averaged over">samples ${number("samples", { min: 1, max: 1000, step: 1, width: 4 })}</label>
      <label class="rw-field" title="Seed of the noise draws">seed ${number("seed", { min: 0, max: 2 ** 32 - 1, step: 1, width: 4 })}</label>
    </div>`;
  }

  function number(
    trait: NumberTrait,
    look: { min: number; max?: number; step: number; width: number; empty?: string },
  ): TemplateResult {
    return html`<input
      type="number"
      data-setting=${trait}
      min=${look.min}
      max=${look.max ?? nothing}
      step=${look.step}
      placeholder=${look.empty ?? ""}
      style="width:${look.width}ch"
      data-is=${bridge.get(trait)?.toString() ?? ""}
      @change=${(event: Event) => {
        const input = event.target as HTMLInputElement;
        const whole = trait !== "noise";
        const value = whole ? Math.round(input.valueAsNumber) : input.valueAsNumber;
        if (Number.isFinite(value) && value >= look.min && value <= (look.max ?? Infinity))
          bridge.set({ [trait]: value });
        else if (input.value === "" && look.empty) bridge.set({ [trait]: null });
        else input.value = bridge.get(trait)?.toString() ?? "";
      }}
      @keydown=${onEnter}
    />`;
  }

  /** Words marked in the prompt can become the subject. */
  function mark(event: Event): void {
    const { value, selectionStart, selectionEnd } = event.target as HTMLTextAreaElement;
    marked.value = value.slice(selectionStart ?? 0, selectionEnd ?? 0).trim();
  }

  function useMarked(event: Event): void {
    event.preventDefault();
    bridge.set({ subject: marked.value });
    marked.value = "";
  }

  function emptyHint(status: Status): TemplateResult {
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
}
