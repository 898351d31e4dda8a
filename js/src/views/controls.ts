/** What views are put together from: buttons, menus, switches, fields, heads of views and tables, numbers. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../bridge.js";
import { ARROWS, direction, signed } from "../format.js";
import type { BaseTraits } from "../types.js";

export type Part = TemplateResult | typeof nothing;

/** A button that does one named thing; `look` is its classes. */
export const button = (
  action: string,
  label: unknown,
  click: () => void,
  look = "rw-button rw-small",
  off = false,
): TemplateResult =>
  html`<button class=${look} type="button" data-action=${action} ?disabled=${off} @click=${click}>${label}</button>`;

/** One that shows a sign; `label` says what it does. */
export const iconButton = (
  action: string,
  icon: unknown,
  label: string,
  click: (event: Event) => void,
  title = label,
  look = "rw-quiet",
): TemplateResult =>
  html`<button class=${look} type="button" data-action=${action} title=${title} aria-label=${label} @click=${click}>${icon}</button>`;

/** A button that opens a list; it closes when one is chosen, on Escape, and when the focus leaves. */
export const menu = (label: unknown, title: string, items: unknown): TemplateResult => html`
  <details
    class="rw-menu"
    @click=${(event: Event) => {
      if ((event.target as Element).closest("button")) close(event);
    }}
    @keydown=${(event: KeyboardEvent) => {
      if (event.key === "Escape") close(event);
    }}
    @focusout=${(event: FocusEvent) => {
      if (!(event.currentTarget as Element).contains(event.relatedTarget as Node | null)) close(event);
    }}
  ><summary class="rw-button rw-small" title=${title} aria-label=${title}>${label}</summary><div>${items}</div></details>
`;

const close = (event: Event) => {
  (event.currentTarget as HTMLDetailsElement).open = false;
};

/** Over the whole screen and back; hosts that do not allow it give the whole page. */
async function toggleFullScreen(event: Event): Promise<void> {
  const root = (event.currentTarget as Element).closest(".rw") as HTMLElement;
  if (document.fullscreenElement) return document.exitFullscreen();
  try {
    await root.requestFullscreen();
  } catch {
    root.classList.toggle("rw-full");
  }
}

export const fullScreen = /* @__PURE__ */ iconButton(
  "full",
  "⤢",
  "Full screen",
  toggleFullScreen,
  undefined,
  "rw-button rw-small",
);

/** The prompts that a view without anything to show offers. */
export const example = (text: string, use: () => void): TemplateResult =>
  button("example", html`<span class="rw-mute">Use</span> <bdi>${text}</bdi>`, use, "rw-button rw-example");

/** The head of a table: names of columns, "" where there is none, or cells that say more than a name. */
export const heads = (...columns: unknown[]): TemplateResult =>
  html`<thead><tr>${columns.map((name) =>
    name === "" ? html`<td></td>` : typeof name === "string" ? html`<th scope="col">${name}</th>` : name,
  )}</tr></thead>`;

/** A row of buttons of which one is pressed. */
export const choice = <T extends string>(
  label: string,
  options: readonly (readonly [T, string])[],
  chosen: T,
  choose: (value: T) => void,
): TemplateResult => html`
  <div class="rw-switch" role="group" aria-label=${label}>
    ${options.map(
      ([value, name]) => html`<button
        type="button"
        data-choice=${value}
        aria-pressed=${chosen === value}
        @click=${() => choose(value)}
      >${name}</button>`,
    )}
  </div>
`;

/** The head of every view: what it is, of which model, whether that is edited, and what else it says. */
export const header = (
  bridge: Bridge<BaseTraits>,
  title: string,
  model: string | undefined,
  ...more: unknown[]
): TemplateResult => html`
  <header class="rw-header">
    <h3>${title}</h3>
    ${model ? html`<span class="rw-chip">${model}</span>` : nothing}
    ${badge(bridge)}
    ${more}
  </header>
`;

export const space = html`<span class="rw-space"></span>`;

/** Says that the model is not the one that was loaded. */
function badge(bridge: Bridge<BaseTraits>): Part {
  const count = bridge.get("edited");
  return count > 0
    ? html`<span class="rw-chip rw-attention rw-edited" title="The model holds ${count} active edit${count === 1 ? "" : "s"}"><i></i>EDITED · ${count}</span>`
    : nothing;
}

