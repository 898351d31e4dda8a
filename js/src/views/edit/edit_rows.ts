/** Prompts before and after an edit, those of the person among them. */

import { html, nothing, type TemplateResult } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { joint, probability, tokenLabel } from "../../format.js";
import type { ChangeRow, EditTraits, Outcome } from "../../types.js";
import { change, entered, heads, iconButton, type Part } from "../controls.js";

const GROUPS = {
  rewrite: "rewrite",
  paraphrase: "paraphrase",
  neighborhood: "neighborhood",
  other: "other facts",
  free: "your own",
};

export const DELTA = "Probability after minus before";

export function editRows(bridge: Bridge<EditTraits>): TemplateResult {
  const rows = bridge.get("rows");
  return html`<section aria-label="Before and after">
    <h4>Before and after</h4>
    <table class="rw-sheet rw-changes">
      ${heads("kind", "prompt", "before", "after", html`<th scope="col" title=${DELTA}>Δ</th>`, "")}
      <tbody>${rows.map((row, at) => promptRow(bridge, row, rows[at - 1]?.group !== row.group))}</tbody>
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

/** The `first` of its group says which that is. */
function promptRow(bridge: Bridge<EditTraits>, row: ChangeRow, first: boolean): TemplateResult {
  return html`<tr data-group=${row.group} class=${first ? "rw-first-of" : ""}>
    <td class="rw-mute">${first ? GROUPS[row.group] : nothing}</td><th scope="row">${row.text}${removeButton(bridge, row)}</th>
    ${row.message ? html`<td class="rw-attention" colspan="4">${row.message}</td>` : outcomes(row)}
  </tr>`;
}

/** For a prompt of the person's own. */
function removeButton(bridge: Bridge<EditTraits>, { group, text }: ChangeRow): Part {
  const tests = bridge.get("tests");
  const others = tests.filter((test) => test.group !== "free" || test.text !== text);
  if (group !== "free" || others.length === tests.length) return nothing;
  const remove = (event: Event) => {
    (event.target as HTMLElement).closest("section")?.querySelector("input")?.focus(); // The button goes.
    bridge.set({ tests: others });
  };
  return html` ${iconButton("remove", "✕", `Remove ${text}`, remove, "Remove")}`;
}

function outcomes(row: ChangeRow): TemplateResult {
  const { before, after, delta, followed, first, good, verdict } = row;
  const said = (name: string, { token, probability: p }: Outcome) =>
    html`<td data-head=${name} class=${token === before.token ? "" : "rw-differs"}><span><bdi>${tokenLabel(token)}</bdi></span> ${probability(p, 3)}</td>`;
  return html`${said("before", before)}${said("after", after)}
    <td data-head="Δ" title=${DELTA}>${change(delta, 3)}<small title=${first ? ofAll(row) : nothing}>p(<bdi>${tokenLabel(followed)}</bdi>)${
      first
        ? html`<br />first token <bdi>${tokenLabel(first.token)}</bdi> ${joint(first.before, 3)} → ${joint(first.after, 3)}`
        : nothing
    }</small></td>
    <td class=${good === false ? "rw-wrong" : good ? "rw-right" : "rw-mute"}>${good === null ? "" : good ? "✓ " : "✗ "}${verdict}</td>`;
}

/** A word of several tokens, whole, in numbers that may be tiny. */
function ofAll({ followed, words, before, after }: ChangeRow): string {
  const which = followed === words.target ? "target" : "true";
  return `All tokens of “${followed}”, each after those before it: ${joint(before[which])} → ${joint(after[which])}`;
}
