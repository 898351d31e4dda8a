/** `EditPanel`: a fact to write, the optimisation as it runs, the history, and before and after. */

import { effect, signal } from "@preact/signals-core";
import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { probability, tokenLabel } from "../../format.js";
import { orders } from "../../orders.js";
import type { ChangeRow, EditRecord, EditRequest, EditTraits, Outcome } from "../../types.js";
import {
  button,
  change,
  chip,
  choice,
  entered,
  errorStrip,
  example,
  header,
  heads,
  type Part,
  progressLine,
  space,
  textField,
} from "../controls.js";
import { frame } from "../frame.js";
import { curves } from "../line_chart.js";
import { live } from "../live.js";

const FORM = ["template", "subject", "target", "true_object", "method", "layer", "settings"] as const;
const METHODS: Record<string, string> = { rome: "ROME", "r-rome": "r-ROME", ft: "FT", "ft-l": "FT-L" };
const WORDS = {
  template: ["prompt", "{} is in the city of", 26],
  subject: ["subject", "its subject", 18],
  target: ["new object", "a new word", 12],
  true_object: ["now", "the old word", 12],
} as const;
/** A share of prompts: its name, the head of its column, and what it says. */
const SCORES = [
  ["efficacy", "effic.", "Share of prompts where it says the new object"],
  ["paraphrase", "parap.", "The same, of the fact in other words"],
  ["neighbourhood", "neigh.", "Share of prompts about other subjects where it says what it said"],
  ["others", "others", "The same, of other facts about the subject"],
] as const;
const WEIGHTS = [
  "Something else wrote to the weights: they are not what they were before any edit, plus the edits that are ticked",
  "Bit for bit, the weights are what they were before any edit, plus the edits that are ticked",
] as const;
const GROUPS = {
  rewrite: "rewrite",
  paraphrase: "paraphrase",
  neighbourhood: "neighbourhood",
  other: "other facts",
  free: "your own",
};
const MOST = 1.5;

const fill = ({ template, subject }: EditRequest): string => template.replace("{}", () => subject);
const word = (text: string | null | undefined): TemplateResult => html`<bdi>${tokenLabel(text ?? "")}</bdi>`;

