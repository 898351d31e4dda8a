/** Where the subject of the prompt in the form is: what Python found, what was chosen, and what else is offered. */

import { html, nothing } from "lit-html";
import type { Bridge } from "../../bridge.js";
import { tokenLabel } from "../../format.js";
import type { ExplorerTraits, SubjectPlaces } from "../../types.js";
import { choice, type Part } from "../controls.js";

export type Place = [start: number, stop: number];
/** Words marked in the prompt, and where they begin. */
export type Marked = { words: string; at: number };

export function subjectPlaces(bridge: Bridge<ExplorerTraits>) {
  /** A place as Python counts characters, and as JavaScript does: pairs of surrogates are one there. */
  const counted = (at: number, words: string): Place => {
    const start = [...bridge.get("prompt").slice(0, at)].length;
    return [start, start + [...words].length];
  };
  const index = (at: number): number => [...bridge.get("prompt")].slice(0, at).join("").length;

  /** What Python says of this prompt and subject; of words that are being typed, wherever they are. */
  function places(): { at: Place[]; there: boolean; offers: string[]; known: boolean } {
    const [prompt, subject] = [bridge.get("prompt"), bridge.get("subject")];
    const known = bridge.get("subject_places");
    if (known.prompt === prompt && known.subject === subject)
      return { ...(known as SubjectPlaces), known: true };
    const at: Place[] = [];
    for (let i = prompt.indexOf(subject); subject && i >= 0; i = prompt.indexOf(subject, i + 1))
      at.push(counted(i, subject));
    return { at, there: at.length > 0, offers: [], known: false };
  }

  /** Which of its places are meant: all, the one that was chosen, else the last; of several, Python knows. */
  function meant(): { all: Place[]; at: Place[]; chosen: boolean } {
    const { at: all, known } = places();
    const place = bridge.get("place");
    const text = place && [...bridge.get("prompt")].slice(...place).join("");
    if (bridge.get("all_mentions")) return { all, at: all, chosen: false };
    if (place && text === bridge.get("subject")) return { all, at: [place], chosen: true };
    return { all, at: known || all.length === 1 ? all.slice(-1) : [], chosen: false };
  }

  return { counted, index, places, meant };
}

/** What stands beside the subject: another one that was marked or is likely, or which of its places is meant. */
export function whichSubject(
  bridge: Bridge<ExplorerTraits>,
  { counted, index, places, meant }: ReturnType<typeof subjectPlaces>,
  { words, at: from }: Marked,
  choose: (subject: string, place?: Place | null) => void,
): Part {
  const subject = bridge.get("subject");
  const { there, offers } = places();
  const { all, at } = meant();
  const [first] = at;
  if (words && !(words === subject && first && index(first[0]) === from))
    return html`<button class="rw-button rw-small" type="button" data-action="subject" @pointerdown=${(
      event: Event,
    ) => {
      event.preventDefault();
      choose(words, counted(from, words));
    }}>
      make “<bdi>${tokenLabel(words, 24)}</bdi>” the subject
    </button>`;
  if (!there && bridge.get("prompt").trim())
    return html`${subject ? html`<span class="rw-attention">not in the prompt</span>` : nothing}${offers.map(
      (offer) =>
        html`<button class="rw-button rw-small" type="button" data-action="offer" title="Take these words of the prompt as its subject; or mark others in it" @click=${() => choose(offer)}>
          did you mean “<bdi>${tokenLabel(offer, 24)}</bdi>”?
        </button>`,
    )}`;
  if (all.length < 2) return nothing;
  const every = bridge.get("all_mentions");
  return html`<span class="rw-mute" title="The subject stands in the prompt ${all.length} times; one of them is corrupted, or all.">which one</span>${choice(
    "Which occurrence of the subject",
    [...all.map((_, n) => [`${n}`, `${n + 1}`] as const), ["all", "all"] as const],
    every ? "all" : `${all.findIndex(([start]) => start === at[0]?.[0])}`,
    (n) => (n === "all" ? bridge.set({ place: null, all_mentions: true }) : choose(subject, all[Number(n)])),
  )}`;
}

/** A text with these of its places marked. */
export function withMarks(text: string, spans: [number, number][]): unknown {
  // Of mentions that overlap, as "aa" in "aaa", the second is marked from where the first ends.
  const ends = [0];
  for (const [start, stop] of spans) ends.push(Math.max(start, ends.at(-1) ?? 0), stop);
  ends.push(text.length);
  return spans.length === 0
    ? text
    : ends.slice(1).map((stop, i) => {
        const piece = text.slice(ends[i], stop);
        return i % 2 ? html`<mark>${piece}</mark>` : piece;
      });
}
