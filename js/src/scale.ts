/** The three ways to read a score: as it is, as its rise over corrupted, as the share brought back. Pure. */

import { type Measured, percent, probability, signed, symbol } from "./format.js";
import type { Scale } from "./types.js";

export const SCALES: readonly Scale[] = ["probability", "effect", "share"];

/** Each scale is a straight line of the score, by default a probability: `(p - from) / unit`. */
export interface Reading {
  from: number;
  unit: number;
}

interface Runs {
  clean: number | null;
  corrupted: number | null;
}

/** The line of a scale between two runs; null where they do not say enough for it. */
export function reading(scale: Scale, { clean, corrupted }: Runs): Reading | null {
  if (scale === "probability") return { from: 0, unit: 1 };
  if (corrupted === null) return null;
  if (scale === "effect") return { from: corrupted, unit: 1 };
  // As `results.recovery`: no share of nothing.
  return clean === null || clean - corrupted < 1e-12 ? null : { from: corrupted, unit: clean - corrupted };
}

export const read = (p: number, { from, unit }: Reading): number => (p - from) / unit;

/** The score that reads as `value`. */
export const unread = (value: number, { from, unit }: Reading): number => value * unit + from;

/** What a scale is called beside its numbers; `most` characters of the answers are written out. */
export const scaleName = (scale: Scale, measured: Measured, most?: number): string =>
  scale === "probability" ? symbol(measured, most) : scale;

/** A number on a scale in words; a difference of two keeps its sign. */
export function scaleText(scale: Scale, value: number, digits = 4, difference = false): string {
  if (scale === "share") return difference && value > 0 ? `+${percent(value)}` : percent(value);
  return scale === "effect" || difference ? signed(value, digits) : probability(value, digits);
}

/** The same, as short as it can be said: what fits into a cell. */
export const shortText = (scale: Scale, value: number, difference = false): string =>
  scaleText(scale, value, 2, difference)
    .replace(/(^|\D)0\./, "$1.")
    .replace("\u202f%", "");
