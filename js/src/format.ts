/** Numbers and tokens as people read them. Pure. */

import { groups } from "./selection.js";
import type { Kind, Selection, TraceMetric } from "./types.js";

export const KIND_NAMES: Record<Kind, string> = { hidden: "Hidden state", mlp: "MLP", attn: "Attention" };
const IN_SENTENCE: Record<Kind, string> = { hidden: "hidden", mlp: "MLP", attn: "attention" };
const MISSING = "–";

const known = (value: number | null | undefined): value is number =>
  value !== null && value !== undefined && Number.isFinite(value);

/** `0.4123`; a probability that is tiny but not zero says so. Other scores have a real minus: `−2.7256`. */
export function probability(value: number | null | undefined, digits = 4): string {
  if (!known(value)) return MISSING;
  const smallest = 10 ** -digits;
  if (value > 0 && value < smallest / 2) return `<${smallest.toFixed(digits)}`;
  return value < 0 ? signed(value, digits) : value.toFixed(digits);
}

/** What is measured of a prediction: `p(Rome)`, `log p(Rome)`, `logit(Rome) − logit(Paris)`. */
export interface Measured {
  metric: TraceMetric;
  answer: string;
  against: string;
}

/** The same as text; `most` characters of the answers are written out. */
export function symbol({ metric, answer, against }: Measured, most?: number): string {
  const [one, other] = [tokenLabel(answer || "answer", most), tokenLabel(against, most)];
  if (metric === "logit_difference") return `logit(${one}) \u2212 logit(${other})`;
  return metric === "logprob" ? `log p(${one})` : `p(${one})`;
}

/** Before a number, where there is no room for the answer. */
export const SHORT: Record<TraceMetric, string> = {
  probability: "p",
  logprob: "log p",
  logit_difference: "logit difference",
};

/** A product of probabilities, which may be so small that it needs its exponent: `2.5e-11`. */
export const joint = (value: number | null | undefined, digits = 4): string =>
  known(value) && value > 0 && value < 0.001 ? value.toExponential(1) : probability(value, digits);

/** A number that was not measured: said so, and never with more digits than it deserves. */
export const estimated = (value: number): string => `estimate ≈ ${value.toFixed(2)}`;

/** A difference with its sign, as a real minus: `+0.3764`, `−0.1702`. */
export function signed(value: number | null | undefined, digits = 4): string {
  if (!known(value)) return MISSING;
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

/** Half a width of an interval, ` ± 0.0120`; nothing where none is known. */
export const plusMinus = (half: number | null, digits: number, words = "±"): string =>
  known(half) ? ` ${words} ${half.toFixed(digits)}` : "";

/** `to − from`, where both are known. */
export const less = (to: number | null, from: number | null): number | null =>
  to === null || from === null ? null : to - from;

export type Direction = "up" | "down" | "level";

/** Which way a difference goes, at the precision it is written with. */
export function direction(value: number | null | undefined, digits = 4): Direction {
  if (!known(value) || Number(Math.abs(value).toFixed(digits)) === 0) return "level";
  return value > 0 ? "up" : "down";
}

export const ARROWS: Record<Direction, string> = { up: "▲", down: "▼", level: "·" };

/** A share as a whole percentage: `42 %`, `−3 %`. */
export function percent(value: number | null | undefined): string {
  if (!known(value)) return MISSING;
  const whole = Math.round(value * 100);
  return `${whole < 0 ? "\u2212" : ""}${Math.abs(whole)}\u202f%`;
}

/** `310 ms`, `2.4 s`. */
export function duration(ms: number | null | undefined): string {
  if (!known(ms)) return "";
  return ms < 1000 ? `${Math.round(ms)}\u202fms` : `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)}\u202fs`;
}

/** Characters that would not be seen, or would move others: written out. */
const UNSEEN = /[\u0000-\u001f\u007f\u0080-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function picture(character: string): string {
  const code = character.charCodeAt(0);
  if (character === "\n") return "⏎";
  if (character === "\t") return "⇥";
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "␡";
  return `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** Any text with what cannot be seen made visible; the rest is untouched. */
export const visible = (text: string): string => text.replace(UNSEEN, picture);

/** A token as a row label: its leading space dropped, controls drawn, nothing longer than `most`. */
export function tokenLabel(token: string, most = 40): string {
  const word = token.startsWith(" ") && token.length > 1 ? token.slice(1) : token;
  if (word !== "" && word.trim() === "" && !/[\n\t]/.test(word)) return "␣".repeat(Math.min(word.length, 4));
  const shown = [...visible(word)];
  return shown.length > most ? `${shown.slice(0, most - 1).join("")}…` : shown.join("");
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;

export const stateCount = (count: number): string => plural(count, "state");

/** `MLP 2–4 and hidden 4 at “le”`: which states these are. Beyond `most` groups the rest are counted. */
export function describe(states: Selection, tokens: readonly string[], most = 4): string {
  const parts = groups(states);
  const byPos = new Map<number, string[]>();
  for (const { pos, kind, runs } of parts.slice(0, most)) {
    const layers = runs.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
    byPos.set(pos, [...(byPos.get(pos) ?? []), `${IN_SENTENCE[kind]} ${layers}`]);
  }
  const said = [...byPos].map(([pos, what]) => `${what.join(" and ")} at “${tokenLabel(tokens[pos] ?? "")}”`);
  if (parts.length > most) said.push(`${parts.length - most} more`);
  return said.join("; ");
}

/** The words under a plot: which layers one of its cells restores. */
export function axisCaption(kind: Kind, window: number | undefined): string {
  if (kind === "hidden") return "single restored layer";
  if (window === undefined) return "restored layers";
  return window === 1 ? "single restored layer" : `centre of ${window} restored layers`;
}

/** `layer 4` or `layers 2–4`, for `[start, stop)`. */
export const layerRange = ([start, stop]: readonly [number, number]): string =>
  stop - start === 1 ? `layer ${start}` : `layers ${start}–${stop - 1}`;