export const chip = (text: unknown, look = "", title: string | typeof nothing = nothing): TemplateResult =>
  html`<span class=${`rw-chip ${look}`} title=${title}><i class=${look ? "" : "rw-pulse"}></i>${text}</span>`;

/** A difference: sign, number, arrow and colour. */
export const change = (value: number | null, digits: number): TemplateResult => {
  const way = direction(value, digits);
  return html`<span class=${`rw-change rw-${way}`}>${signed(value, digits)} <i aria-hidden="true">${ARROWS[way]}</i></span>`;
};

/** Enter in a text field; the host's own shortcuts stay the host's. */
export const entered = (then: (input: HTMLInputElement) => void) => (event: KeyboardEvent) => {
  if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  event.preventDefault();
  event.stopPropagation();
  const input = event.target as HTMLInputElement;
  input.dispatchEvent(new Event("change"));
  then(input);
};

/** A number that a person may type: its bounds, and what an emptied field stands for. */
export interface NumberField {
  /** Its `data-setting`. */
  name: string;
  value: number | null;
  set(value: number | null): void;
  width: number;
  min?: number | undefined;
  max?: number | undefined;
  step?: number | "any";
  /** Not only whole numbers, which others are rounded to. */
  fraction?: boolean;
  /** What stands in an empty field; without it a field is never empty. */
  empty?: string;
}

/**
 * Number fields of one view. What is out of range is refused in words beside its field, where it stays
 * to be corrected; the trait keeps the value that it had.
 */
export function numberFields() {
  /** What was typed and why it is refused, by the field and the value that holds instead. */
  const refused = signal<Readonly<Record<string, readonly [typed: string, why: string] | undefined>>>({});
  const keyOf = ({ name, value }: NumberField) => `${name} ${value}`;

  function take(field: NumberField, input: HTMLInputElement): void {
    const { value, min, max, set, empty } = field;
    const typed = field.fraction ? input.valueAsNumber : Math.round(input.valueAsNumber);
    const emptied = input.value === "" && !input.validity?.badInput && empty !== undefined;
    const fits = typed >= (min ?? -Infinity) && typed <= (max ?? Infinity);
    const range = max ? `${min} to ${max}` : min === undefined ? "a number" : `${min} or more`;
    const why = `${range} is wanted${value === null ? "" : `; ${value} holds`}`;
    const no = emptied || fits ? undefined : ([input.value, why] as const);
    refused.value = { ...refused.peek(), [keyOf(field)]: no };
    if (!no) set(emptied ? null : typed);
  }

  return (field: NumberField, enter?: () => void): TemplateResult => {
    const no = refused.value[keyOf(field)];
    return html`<input
        type="number"
        data-setting=${field.name}
        min=${field.min ?? nothing}
        max=${field.max ?? nothing}
        step=${field.step ?? 1}
        placeholder=${field.empty ?? ""}
        style="width:${field.width}ch"
        aria-invalid=${no ? "true" : nothing}
        data-is=${no ? no[0] : (field.value?.toString() ?? "")}
        @change=${(event: Event) => take(field, event.target as HTMLInputElement)}
        @keydown=${enter ? entered(() => refused.peek()[keyOf(field)] || enter()) : nothing}
      />${no ? html`<span class="rw-refused" role="alert">${no[1]}</span>` : nothing}`;
  };
}

const OPTIONAL = new Set(["true_object", "answer", "against", "other_subject"]);

/** A line of text that is a trait; an emptied one is null where the trait may be. */
export function textField<T extends object>(
  bridge: Bridge<T>,
  trait: keyof T & string,
  label: string,
  empty: string,
  width: number,
  enter: () => void,
): TemplateResult {
  const value = bridge.get(trait) as string | null;
  return html`<input
    class=${`rw-${trait}`}
    type="text"
    data-field=${trait}
    spellcheck="false"
    autocomplete="off"
    aria-label=${label}
    placeholder=${empty}
    style="width:${width}ch"
    data-is=${value ?? ""}
    @input=${(event: Event) => {
      const text = (event.target as HTMLInputElement).value;
      bridge.set({ [trait]: text || (OPTIONAL.has(trait) ? null : "") } as Partial<T>, { send: false });
    }}
    @change=${() => bridge.send()}
    @keydown=${entered(enter)}
  />`;
}
