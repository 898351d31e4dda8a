/** How an edit was optimised, and what its strength does: a small chart each. */

import { effect, signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { joint, probability, tokenLabel } from "../../format.js";
import type { EditRecord, EditTraits } from "../../types.js";
import type { Part } from "../controls.js";
import type { Frame } from "../frame.js";
import { curves } from "../line_chart.js";
import type { Live } from "../live.js";

/** The largest strength. */
const MOST = 1.5;

/** A slider for the strength of an edit, and what it does to both objects. */
export function strengthSlider(bridge: Bridge<EditTraits>, model: Live, view: Frame) {
  /** Where the finger holds the slider, until Python's value has caught up. */
  const held = signal<{ edit: string; value: number; down: boolean } | null>(null);
  view.ends(
    effect(() => {
      bridge.get("edits"); // Python has spoken: its strength is the one that counts.
      if (!held.peek()?.down) held.value = null;
    }),
  );

  const slide = (edit: EditRecord, down: boolean) => (event: Event) => {
    const now = (event.target as HTMLInputElement).valueAsNumber;
    held.value = { edit: edit.id, value: now, down };
    if (down) bridge.set({ _strengths: { ...bridge.get("_strengths"), [edit.id]: [model.next(), now] } });
    else if (edit.strength === now) held.value = null;
  };

  return (edit: EditRecord): TemplateResult => {
    const finger = held.value;
    const value = finger?.edit === edit.id ? finger.value : edit.strength;
    return html`<section aria-label="Strength">
      <h4>Strength <span class="rw-mute">· ${edit.applied ? `× ${value.toFixed(2)}` : "reverted"}</span></h4>
      ${strengthChart(bridge, edit, value)}
      <input class="rw-range rw-slide" type="range" data-field="strength" aria-label="Strength" min="0" max=${MOST} step="0.01" data-is=${String(value)}
        ?disabled=${!edit.applied || !view.connected()} @input=${slide(edit, true)} @change=${slide(edit, false)} />
      <div class="rw-ends"><span>0</span><span>0.5</span><span>1</span><span>1.5</span></div>
    </section>`;
  };
}

/** The probabilities of the new and the old object, now and at the strengths that were tried. */
function strengthChart(bridge: Bridge<EditTraits>, edit: EditRecord, value: number): TemplateResult {
  const trail = bridge.get("trail");
  const [row] = bridge.get("rows");
  const { target, true_object } = edit.request;
  const { after: now, words } = row?.group === "rewrite" ? row : {};
  const key = (at: number, word: string, p: number | null | undefined) =>
    html`<span class=${`rw-key-${at}`}>p(<bdi>${tokenLabel(word)}</bdi>) <b>${joint(p, 3)}</b></span>`;
  return html`<p class="rw-keys">${key(0, words?.target || target, now?.target)}
      ${true_object ? key(1, words?.true || true_object, now?.true) : nothing}</p>
    ${curves("Probability of the new and the true object by strength", 308, 96, [MOST, 1], [trail.map(([s, p]) => [s, p]), trail.map(([s, , p]) => [s, p])], edit.applied ? value : undefined, trail.length > 2)}`;
}

/** The loss, live while an edit runs, else that of the edit shown. */
export function lossChart(bridge: Bridge<EditTraits>, model: Live, edit: EditRecord | undefined): Part {
  const steps = bridge.get("steps");
  const running = model.busy() && steps.length > 0;
  const losses = running ? steps.map(([loss = null]) => loss) : (edit?.curve ?? []);
  if (losses.length === 0) return nothing;
  const [, nll, kl, p] = steps.at(-1) ?? [];
  const { target, tokens = [] } = bridge.get("about_target");
  /** Of several tokens the optimisation follows the mean, which is not the probability of the word. */
  const perToken = tokens.length > 1 && target === bridge.get("target") ? " per token" : "";
  return html`<section aria-label="Optimisation" data-steps=${losses.length}>
    <h4>Optimising <span class="rw-mute">· ${losses.length} step${losses.length === 1 ? "" : "s"} · loss ${probability(losses.at(-1), 3)}${running ? ` · nll ${probability(nll, 3)} · KL ${probability(kl, 3)} · p(new)${perToken} ${probability(p, 3)}` : nothing}</span></h4>
    ${curves("Loss by step", 540, 84, [Math.max(losses.length - 1, 1), Math.max(...losses.map(Number))], [losses.map((loss, step) => [step, loss])])}
    ${running || !edit ? nothing : html`<p class="rw-note">${methodTitle(bridge, edit.request.method)} at layer ${edit.layer}: ${edit.layer_reason}</p>`}
  </section>`;
}

/** An edit from a file may be of a method that is not there. */
const methodTitle = (bridge: Bridge<EditTraits>, method: string): string =>
  bridge.get("engine").methods[method]?.title ?? method;
