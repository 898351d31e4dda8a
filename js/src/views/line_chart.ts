/** Small line charts: the loss of an edit, what its strength does, how an answer climbs through the layers. */

import { svg, type TemplateResult } from "lit-html";

export type Curve = readonly (readonly [x: number, y: number | null])[];

/** Room around the curves for their marks, pixels. */
export const EDGE = 5;
/** Marks that tell curves apart without colour: circle, square, triangle, diamond. */
const MARKS = ["M-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0", "M-2-2h4v4h-4z", "M0-3L3 2H-3z", "M0-3L3 0 0 3-3 0z"];

/** Curves over x in [0, `right`] and y in [0, `top`]; a `mark` is a vertical line. Points that are too few to say how it goes between them are not `joined`. */
export function curves(
  label: string,
  width: number,
  height: number,
  [right, top]: readonly [number, number],
  lines: readonly Curve[],
  mark?: number,
  joined = true,
): TemplateResult {
  const x = (value: number) => EDGE + (value / (right || 1)) * (width - 2 * EDGE);
  const y = (value: number) => height - EDGE - (Math.min(value, top) / (top || 1)) * (height - 2 * EDGE);
  const known = lines.map((line) => line.flatMap(([a, b]) => (b === null ? [] : [[x(a), y(b)] as const])));
  return svg`<svg class="rw-curves" viewBox="0 0 ${width} ${height}" role="img" aria-label=${label}>
    <path class="rw-axis" d="M0 ${height - EDGE}H${width}" />
    ${mark === undefined ? "" : svg`<path class="rw-mark" d="M${x(mark)} 0V${height}" />`}
    ${(joined ? known : []).map((line, at) => svg`<polyline class="rw-curve-${at}" points=${line.join(" ")} />`)}
    ${known.map((line, at) => line.slice(line.length > 40 ? -1 : 0).map(([a, b]) => svg`<path class="rw-curve-${at} rw-point" transform="translate(${a} ${b})" d=${MARKS[at % 4]} />`))}
  </svg>`;
}