export function editView(bridge: Bridge<EditTraits>, host: HTMLElement, abort: AbortSignal): void {
  const model = live(bridge);
  const view = frame(bridge, host, abort);
  const { open, give } = orders(bridge, abort);
  /** Where the finger holds the slider, until Python's value has caught up. */
  const held = signal<{ edit: string; value: number; down: boolean } | null>(null);

  const form = () => Object.fromEntries(FORM.map((key) => [key, bridge.get(key)])) as unknown as EditRequest;
  const ready = () =>
    view.connected() && bridge.get("subject").trim() !== "" && bridge.get("target").trim() !== "";
  /** Whether the user is being asked if the edit shall go on top of others. */
  const asking = signal(false);
  const apply = () => {
    if (!ready() || model.busy()) return;
    asking.value = Number(bridge.get("ledger").n_active) > 0;
    if (!asking.value) applyNow();
  };
  const applyNow = (first?: "revert_all") => {
    asking.value = false;
    give("edit", { request: form(), first });
  };
  const suggest = () => model.ask("suggest");
  /** Only what failed is done again, and an edit only after the question that comes before it. */
  const trouble = errorStrip(model, (cause) =>
    !ready() || model.busy() ? undefined : ({ edit: apply, suggest } as Record<string, () => void>)[cause],
  );

  view.ends(
    effect(() => {
      bridge.get("edits"); // Python has spoken: its strength is the one that counts.
      if (!held.peek()?.down) held.value = null;
    }),
  );

  view.draw(() => {
    const edits = bridge.get("edits");
    return {
      attributes: model.attributes(view, "edit"),
      root: html`
        ${header(bridge as never, "Edit a fact", `${bridge.get("engine").model} · ${bridge.get("engine").n_layers} layers`, space, said())}
        ${progressLine(model, "Edit")}
        ${sentence()}
        ${fields()}
        ${knobs()}
        ${trouble()}
        ${edits.length > 0 || model.busy() ? body(edits) : hint()}
      `,
    };
  });

  /** What was done beside how strongly; below, what it did. */
  function body(edits: readonly EditRecord[]): TemplateResult {
    const edit = edits.find(({ id }) => id === bridge.get("selected"));
    return html`<div class=${edit ? "rw-main" : "rw-ruled"}>
        <div class="rw-sheets">${edit ? history(edits) : nothing}${optimising(edit)}</div>
        ${edit ? html`<aside>${strength(edit)}</aside>` : nothing}
      </div>
      ${edit ? html`<div class="rw-sheets rw-ruled">${changes()}</div>` : nothing}`;
  }

  function said(): Part {
    const steps = bridge.get("steps").length;
    const computing = open().some(({ op }) => op === "edit") || steps > 0;
    return model.chip(
      view,
      computing ? `step ${steps} · ${model.share()}` : "changing weights",
      model.status(view) === "cancelled" ? chip("cancelled: no edit was made", "rw-attention") : nothing,
    );
  }

  /** The request as it will read. */
  function sentence(): TemplateResult {
    const { template, subject, target, true_object } = form();
    const [before = "", after = ""] = template.split("{}");
    return html`<div class="rw-prompt">
      <p class="rw-sentence rw-grow">${before}<mark>${subject || "subject"}</mark>${after} <b>${target || "new object"}</b>${
        true_object ? html`<span class="rw-leads"> (now ${true_object})</span>` : nothing
      }</p>
      ${
        model.busy()
          ? button("cancel", "Cancel", model.cancel, false, "rw-button")
          : button("apply", "Apply", apply, !ready(), "rw-button rw-primary")
      }
    </div>
    ${asking.value && ready() && !model.busy() ? question() : nothing}`;
  }

  /** An edit is computed on the weights as they are: on top of another it is another edit. */
  function question(): TemplateResult {
    const count = bridge.get("ledger").n_active;
    return html`<div class="rw-error rw-ask" role="alert"><div>The model holds ${count === 1 ? "an edit" : `${count} edits`} already.</div>
      ${button("on-top", "Edit on top", () => applyNow(), false, "rw-button")}
      ${button("revert-first", "Revert first", () => applyNow("revert_all"), false, "rw-button")}
      ${button("not-now", "Not now", () => (asking.value = false), false, "rw-quiet")}
    </div>`;
  }

  function fields(): TemplateResult {
    return html`<div class="rw-controls rw-words">
      ${Object.entries(WORDS).map(([key, [name, empty, width]]) => {
        const trait = key as keyof typeof WORDS;
        return html`<label class="rw-field">${name} ${textField(bridge, trait, name, empty, width, apply)}</label>`;
      })}
    </div>`;
  }

  function knobs(): TemplateResult {
    const { n_layers, defaults } = bridge.get("engine");
    const { method, layer, settings } = form();
    const { waiting, reason, layer: hinted } = bridge.get("suggestion");
    return html`<div class="rw-controls rw-second">
      ${choice(
        "Method",
        Object.keys(defaults).map((name) => [name, METHODS[name] ?? name]),
        method,
        (value) => bridge.set({ method: value, settings: {} }),
      )}
      <label class="rw-field">layer
        <input type="range" data-field="layer" min="0" max=${n_layers - 1} data-is=${String(layer ?? 0)} class=${`rw-range ${layer === null ? "rw-unset" : ""}`}
          @input=${(event: Event) => bridge.set({ layer: (event.target as HTMLInputElement).valueAsNumber })} />
        <b>${layer ?? "auto"}</b>
      </label>
      ${layer === null ? nothing : button("auto", "auto", () => bridge.set({ layer: null }), false, "rw-quiet")}
      ${button("suggest", waiting ? "tracing…" : "from trace", suggest, waiting || !ready())}
      ${reason && hinted === layer ? html`<span class="rw-mute">${reason}</span>` : nothing}
      <details class="rw-settings"><summary>settings</summary>
        <div class="rw-numbers">${Object.entries(defaults[method] ?? {}).map(
          ([name, value]) => html`<label class="rw-field">${name.replaceAll("_", " ")}
            <input type="number" step="any" data-setting=${name} style="width:7ch" placeholder=${value ?? "auto"} data-is=${settings[name]?.toString() ?? ""}
              @change=${(event: Event) => {
                const given = (event.target as HTMLInputElement).valueAsNumber;
                const { [name]: _, ...others } = settings;
                bridge.set({ settings: Number.isFinite(given) ? { ...others, [name]: given } : others });
              }} /></label>`,
        )}</div>
      </details>
    </div>`;
  }

  function history(edits: readonly EditRecord[]): TemplateResult {
    const pending = open();
    const { fingerprint_ok: match } = bridge.get("ledger");
    return html`<section aria-label="History">
      <header class="rw-bar-top"><h4>History</h4>${space}
        ${
          match === null || match === undefined
            ? nothing
            : html`<span class=${`rw-weights ${match ? "rw-mute" : "rw-wrong"}`} title=${WEIGHTS[match ? 1 : 0]}>${match ? "weights match ✓" : "weights do not match ✗"}</span>`
        }
        ${button("revert-all", "Revert all", () => give("revert_all"), !view.connected() || !edits.some((edit) => edit.applied))}
      </header>
      <table class="rw-sheet rw-history">
        ${heads(
          html`<th scope="col"><span class="rw-unseen">applied</span></th>`,
          "edit",
          "layer",
          html`<th scope="col" title="Size of the change over the size of the weights">‖Δ‖/‖W‖</th>`,
          ...SCORES.map(([, short, title]) => html`<th scope="col" title=${title}>${short}</th>`),
          "",
        )}
        <tbody>${edits.map((edit) => {
          const waits =
            !view.connected() ||
            pending.some(({ op, edit: of, first }) => of === edit.id || [op, first].includes("revert_all"));
          const put = (applied: boolean) => give("applied", { edit: edit.id, applied });
          const chosen = edit.id === bridge.get("selected");
          const remarks = edit.warnings.map((each) => html`<small class="rw-attention">⚠ ${each}</small>`);
          if (edit.strength !== 1)
            remarks.push(
              html`<small>strength × ${edit.strength.toFixed(2)}; the figures above are those of × 1</small>`,
            );
          const noted = remarks.length > 0;
          return html`<tr data-edit=${edit.id} class=${`${chosen ? "rw-chosen" : ""}${edit.applied ? "" : " rw-off"}${noted ? " rw-noted" : ""}`}>
            <td><input type="checkbox" aria-label="applied" data-is=${edit.applied} ?disabled=${waits}
              @change=${(event: Event) => put((event.target as HTMLInputElement).checked)} /></td>
            <th scope="row"><button class="rw-pick" type="button" aria-pressed=${chosen} title="Show this edit" @click=${() => bridge.set({ selected: edit.id })}>
              ${fill(edit.request)} → <b>${word(edit.request.target)}</b></button></th>
            <td title=${edit.layer_reason}>${edit.layer}</td><td>${probability(edit.norm_ratio, 3)}</td>
            ${SCORES.map(([name]) => html`<td>${probability(edit.scores[name], 2)}</td>`)}
            <td>${edit.applied ? button("revert", "Revert", () => put(false), waits, "rw-quiet") : button("reapply", "Reapply", () => put(true), waits, "rw-quiet")}</td></tr>
            ${noted ? html`<tr class=${`rw-remarks${chosen ? " rw-chosen" : ""}`}><td></td><td colspan="8">${remarks}</td></tr>` : nothing}`;
        })}</tbody>
      </table>
    </section>`;
  }

  function changes(): TemplateResult {
    const rows = bridge.get("rows");
    return html`<section aria-label="Before and after">
      <h4>Before and after</h4>
      <table class="rw-sheet rw-changes">
        ${heads("kind", "prompt", "before", "after", "Δ", "")}
        <tbody>${rows.map((row, at) => changed(row, rows[at - 1]?.group !== row.group))}</tbody>
      </table>
      <input class="rw-try" type="text" data-field="test" spellcheck="false" placeholder="+ try a prompt of your own" aria-label="A prompt of your own"
        @keydown=${entered((input) => {
          if (!input.value.trim()) return;
          const test = { text: input.value, group: "free", target: null, true_object: null } as const;
          bridge.set({ tests: [...bridge.get("tests"), test] });
          input.value = "";
        })} />
    </section>`;
  }

  function changed(row: ChangeRow, first: boolean): TemplateResult {
    const said = ({ token, probability: p }: Outcome, other: Outcome) =>
      html`<td class=${token === other.token ? "" : "rw-differs"}><span>${word(token)}</span> ${probability(p, 3)}</td>`;
    const others = bridge.get("tests").filter(({ group, text }) => group !== "free" || text !== row.text);
    const own = row.group === "free" && others.length < bridge.get("tests").length;
    return html`<tr data-group=${row.group} class=${first ? "rw-first-of" : ""}>
      <td class="rw-mute">${first ? GROUPS[row.group] : nothing}</td><th scope="row">${row.text}${
        own
          ? html` <button class="rw-quiet" type="button" data-action="remove" title="Remove" aria-label="Remove ${row.text}" @click=${(
              event: Event,
            ) => {
              (event.target as HTMLElement).closest("section")?.querySelector("input")?.focus(); // The button goes.
              bridge.set({ tests: others });
            }}>✕</button>`
          : nothing
      }</th>
      ${
        row.message
          ? html`<td class="rw-attention" colspan="4">${row.message}</td>`
          : html`${said(row.before, row.before)}${said(row.after, row.before)}
      <td>${change(row.delta, 3)}<small>p(${word(row.followed)})</small></td>
      <td class=${row.good === false ? "rw-wrong" : row.good ? "rw-right" : "rw-mute"}>${row.good === null ? "" : row.good ? "✓ " : "✗ "}${row.verdict}</td>`
      }
    </tr>`;
  }

  function strength(edit: EditRecord): TemplateResult {
    const finger = held.value;
    const value = finger?.edit === edit.id ? finger.value : edit.strength;
    const trail = bridge.get("trail");
    const [row] = bridge.get("rows");
    const { target, true_object } = edit.request;
    const slide = (down: boolean) => (event: Event) => {
      const now = (event.target as HTMLInputElement).valueAsNumber;
      held.value = { edit: edit.id, value: now, down };
      if (down) bridge.set({ _strengths: { ...bridge.get("_strengths"), [edit.id]: [model.next(), now] } });
      else if (edit.strength === now) held.value = null;
    };
    const shown = row?.group === "rewrite" ? row : null;
    const { after: now, words } = shown ?? {};
    return html`<section aria-label="Strength">
      <h4>Strength <span class="rw-mute">· ${edit.applied ? `× ${value.toFixed(2)}` : "reverted"}</span></h4>
      <p class="rw-keys"><span class="rw-key-0">p(${word(words?.target || target)}) <b>${probability(now?.target, 3)}</b></span>
        ${true_object ? html`<span class="rw-key-1">p(${word(words?.true || true_object)}) <b>${probability(now?.true, 3)}</b></span>` : nothing}</p>
      ${curves("Probability of the new and the true object by strength", 308, 96, [MOST, 1], [trail.map(([s, p]) => [s, p]), trail.map(([s, , p]) => [s, p])], edit.applied ? value : undefined, trail.length > 2)}
      <input class="rw-range rw-slide" type="range" data-field="strength" aria-label="Strength" min="0" max=${MOST} step="0.01" data-is=${String(value)}
        ?disabled=${!edit.applied || !view.connected()} @input=${slide(true)} @change=${slide(false)} />
      <div class="rw-ends"><span>0</span><span>0.5</span><span>1</span><span>1.5</span></div>
    </section>`;
  }

  /** The loss, live while an edit runs, else that of the edit shown. */
  function optimising(edit: EditRecord | undefined): Part {
    const steps = bridge.get("steps");
    const running = model.busy() && steps.length > 0;
    const losses = running ? steps.map(([loss = null]) => loss) : (edit?.curve ?? []);
    if (losses.length === 0) return nothing;
    const [, nll, kl, p] = steps.at(-1) ?? [];
    return html`<section aria-label="Optimisation" data-steps=${losses.length}>
      <h4>Optimising v* <span class="rw-mute">· ${losses.length} step${losses.length === 1 ? "" : "s"} · loss ${probability(losses.at(-1), 3)}${running ? ` · nll ${probability(nll, 3)} · KL ${probability(kl, 3)} · p(new) ${probability(p, 3)}` : nothing}</span></h4>
      ${curves("Loss by step", 540, 84, [Math.max(losses.length - 1, 1), Math.max(...losses.map(Number))], [losses.map((loss, step) => [step, loss])])}
      ${running || !edit ? nothing : html`<p class="rw-note">${METHODS[edit.request.method] ?? edit.request.method} at layer ${edit.layer}: ${edit.layer_reason}</p>`}
    </section>`;
  }

  function hint(): TemplateResult {
    return html`<div class="rw-empty"><div class="rw-hint">
      <p>Name a subject and what the model should say of it. Every edit can be taken back.</p>
      ${bridge
        .get("engine")
        .examples.slice(0, 3)
        .map((each) =>
          example(`${fill(each)} → ${each.target}`, () =>
            bridge.set({ ...each, method: bridge.get("method") }),
          ),
        )}
    </div></div>`;
  }
}
