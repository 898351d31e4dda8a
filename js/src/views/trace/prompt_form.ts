/** The form of an explorer: the prompt as an editable sentence, its subject, and the settings of a run. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { tokenLabel } from "../../format.js";
import type { GridState } from "../../grid_state.js";
import type { ExplorerTraits, Settings, TraceInfo } from "../../types.js";
import { button, choice, entered, type Part, textField } from "../controls.js";
import type { Live } from "../live.js";
import type { TraceFrame } from "./trace_frame.js";

const SETTINGS = ["prompt", "subject", "noise", "samples", "seed", "window", "answer"] as const;

type NumberTrait = "noise" | "samples" | "seed" | "window";

/** Where the subject stands in the prompt, UTF-16. */
function places(prompt: string, subject: string): number[] {
  const found: number[] = [];
  for (let at = prompt.indexOf(subject); subject && at >= 0; at = prompt.indexOf(subject, at + 1))
    found.push(at);
  return found;
}

/** What the edited model says instead of the word that is followed. */
function saysNow({ trace, comparison }: GridState) {
  const info = trace.value;
  const [top] = [...(info?.baseline ?? [])].sort((a, b) => (b.clean ?? 0) - (a.clean ?? 0));
  return comparison.value?.names[1] === "after" && top?.id !== info?.answer_id ? top : undefined;
}

export function promptForm(bridge: Bridge<ExplorerTraits>, model: Live) {
  /** Words marked in the prompt, which can become the subject. */
  const marked = signal("");

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

  const ready = () => bridge.get("prompt").trim() !== "" && bridge.get("subject").trim() !== "";
  const trace = () => {
    marked.value = "";
    model.ask("trace");
  };
  const enter = () => {
    if (ready()) trace();
  };

  /** It differs from what the picture was made with. */
  function changed({ state }: TraceFrame): boolean {
    const made = state.trace.value?.settings;
    if (!made) return false;
    const place = meant().chosen ? bridge.get("place") : null;
    const now: Partial<Settings> = { ...bridge.pick(SETTINGS), place };
    return [...SETTINGS, "place" as const].some(
      (key) => JSON.stringify(made[key] ?? null) !== JSON.stringify(now[key] ?? null),
    );
  }

  const mark = (event: Event): void => {
    const { value, selectionStart, selectionEnd } = event.target as HTMLTextAreaElement;
    marked.value = value.slice(selectionStart ?? 0, selectionEnd ?? 0).trim();
  };

  /** The prompt, to be read with its subject marked, and over it to be edited. */
  function sentence(state: GridState, leads: boolean): TemplateResult {
    const [prompt, subject] = [bridge.get("prompt"), bridge.get("subject")];
    const { at } = meant();
    const info = state.trace.value;
    const now = saysNow(state);
    return html`<div class="rw-editor">
      <div class="rw-sentence" aria-hidden="true">${
        at < 0
          ? prompt
          : html`${prompt.slice(0, at)}<mark>${subject}</mark>${prompt.slice(at + subject.length)}`
      }${leads && info ? html`<span class="rw-leads"> → <bdi>${tokenLabel(info.answer)}</bdi>${now ? html`, now <bdi>${tokenLabel(now.token)}</bdi>` : nothing}</span>` : "\u200b"}</div>
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
        @keydown=${entered(enter)}
      ></textarea>
    </div>`;
  }

  function runButton(view: TraceFrame, changed: boolean): Part {
    const info = view.state.trace.value;
    const primary = !info || changed || bridge.get("stale");
    if (!view.connected()) return nothing;
    if (model.busy()) return button("cancel", "Cancel", model.cancel, "rw-button");
    const label = info && !changed ? "Trace again" : "Trace";
    return button("trace", label, trace, `rw-button${primary ? " rw-primary" : ""}`, !ready());
  }

  /** What stands beside the subject: another one that was marked, or which of its places is meant. */
  function whichSubject(): Part {
    const subject = bridge.get("subject");
    const { all, at } = meant();
    if (marked.value && marked.value !== subject)
      return html`<button class="rw-button rw-small" type="button" data-action="subject" @pointerdown=${(
        event: Event,
      ) => {
        event.preventDefault();
        bridge.set({ subject: marked.value });
        marked.value = "";
      }}>
        make “<bdi>${tokenLabel(marked.value, 24)}</bdi>” the subject
      </button>`;
    if (subject && at < 0) return html`<span class="rw-attention">not in the prompt</span>`;
    if (all.length < 2) return nothing;
    return html`<span class="rw-mute" title="The subject stands in the prompt ${all.length} times; one of them is corrupted.">which one</span>${choice(
      "Which occurrence of the subject",
      all.map((_, n) => [`${n}`, `${n + 1}`] as const),
      `${all.indexOf(at)}`,
      (n) => bridge.set({ place: counted(all[Number(n)] as number) }),
    )}`;
  }

  return {
    trace,
    changed,
    /** `changed` as it is said beside the picture. */
    form: (view: TraceFrame, changed: boolean): TemplateResult => {
      const info = view.state.trace.value;
      const width = Math.max(12, Math.min(32, bridge.get("subject").length + 1));
      return html`
        <div class="rw-prompt">
          ${sentence(view.state, !changed && info?.answer !== "")}
          ${runButton(view, changed)}
        </div>
        <div class="rw-controls">
          <label class="rw-field">subject
            ${textField(bridge, "subject", "Subject", "its subject", width, enter)}
          </label>
          ${whichSubject()}
          <span class="rw-space"></span>
          ${settingFields(bridge, info, enter)}
        </div>
      `;
    },
  };
}

