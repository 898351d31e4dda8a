/** Small line charts: the loss of an edit, and what its strength does. */

import { svg, type TemplateResult } from "lit-html";

export type Curve = readonly (readonly [x: number, y: number | null])[];

const EDGE = 5;

/** Curves over x in [0, `right`] and y in [0, `top`]; a `mark` is a vertical line. */
export function curves(
  label: string,
  width: number,
  height: number,
  [right, top]: readonly [number, number],
  lines: readonly Curve[],
  mark?: number,
): TemplateResult {
  const x = (value: number) => EDGE + (value / (right || 1)) * (width - 2 * EDGE);
  const y = (value: number) => height - EDGE - (Math.min(value, top) / (top || 1)) * (height - 2 * EDGE);
  const known = lines.map((line) => line.flatMap(([a, b]) => (b === null ? [] : [[x(a), y(b)] as const])));
  return svg`<svg class="rw-curves" viewBox="0 0 ${width} ${height}" role="img" aria-label=${label}>
    <path class="rw-axis" d="M0 ${height - EDGE}H${width}" />
    ${mark === undefined ? "" : svg`<path class="rw-mark" d="M${x(mark)} 0V${height}" />`}
    ${known.map((line, at) => svg`<polyline class="rw-curve-${at}" points=${line.join(" ")} />`)}
    ${known.map((line, at) => line.slice(line.length > 40 ? -1 : 0).map(([a, b]) => svg`<circle class="rw-curve-${at}" cx=${a} cy=${b} r="2" />`))}
  </svg>`;
}
