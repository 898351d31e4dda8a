/** The form of an explorer: the prompt as an editable sentence, its subject, and the settings of a run. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { tokenLabel } from "../../format.js";
import type { GridState } from "../../grid_state.js";
import type { ExplorerTraits, Settings, TraceInfo, TraceMetric } from "../../types.js";
import { button, entered, type NumberField, numberFields, type Part, textField } from "../controls.js";
import type { Live } from "../live.js";
import { type Place, subjectPlaces, whichSubject, withMarks } from "./subject_places.js";
import type { TraceFrame } from "./trace_frame.js";

const SETTINGS = [
  "prompt",
  "subject",
  "noise",
  "samples",
  "seed",
  "window",
  "answer",
  "all_mentions",
  "metric",
  "against",
  "other_subject",
] as const;

const METRICS: [TraceMetric, string][] = [
  ["probability", "probability"],
  ["logprob", "log-probability"],
  ["logit_difference", "logit difference"],
];

type NumberTrait = "noise" | "samples" | "seed" | "window";

/** What the edited model says instead of the word that is followed. */
function saysNow({ trace, comparison }: GridState) {
  const info = trace.value;
  const [top] = [...(info?.baseline ?? [])].sort((a, b) => (b.clean ?? 0) - (a.clean ?? 0));
  return comparison.value?.names[1] === "after" && top?.id !== info?.answer_id ? top : undefined;
}

export function promptForm(bridge: Bridge<ExplorerTraits>, model: Live) {
  /** Words marked in the prompt, which can become the subject, and where they begin. */
  const marked = signal({ words: "", at: 0 });
  const NONE = { words: "", at: 0 };
  const fields = numberFields();

  const subject = subjectPlaces(bridge);
  const { counted, index, places, meant } = subject;

  const ready = () => bridge.get("prompt").trim() !== "";
  const trace = () => {
    marked.value = NONE;
    model.ask("trace");
  };
  /** Also without a subject: Python finds the likeliest one of a new prompt. */
  const enter = () => {
    if (ready()) trace();
  };
  /** The subject, perhaps at one place of several. */
  const choose = (subject: string, place: Place | null = null) => {
    marked.value = NONE;
    bridge.set({ subject, place, all_mentions: false });
  };

  /** It differs from what the picture was made with. */
  function changed({ state }: TraceFrame): boolean {
    const made = state.trace.value?.settings;
    if (!made) return false;
    const place = meant().chosen ? bridge.get("place") : null;
    const now: Partial<Settings> = { ...bridge.pick(SETTINGS), place };
    if (now.metric !== "logit_difference") now.against = null;
    return [...SETTINGS, "place" as const].some(
      (key) => JSON.stringify(made[key] ?? null) !== JSON.stringify(now[key] ?? null),
    );
  }

  const mark = (event: Event): void => {
    const { value, selectionStart, selectionEnd } = event.target as HTMLTextAreaElement;
    const [start, chosen] = [selectionStart ?? 0, value.slice(selectionStart ?? 0, selectionEnd ?? 0)];
    const words = chosen.trim();
    const at = start + chosen.length - chosen.trimStart().length;
    marked.value = { words, at };
    // Of a prompt without its subject, marking words says what it is.
    if (event.type === "pointerup" && words && !places().there) choose(words, counted(at, words));
  };

  /** The prompt, to be read with its subject marked, and over it to be edited. */
  function sentence(state: GridState, leads: boolean): TemplateResult {
    const prompt = bridge.get("prompt");
    const info = state.trace.value;
    const now = saysNow(state);
    return html`<div class="rw-editor">
      <div class="rw-sentence" aria-hidden="true">${withMarks(
        prompt,
        meant().at.map(([start, stop]) => [index(start), index(stop)]),
      )}${leads && info ? html`<span class="rw-leads"> → <bdi>${tokenLabel(info.answer)}</bdi>${now ? html`, now <bdi>${tokenLabel(now.token)}</bdi>` : nothing}</span>` : "\u200b"}</div>
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
          marked.value = NONE;
        }}
        @change=${() => bridge.send()}
        @select=${mark}
        @pointerup=${mark}
        @blur=${() => setTimeout(() => (marked.value = NONE), 200)}
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
          ${whichSubject(bridge, subject, marked.value, choose)}
          <span class="rw-space"></span>
          ${settingFields(bridge, info, enter, fields)}
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
  fields: ReturnType<typeof numberFields>,
): TemplateResult {
  const sigma = info?.noise.match(/σ = [\d.e-]+/)?.[0];
  const used = Object.values(info?.windows ?? {});
  const automatic = used.length > 0 && info?.settings?.window === null ? Math.max(...used) : null;
  const answer = bridge.get("answer");
  const other = bridge.get("other_subject");
  const asked = info?.settings?.answer;
  const first = asked && asked === answer ? tokenLabel(info.answer) : "";
  const number = (
    name: NumberTrait,
    width: number,
    min: number,
    more: Partial<NumberField> = {},
  ): TemplateResult =>
    fields(
      {
        name,
        value: bridge.get(name),
        set: (value) => bridge.set({ [name]: value }),
        width,
        min,
        ...more,
      },
      enter,
    );
  return html`<div class="rw-numbers">
    <label class="rw-field" title="The word that is followed; empty: what the model says itself">answer
      ${textField(bridge, "answer", "Answer", "auto", Math.max(5, Math.min(16, answer?.length ?? 0)), enter)}${
        first && first !== asked?.trim()
          ? html`<span class="rw-mute">followed by its first token, “<bdi>${first}</bdi>”</span>`
          : nothing
      }
    </label>
    ${measured(bridge, enter)}
    <label class="rw-field" title="Layers that one cell of MLP and attention restores">window
      ${number("window", 7, 1, { empty: automatic ? `auto ${automatic}` : "auto" })}
    </label>
    <label class="rw-field" title="Another subject, of as many tokens, for the corrupted run to read; empty: noise is added">replaced by
      ${textField(bridge, "other_subject", "Other subject", "noise", Math.max(6, Math.min(24, other?.length ?? 0)), enter)}
    </label>
    ${
      other
        ? nothing
        : html`<label class="rw-field" title=${info?.noise ?? "Standard deviation of the noise, in multiples of σ"}>noise
      ${number("noise", 3, 0, { step: 0.5, fraction: true })} × σ${
        sigma ? html` <span class="rw-mute rw-sigma">(${sigma})</span>` : nothing
      }
    </label>
    <label class="rw-field" title="Noise draws averaged over">samples ${number("samples", 4, 1, { max: 1000 })}</label>
    <label class="rw-field" title="Seed of the noise draws">seed ${number("seed", 4, 0, { max: 2 ** 32 - 1 })}</label>`
    }
  </div>`;
}

/** What is measured, and the second answer where there is one. */
function measured(bridge: Bridge<ExplorerTraits>, enter: () => void): TemplateResult {
  const metric = bridge.get("metric");
  const against = bridge.get("against");
  return html`<label class="rw-field" title="What is measured of the prediction, in each draw, and averaged; logarithms are natural">measure
      <select
        class="rw-scale"
        data-field="metric"
        data-is=${metric}
        @change=${(event: Event) => bridge.set({ metric: (event.target as HTMLSelectElement).value as TraceMetric })}
      >${METRICS.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select>
    </label>${
      metric === "logit_difference"
        ? html`<label class="rw-field" title="The second answer, whose logit is taken off">against
      ${textField(bridge, "against", "Second answer", "a word", Math.max(6, Math.min(16, against?.length ?? 0)), enter)}
    </label>`
        : nothing
    }`;
}
