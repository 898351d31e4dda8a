/** What a screen reader is told about the grid. Pure. */

import { estimated, type Measured, percent, probability, symbol, tokenLabel } from "./format.js";

/** A difference in words: not every reader says a sign. */
const upOrDown = (value: number): string => `${value < 0 ? "down" : "up"} ${probability(Math.abs(value), 3)}`;

/** A score and its rise over the corrupted run. */
export function scoreText(score: number, corrupted: number | null, measured: string): string {
  if (Number.isNaN(score)) return "not computed";
  const change = corrupted === null ? "" : `, ${upOrDown(score - corrupted)}`;
  return `${measured} ${probability(score, 3)}${change}`;
}

/** One grid cell in words, for its row beside the picture. */
export function cellText(
  layer: number,
  score: number,
  corrupted: number | null,
  estimate = Number.NaN,
  before = Number.NaN,
  /** What that is called. */
  name = "before",
  /** What is measured. */
  measured = "p",
): string {
  const guessed = Number.isNaN(score) && !Number.isNaN(estimate);
  const said = guessed ? estimated(estimate) : scoreText(score, corrupted, measured);
  const edited = Number.isNaN(score - before) ? "" : `, ${upOrDown(score - before)} from ${name}`;
  return `layer ${layer}, ${said}${edited}`;
}

/** Same for the label of a row. */
export const rowText = (token: string, corrupted: boolean): string =>
  `${tokenLabel(token)}${corrupted ? ", corrupted" : ""}`;

/** The live region's sentence about a restoration. */
export function restorationText(
  measured: Measured,
  score: number | null,
  recovery: number | null,
  count: number,
): string {
  const back = recovery === null ? "" : `, ${percent(recovery)} of the fact is back`;
  if (score === null) return "";
  return `${count} restored: ${symbol(measured)} ${probability(score)}${back}`;
}
