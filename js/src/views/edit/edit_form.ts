/** The form of an edit: the fact as a sentence, its words, the method with its layer and settings. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { visible } from "../../format.js";
import type { EditTraits } from "../../types.js";
import { button, choice, type numberFields, type Part, textField } from "../controls.js";
import type { Live } from "../live.js";

/** The traits that are an `EditRequest`. */
export const FORM = ["template", "subject", "target", "true_object", "method", "layer", "settings"] as const;

const WORDS = {
  template: ["prompt", "{} is in the city of", 26],
  subject: ["subject", "its subject", 18],
  target: ["new object", "a new word", 12],
  true_object: ["instead of", "the old word", 12],
} as const;

/** What the form's buttons do. */
export interface FormActions {
  /** There is enough to make an edit of. */
  ready(): boolean;
  apply(): void;
  suggest(): void;
  fields: ReturnType<typeof numberFields>;
}

/** `question`: what is asked before the edit is made, below its sentence. */
export const editForm = (
  bridge: Bridge<EditTraits>,
  model: Live,
  actions: FormActions,
  question: Part,
): TemplateResult => html`
  ${sentence(bridge, model, actions)}
  ${question}
  <div class="rw-controls rw-words">
    ${Object.entries(WORDS).map(([key, [name, empty, width]]) => {
      const trait = key as keyof typeof WORDS;
      return html`<label class="rw-field">${name} ${textField(bridge, trait, name, empty, width, actions.apply)}</label>`;
    })}
  </div>
  ${aboutTarget(bridge)}
  ${method(bridge, actions)}
`;

/** The request in words that are true before and after it is applied. */
function sentence(bridge: Bridge<EditTraits>, model: Live, { apply, ready }: FormActions): TemplateResult {
  const { template, subject, target, true_object } = bridge.pick(FORM);
  const [before = "", after = ""] = template.split("{}");
  return html`<div class="rw-prompt">
    <p class="rw-sentence rw-grow">${before}<mark>${subject || "subject"}</mark>${after} <b>${target || "new object"}</b>${
      true_object ? html`<span class="rw-leads"> instead of ${true_object}</span>` : nothing
    }</p>
    ${
      model.busy()
        ? button("cancel", "Cancel", model.cancel, "rw-button")
        : button("apply", "Apply", apply, "rw-button rw-primary", !ready())
    }
  </div>`;
}

/** How many tokens the new object has, how the model writes it, and others that it knows. */
function aboutTarget(bridge: Bridge<EditTraits>): TemplateResult {
  const { target = "", tokens = [], spelling = "", reason = "", offers = [] } = bridge.get("about_target");
  const current = target !== "" && target === bridge.get("target");
  const use = (word: string) => bridge.set({ target: word });
  return html`<div class="rw-controls rw-target" role="group" aria-label="New object">
    ${current ? html`<span class="rw-mute">${tokenCount(tokens)}</span>` : nothing}
    ${
      current && spelling
        ? html`<span class="rw-attention">⚠ ${reason}</span>${button("spelling", html`Use “<bdi>${visible(spelling)}</bdi>”`, () => use(spelling))}`
        : nothing
    }
    ${
      offers.length > 0
        ? html`<span class="rw-mute">the model knows</span>${offers.map((word) => button("offer", html`<bdi>${visible(word)}</bdi>`, () => use(word), "rw-quiet"))}`
        : nothing
    }
  </div>`;
}

const tokenCount = (tokens: readonly string[]): string =>
  tokens.length === 1
    ? "1 token"
    : `${tokens.length} tokens: ${tokens.map((each) => `‘${visible(each)}’`).join(" ")}`;

/** How the edit is made. */
function method(bridge: Bridge<EditTraits>, { ready, suggest, fields }: FormActions): TemplateResult {
  const { methods } = bridge.get("engine");
  const waiting = bridge.get("suggestion").waiting === true;
  return html`<div class="rw-controls rw-second">
    ${choice(
      "Method",
      Object.entries(methods).map(([name, { title }]) => [name, title]),
      bridge.get("method"),
      (value) => bridge.set({ method: value, settings: {} }),
    )}
    ${layerField(bridge)}
    ${button("suggest", waiting ? "tracing…" : "from trace", suggest, undefined, waiting || !ready())}
    ${layerReason(bridge)}
    ${settingFields(bridge, fields)}
  </div>`;
}

function layerField(bridge: Bridge<EditTraits>): TemplateResult {
  const layer = bridge.get("layer");
  return html`
    <label class="rw-field">layer
      <input type="range" data-field="layer" min="0" max=${bridge.get("engine").n_layers - 1} data-is=${String(layer ?? 0)} class=${`rw-range ${layer === null ? "rw-unset" : ""}`}
        @input=${(event: Event) => bridge.set({ layer: (event.target as HTMLInputElement).valueAsNumber })} />
      <b>${layer ?? "auto"}</b>
    </label>
    ${layer === null ? nothing : button("auto", "auto", () => bridge.set({ layer: null }), "rw-quiet")}
  `;
}

/** Why the trace suggests the layer, while that is chosen. */
function layerReason(bridge: Bridge<EditTraits>): Part {
  const { reason, layer } = bridge.get("suggestion");
  return reason && layer === bridge.get("layer") ? html`<span class="rw-mute">${reason}</span>` : nothing;
}

function settingFields(bridge: Bridge<EditTraits>, fields: FormActions["fields"]): TemplateResult {
  const { method, settings } = bridge.pick(FORM);
  const defaults = bridge.get("engine").methods[method]?.settings ?? {};
  const set = (name: string) => (value: number | null) => {
    const { [name]: _, ...others } = settings;
    bridge.set({ settings: value === null ? others : { ...others, [name]: value } });
  };
  return html`<details class="rw-settings"><summary>settings</summary>
    <div class="rw-numbers">${Object.entries(defaults).map(
      ([name, value]) => html`<label class="rw-field">${name.replaceAll("_", " ")}
        ${fields({
          name,
          value: settings[name] ?? null,
          set: set(name),
          width: 7,
          step: "any",
          fraction: true,
          empty: value?.toString() ?? "auto",
        })}</label>`,
    )}</div>
  </details>`;
}