/** The settings of a run. */
function settingFields(
  bridge: Bridge<ExplorerTraits>,
  info: TraceInfo | null,
  enter: () => void,
): TemplateResult {
  const sigma = info?.noise.match(/σ = [\d.e-]+/)?.[0];
  const used = Object.values(info?.windows ?? {});
  const automatic = used.length > 0 && info?.settings?.window === null ? Math.max(...used) : null;
  const answer = bridge.get("answer");
  const asked = info?.settings?.answer;
  const first = asked && asked === answer ? tokenLabel(info.answer) : "";
  /** `empty` is what an empty field stands for; without it a field is never empty. */
  const number = (trait: NumberTrait, width: number, min: number, step = 1, max = Infinity, empty = "") => {
    const written = bridge.get(trait)?.toString() ?? "";
    return html`<input
      type="number"
      data-setting=${trait}
      min=${min}
      max=${max === Infinity ? nothing : max}
      step=${step}
      placeholder=${empty}
      style="width:${width}ch"
      data-is=${written}
      @change=${(event: Event) => {
        const input = event.target as HTMLInputElement;
        const value = trait === "noise" ? input.valueAsNumber : Math.round(input.valueAsNumber);
        if (Number.isFinite(value) && value >= min && value <= max) bridge.set({ [trait]: value });
        else if (input.value === "" && empty) bridge.set({ [trait]: null });
        else input.value = written;
      }}
      @keydown=${entered(enter)}
    />`;
  };
  return html`<div class="rw-numbers">
    <label class="rw-field" title="The word whose probability is followed; empty: what the model says itself">answer
      ${textField(bridge, "answer", "Answer", "auto", Math.max(5, Math.min(16, answer?.length ?? 0)), enter)}${
        first && first !== asked?.trim()
          ? html`<span class="rw-mute">followed by its first token, “<bdi>${first}</bdi>”</span>`
          : nothing
      }
    </label>
    <label class="rw-field" title="How many consecutive layers one cell of MLP and attention restores">window
      ${number("window", 6, 1, 1, Infinity, automatic ? `auto ${automatic}` : "auto")}
    </label>
    <label class="rw-field" title=${info?.noise ?? "Standard deviation of the noise, in multiples of σ"}>noise
      ${number("noise", 3, 0, 0.5)} × σ${
        sigma ? html` <span class="rw-mute rw-sigma">(${sigma})</span>` : nothing
      }
    </label>
    <label class="rw-field" title="Noise draws averaged over">samples ${number("samples", 4, 1, 1, 1000)}</label>
    <label class="rw-field" title="Seed of the noise draws">seed ${number("seed", 4, 0, 1, 2 ** 32 - 1)}</label>
  </div>`;
}
