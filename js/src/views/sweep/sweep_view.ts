/** `SweepChart`: the averages of a sweep as pictures, and the facts behind each of their cells. */

import { effect } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { KIND_NAMES, percent, plusMinus, signed } from "../../format.js";
import type { SweepState } from "../../sweep_state.js";
import { sweepState } from "../../sweep_state.js";
import type { Cell, SweepInfo, SweepShown, SweepTraits } from "../../types.js";
import { choice, header, space } from "../controls.js";
import { frame } from "../frame.js";
import { helpButton, helpDialog, openHelp } from "../help_dialog.js";
import { chosenInSight, facts } from "./facts.js";
import { heatMaps, paintHeatMaps, ROLE_TITLES } from "./heat_maps.js";

/** Milliseconds that the line below must rest before it is read out. */
const SETTLED = 400;
const SHOWN: readonly (readonly [SweepShown, string])[] = [
  ["effect", "averages"],
  ["peaks", "peaks"],
];
const KEYS = `
← → ↑ ↓|another layer, another role
Home, End|first, last layer; with Ctrl also of the roles
h, m, a|hidden state, MLP, attention
Enter|to the list of facts; there it chooses one
Esc|leave; in the list: no fact`;
const MARKS = `
Colour|the average indirect effect: what restoring a state there brings back
Hatched|no fact has such a token
Peaks|the share of facts whose greatest effect of a kind lies there
Dots|every fact at its effect; line: the average, bar: its 95 % interval
○|this fact's greatest effect lies here`;
const LABEL = "Keys and marks";

export function sweepView(bridge: Bridge<SweepTraits>, host: HTMLElement, abort: AbortSignal): void {
  const view = frame(bridge, host, abort);
  const state = sweepState(bridge, view.width);
  const list = facts(state, view);
  const follow = chosenInSight();
  let root: HTMLElement | undefined;

  view.draw(
    () => {
      const info = state.info.value;
      return {
        attributes: {
          "data-view": "sweep",
          "data-status": "static",
          "data-panel": state.fit.value.panel,
        },
        root: html`
          ${header(
            bridge,
            "Sweep",
            `${info.model} · ${info.n_layers} layers`,
            html`<span class="rw-chip rw-quietly">${counted(info)}</span>`,
            space,
            info.facts.length
              ? choice("Colours show", SHOWN, state.shows.value, (shows) => bridge.set({ shows }))
              : nothing,
          )}
          ${
            info.facts.length
              ? html`<div class="rw-main">
                  <div class="rw-picture">${heatMaps(state, view.id, state.helping.value ? help(state) : nothing)}</div>
                  <aside>${list()}${measured(info)}</aside>
                </div>
                ${detailLine(state)}`
              : empty(info)
          }
        `,
      };
    },
    (drawn) => {
      root = drawn;
      paintHeatMaps(drawn, state, view.theme.value);
      follow(drawn, state);
      openHelp(drawn);
    },
  );
  view.ends(speak(state, () => root));
}

const counted = ({ facts, unknown, failed }: SweepInfo): string =>
  [
    `${facts.length} fact${facts.length === 1 ? "" : "s"}`,
    unknown ? `${unknown} unknown` : "",
    failed ? `${failed} failed` : "",
  ]
    .filter(Boolean)
    .join(" · ");

const empty = (info: SweepInfo): TemplateResult => html`<div class="rw-empty">
  <div class="rw-skeleton"></div>
  <div class="rw-hint"><p>No fact of this sweep was traced.</p><p class="rw-mute">${counted(info)}. Python has the reasons: <code>sweep.facts_to_frame()</code></p></div>
</div>`;

function measured({ total_effect, metric, noise, samples, seed, notes }: SweepInfo): TemplateResult {
  const [mean, half] = total_effect;
  return html`<ul class="rw-notes">
    ${mean === null ? nothing : html`<li>total effect on ${metric}: ${mean.toFixed(3)}${plusMinus(half, 3)}</li>`}
    <li>noise ${noise} · ${samples} sample${samples === 1 ? "" : "s"}${seed === null ? nothing : html` · seed ${seed}`}</li>
    ${notes.map((note) => html`<li>${note}</li>`)}
  </ul>`;
}

/** The cell under the pointer, or the selected one, in words and numbers. */
function detailLine(state: SweepState): TemplateResult {
  const cell = state.hover.value ?? state.cell.value;
  return html`<div class="rw-detail">
    <div class="rw-said">${said(state, cell)}</div>
    <span class="rw-more">${helpButton(LABEL, () => (state.helping.value = true))}</span>
    <p class="rw-unseen rw-spoken" role="status"></p>
  </div>`;
}

function said(state: SweepState, cell: Cell): TemplateResult {
  const [row, layer, kind] = cell;
  const { counts } = state.info.value;
  const { average, interval, peaks, own } = state.at(cell);
  return html`<span><b>${KIND_NAMES[kind]} layer ${layer}, ${ROLE_TITLES[row]?.toLowerCase()}</b></span>
    ${
      Number.isNaN(average)
        ? html`<span class="rw-mute">no fact has such a token</span>`
        : html`<span>average <b>${signed(average)}</b>${plusMinus(interval, 4)} <span class="rw-mute">of ${counts[row]}</span></span>
            <span>${percent(peaks)} of facts peak here</span>`
    }
    ${Number.isNaN(own) ? nothing : html`<span>this fact <b>${signed(own)}</b></span>`}`;
}

/** Repeats the line for screen readers when it has come to rest; returns an end. */
function speak(state: SweepState, root: () => HTMLElement | undefined): () => void {
  let pause: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const fact = state.example.value;
    state.cell.value;
    clearTimeout(pause);
    pause = setTimeout(() => {
      const [line, spoken] = [".rw-said", ".rw-spoken"].map((name) => root()?.querySelector(name));
      if (line && spoken)
        spoken.textContent = `${fact ? `${fact.prompt}: ` : ""}${line.textContent?.replace(/\s+/g, " ").trim()}`;
    }, SETTLED);
  });
  return () => {
    clearTimeout(pause);
    stop();
  };
}

const help = (state: SweepState): TemplateResult =>
  helpDialog(
    LABEL,
    [
      ["Marks", MARKS],
      ["Keys", KEYS],
    ],
    () => (state.helping.value = false),
  );
