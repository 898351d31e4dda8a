/** `TraceExplorer`: the prompt as an editable sentence, the settings, the picture, the answer. */

import { html, nothing, type TemplateResult } from "lit-html";
import { duration, probability, tokenLabel } from "../format.js";
import type { Bridge } from "../model.js";
import { signal } from "../signals.js";
import type { ExplorerTraits, Page, Settings, Status, TraceInfo } from "../types.js";
import { detailLine } from "./detail.js";
import { figure } from "./figure.js";
import { flowPage } from "./flow_view.js";
import { lensPage } from "./lens_view.js";
import { live } from "./live.js";
import { mount, type View } from "./mount.js";
import { panel } from "./panel.js";
import {
  button,
  chip,
  choice,
  entered,
  errorStrip,
  example,
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
} from "./parts.js";
import { pathPanel } from "./path_view.js";

const SETTINGS = ["prompt", "subject", "noise", "samples", "seed", "window", "answer"] as const;

const PAGES: readonly (readonly [Page, string])[] = [
  ["grid", "Grid"],
  ["flow", "Flow"],
  ["lens", "Lens"],
];

type NumberTrait = "noise" | "samples" | "seed" | "window";

export function explorerView(bridge: Bridge<ExplorerTraits>, host: HTMLElement, abort: AbortSignal): void {
  const marked = signal("");
  const model = live(bridge);
  const flow = flowPage(bridge);
  const lens = lensPage(bridge);
  const trace = () => {
    marked.value = "";
    model.ask("trace");
  };

  const settings = (): Settings =>
    Object.fromEntries(SETTINGS.map((key) => [key, bridge.get(key)])) as unknown as Settings;

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
    return SETTINGS.some((key) => (made[key] ?? null) !== (now[key] ?? null));
  };

  const ready = () => bridge.get("prompt").trim() !== "" && bridge.get("subject").trim() !== "";

  mount(
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
                  <div class="rw-picture">${page ? page.picture(view) : figure(state, view.figure)}</div>
                  <aside>${panel(state, view.look())}${pathPanel(bridge, model, state, view.connected())}${notes(state)}</aside>
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
        state(view, status, changed),
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
    if (status === "cancelled") return chip(`cancelled${counted ? ` · ${counted}` : ""}`, "rw-attention");
    const took = duration(view.state.trace.value?.ms);
    return status === "done" && took
      ? html`<span class="rw-chip rw-quietly">traced in ${took}</span>`
      : nothing;
  }

  function sentence(view: View, changed: boolean): TemplateResult {
    const prompt = bridge.get("prompt");
    const subject = bridge.get("subject");
    const at = subject ? prompt.lastIndexOf(subject) : -1;
    const info = view.state.trace.value;
    const leads = info && !changed && info.answer;
    /** What the edited model says instead of the word that is followed. */
    const top = [...(info?.baseline ?? [])].sort((a, b) => (b.clean ?? 0) - (a.clean ?? 0))[0];
    const now = view.state.comparison.value && top?.id !== info?.answer_id ? top : undefined;
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
          model.busy()
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
          ${textField(bridge, "subject", "Subject", "its subject", Math.max(12, Math.min(32, subject.length + 2)), enter)}
        </label>
        ${
          marked.value && marked.value !== subject
            ? html`<button class="rw-button rw-small" type="button" data-action="subject" @pointerdown=${useMarked}>
                make “<bdi>${tokenLabel(marked.value, 24)}</bdi>” the subject
              </button>`
            : subject && at < 0
              ? html`<span class="rw-attention">not in the prompt</span>`
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
      ${bridge.get("page") === "grid" ? lookSwitch(view.state) : nothing}
      ${
        compared
          ? html`<button class="rw-quiet" type="button" data-action="stop_comparing" title="Stop comparing" aria-label="Stop comparing" @click=${() => model.ask("stop_comparing")}>✕</button>`
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
    return html`<div class="rw-numbers">
      <label class="rw-field" title="How many consecutive layers one cell of MLP and attention restores">window
        ${number("window", { min: 1, step: 1, empty: automatic ? `auto ${automatic}` : "auto", width: 6 })}
      </label>
      <label class="rw-field" title=${info?.noise ?? "Standard deviation of the noise, in multiples of σ"}>noise
        ${number("noise", { min: 0, step: 0.5, width: 5 })} × σ${
          sigma ? html` <span class="rw-mute rw-sigma">(${sigma})</span>` : nothing
        }
      </label>
      <label class="rw-field" title="Noise draws averaged over">samples ${number("samples", { min: 1, max: 1000, step: 1, width: 5 })}</label>
      <label class="rw-field" title="Seed of the noise draws">seed ${number("seed", { min: 0, max: 2 ** 32 - 1, step: 1, width: 5 })}</label>
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
      return html`<p>Running the clean and corrupted prompts…</p>`;
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
