/** Small parts that several views share. */

import { signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../bridge.js";
import { ARROWS, direction, signed } from "../format.js";
import type { GridState, Look, Side } from "../grid_state.js";
import type { BaseTraits, Comparison, ErrorInfo, KindChoice } from "../types.js";
import type { Live } from "./live.js";

export type Part = TemplateResult | typeof nothing;

const CHOICES: readonly (readonly [KindChoice, string])[] = [
  ["all", "All three"],
  ["hidden", "Hidden"],
  ["mlp", "MLP"],
  ["attn", "Attention"],
];

/** What one of the compared grids is called, on its own. */
export function sideName({ names }: Comparison, side: Side): string {
  const name = side === "change" ? "difference" : names[side === "before" ? 0 : 1];
  return name.charAt(0).toUpperCase() + name.slice(1);
}

export function kindSwitch(state: GridState): TemplateResult | typeof nothing {
  const there = state.trace.value?.kinds ?? ["hidden", "mlp", "attn"];
  if (there.length < 2) return nothing;
  const chosen = state.bridge.get("kind");
  return choice(
    "Kind of state",
    CHOICES.filter(([kind]) => kind === "all" || there.includes(kind)),
    chosen,
    (kind) => state.bridge.set({ kind }),
  );
}

/** What to show of a comparison: all of it where there is room, or one grid. */
export function lookSwitch(state: GridState): Part {
  const compared = state.comparison.value;
  if (!compared) return nothing;
  const sides = (["before", "after", "change"] as const).map((side): [Look, string] => [
    side,
    sideName(compared, side),
  ]);
  const looks: [Look, string][] = state.roomy.value ? [["together", "Side by side"], ...sides] : sides;
  return choice("What to show", looks, state.look.value, (look) => {
    state.chosen.value = look;
  });
}

/** A button that does one named thing. */
export const button = (
  action: string,
  label: unknown,
  click: () => void,
  off: boolean | undefined = false,
  look = "rw-button rw-small",
): TemplateResult =>
  html`<button class=${look} type="button" data-action=${action} ?disabled=${off} @click=${click}>${label}</button>`;

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
export const fullScreen = html`<button class="rw-button rw-small" type="button" data-action="full" title="Full screen" aria-label="Full screen" @click=${async (
  event: Event,
) => {
  const root = (event.currentTarget as Element).closest(".rw") as HTMLElement;
  if (document.fullscreenElement) return document.exitFullscreen();
  try {
    await root.requestFullscreen();
  } catch {
    root.classList.toggle("rw-full");
  }
}}><span aria-hidden="true">⤢</span></button>`;

/** The prompts that a view without anything to show offers. */
export const example = (text: string, use: () => void): TemplateResult =>
  button(
    "example",
    html`<span class="rw-mute">Use</span> <bdi>${text}</bdi>`,
    use,
    false,
    "rw-button rw-example",
  );

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
  bridge: Bridge<never>,
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
function badge(bridge: Bridge<never>): Part {
  const count = (bridge as unknown as Bridge<BaseTraits>).get("edited");
  return count > 0
    ? html`<span class="rw-chip rw-attention rw-edited" title="The model holds ${count} active edit${count === 1 ? "" : "s"}"><i></i>EDITED · ${count}</span>`
    : nothing;
}

/** The thin line above the header while something runs. */
export const progressLine = ({ bridge, busy }: Live, label: string): TemplateResult => html`
  <div class="rw-progress" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.round(bridge.get("progress") * 100)} ?hidden=${!busy()}>
    <span style="width:${bridge.get("progress") * 100}%"></span>
  </div>
`;

export const chip = (text: unknown, look = "", title: string | typeof nothing = nothing): TemplateResult =>
  html`<span class=${`rw-chip ${look}`} title=${title}><i class=${look ? "" : "rw-pulse"}></i>${text}</span>`;

/**
 * The red strip. It goes when it is dismissed, or when Python says that all is well.
 * "Try again" does what `again` gives for what failed; where that is nothing there is no button.
 */
export function errorStrip({ bridge }: Live, again: (cause: string) => (() => void) | undefined): () => Part {
  const dismissed = signal<ErrorInfo | null>(null);
  return () => {
    const error = bridge.get("error");
    if (!error || dismissed.value === error) return nothing;
    const retry = again(error.cause);
    return html`
      <div class="rw-error" role="alert">
        <div>
          <b>${error.found || error.message}</b>
          ${error.wanted ? html`<p>${error.wanted}</p>` : nothing}
          ${error.remedy ? html`<p>${error.remedy}</p>` : nothing}
          <details><summary>${error.type}</summary><pre>${error.traceback}</pre></details>
        </div>
        ${
          retry && error.fix
            ? button(
                "fix",
                error.fix.label,
                () => {
                  bridge.set(error.fix?.values ?? {}, { send: false });
                  retry();
                },
                false,
                "rw-button rw-small rw-primary",
              )
            : nothing
        }
        ${retry ? button("retry", "Try again", retry) : nothing}
        <button
          class="rw-quiet"
          type="button"
          data-action="dismiss"
          aria-label="Dismiss"
          title="Dismiss"
          @click=${() => {
            dismissed.value = error;
          }}
        >✕</button>
      </div>
    `;
  };
}

/** A difference: sign, number, arrow and colour. */
export const change = (value: number | null, digits: number): TemplateResult => {
  const way = direction(value, digits);
  return html`<span class=${`rw-change rw-${way}`}>${signed(value, digits)} <i aria-hidden="true">${ARROWS[way]}</i></span>`;
};

/** What hatching means, while some of it is on screen. */
export const legend = (state: GridState): TemplateResult | typeof nothing =>
  state.estimated.value
    ? html`<span
        class="rw-chip rw-legend"
        title="Hatched states are a first-order estimate; exact values replace it as they are computed."
      ><b></b>estimate</span>`
    : nothing;

export function notes(state: GridState): TemplateResult | typeof nothing {
  const said = state.trace.value?.notes ?? [];
  if (said.length === 0) return nothing;
  return html`<ul class="rw-notes">${said.map((note) => html`<li>${note}</li>`)}</ul>`;
}

/** The dotted grid of a widget that has nothing to show yet. */
export const skeleton = (hint: TemplateResult): TemplateResult => html`
  <div class="rw-empty">
    <div class="rw-skeleton" aria-hidden="true"></div>
    <div class="rw-hint">${hint}</div>
  </div>
`;

/** Enter in a text field; the host's own shortcuts stay the host's. */
export const entered = (then: (input: HTMLInputElement) => void) => (event: KeyboardEvent) => {
  if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  event.preventDefault();
  event.stopPropagation();
  const input = event.target as HTMLInputElement;
  input.dispatchEvent(new Event("change"));
  then(input);
};

const OPTIONAL = new Set(["true_object", "answer"]);

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
