/** The facts behind the selected cell: how their effects spread, and a list from the greatest to the least. */

import { effect, signal } from "@preact/signals-core";
import { html, nothing, svg, type TemplateResult } from "lit-html";
import { direction, KIND_NAMES, plusMinus, signed, tokenLabel, visible } from "../../format.js";
import type { Ranked, SweepState } from "../../sweep_state.js";
import { button } from "../controls.js";
import type { Frame } from "../frame.js";
import { ROLE_TITLES } from "./heat_maps.js";

/** Facts that are listed before all are asked for. */
const MOST = 100;
const [WIDTH, HEIGHT, EDGE] = [308, 34, 6];

export function facts(state: SweepState, view: Frame) {
  /** Where the keyboard is in the list: a place in the ranking; null: at the selected fact, or the first. */
  const active = signal<number | null>(null);
  const all = signal(false);
  view.ends(
    effect(() => {
      state.cell.value; // Another cell: another list.
      active.value = null;
    }),
  );

  const selectedAt = (): number => state.ranking.value.findIndex(({ fact }) => fact === state.example.value);
  const activeAt = (): number => active.value ?? Math.max(0, selectedAt());
  const shown = (): Ranked[] => {
    const ranking = state.ranking.value;
    const far = Math.max(selectedAt(), activeAt());
    return all.value || far >= MOST ? ranking : ranking.slice(0, MOST);
  };
  const select = (at: number): void => {
    const fact = state.ranking.value[at]?.fact;
    if (!fact) return;
    active.value = at;
    state.bridge.set({ example: fact === state.example.value ? null : fact.number });
  };

  function key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const [at, last] = [activeAt(), state.ranking.value.length - 1];
    const moves: Record<string, number> = {
      ArrowUp: at - 1,
      ArrowDown: at + 1,
      PageUp: at - 10,
      PageDown: at + 10,
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    const list = event.currentTarget as HTMLElement;
    if (to !== undefined) {
      active.value = Math.max(0, Math.min(last, to));
      list.querySelector(".rw-active")?.scrollIntoView?.({ block: "nearest" });
    } else if (event.key === "Enter" || event.key === " ") select(at);
    else if (event.key === "Escape" && state.example.value) state.bridge.set({ example: null });
    else if (event.key === "Escape") list.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function option({ fact, effect }: Ranked, at: number, isActive: boolean): TemplateResult {
    const selected = fact === state.example.value;
    const [row, layer, kind] = state.cell.value;
    const here = String(fact.peaks[kind]) === String([row, layer]);
    return html`<li
      role="option"
      id=${`${view.id}-fact-${at}`}
      class=${isActive ? "rw-active" : ""}
      aria-selected=${selected}
      data-fact=${fact.number}
      @click=${() => select(at)}
    ><span class="rw-serif"><bdi>${visible(fact.prompt)}</bdi> <span class="rw-leads">→ <bdi>${tokenLabel(fact.answer)}</bdi></span></span>
      <b class=${`rw-${direction(effect, 3)}`} title=${here ? "Its greatest effect of this kind lies here" : nothing}>${here ? html`<i>○</i> ` : nothing}${signed(effect, 3)}</b></li>`;
  }

  return (): TemplateResult => {
    const [row, layer, kind] = state.cell.value;
    const ranking = state.ranking.value;
    const at = activeAt();
    const listed = shown();
    const rest = ranking.length - listed.length;
    const missing = state.info.value.facts.length - ranking.length;
    return html`<section class="rw-facts" aria-label="Facts at the selected cell">
      <h4>${KIND_NAMES[kind]} layer ${layer} <span class="rw-mute">· ${ROLE_TITLES[row]?.toLowerCase()}</span></h4>
      ${ranking.length ? strip(state) : nothing}
      <p class="rw-mute rw-tip" id=${`${view.id}-tip`}>${tip(state, view, missing)}</p>
      ${
        ranking.length
          ? html`<ul
              role="listbox"
              tabindex="0"
              aria-label="Facts, the greatest effect first"
              aria-describedby=${`${view.id}-tip`}
              aria-activedescendant=${`${view.id}-fact-${at}`}
              @keydown=${key}
            >${listed.map((ranked, place) => option(ranked, place, place === at))}</ul>`
          : nothing
      }
      ${rest ? button("all", `Show ${rest} more`, () => (all.value = true), "rw-quiet") : nothing}
    </section>`;
  };
}

/** Brings the chosen fact into the sight of its list, where another one, or another list, has come; the page stays. */
export function chosenInSight(): (root: ParentNode, state: SweepState) => void {
  let before = "";
  return (root, state) => {
    const now = `${state.bridge.get("example")} ${state.cell.value}`;
    const list = root.querySelector<HTMLElement>("[role=listbox]");
    if (!list || now === before) return;
    before = now;
    const chosen = list.querySelector<HTMLElement>("[aria-selected=true]");
    const top = chosen ? chosen.getBoundingClientRect().top - list.getBoundingClientRect().top : 0;
    if (!chosen) list.scrollTop = 0;
    else if (top < 0 || top + chosen.clientHeight > list.clientHeight)
      list.scrollTop += top - list.clientHeight / 3;
  };
}

function tip(state: SweepState, view: Frame, missing: number): TemplateResult {
  const total = state.info.value.facts.length;
  const none = missing ? html` ${missing} of ${total} facts have no such token.` : nothing;
  if (missing === total) return html`No fact has such a token.`;
  const does = state.bridge.get("linked")
    ? view.connected()
      ? "A fact that you choose is traced in the linked explorer."
      : "Kernel not connected: the explorer does not follow."
    : "Choose a fact to see its own effects.";
  return html`Greatest effect first; ○ peaks here. ${does}${none}`;
}

/** Every fact as a dot at its effect; the average and its interval. */
function strip(state: SweepState): TemplateResult {
  const values = state.ranking.value.map(({ effect }) => effect);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = (value: number) => EDGE + ((value - low) / (high - low || 1)) * (WIDTH - 2 * EDGE);
  /** Spread over the height by their order, so that equal ones are told apart. */
  const y = (at: number) => 5 + ((at * 7) % 20);
  const dots = values.map((value, at) => `M${x(value).toFixed(1)} ${y(at)}h0`).join("");
  const { average, interval } = state.at(state.cell.value);
  const chosen = state.ranking.value.findIndex(({ fact }) => fact === state.example.value);
  const label = `Effects of ${values.length} facts from ${signed(low, 3)} to ${signed(high, 3)}, average ${signed(average, 3)}${plusMinus(interval, 3, "plus or minus")}`;
  return html`<p class="rw-keys"><span>average <b>${signed(average, 3)}</b>${plusMinus(interval, 3)}</span></p>
    <svg class="rw-strip" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${label}>
      <path class="rw-axis" d=${`M0 ${HEIGHT - 5}H${WIDTH}M${x(0)} ${HEIGHT - 9}v8`} />
      <path class="rw-dots" d=${dots} />
      ${Number.isNaN(interval) ? nothing : svg`<path class="rw-interval" d=${`M${x(average - interval)} ${HEIGHT - 5}H${x(average + interval)}`} />`}
      <path class="rw-mean" d=${`M${x(average)} 1V${HEIGHT - 2}`} />
      ${chosen < 0 ? nothing : svg`<circle cx=${x(values[chosen] as number)} cy=${y(chosen)} r="4" />`}
    </svg>
    <p class="rw-ends"><span>${signed(low, 2)}</span><span>${signed(high, 2)}</span></p>`;
}
