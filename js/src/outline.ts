/** Marks on a plot as SVG paths: one node, however many cells. Pure. */

import { windowLayers } from "./geometry.js";
import type { Kind } from "./types.js";

export interface Size {
  w: number;
  h: number;
}

/** The border of a set of cells, each given as `pos * columns + layer`. */
export function border(cells: ReadonlySet<number>, columns: number, { w, h }: Size): string {
  let path = "";
  for (const at of cells) {
    const layer = at % columns;
    const [x, y] = [layer * w, ((at - layer) / columns) * h];
    if (!cells.has(at - columns)) path += `M${x} ${y}h${w}`;
    if (!cells.has(at + columns)) path += `M${x} ${y + h}h${w}`;
    if (layer === 0 || !cells.has(at - 1)) path += `M${x} ${y}v${h}`;
    if (layer === columns - 1 || !cells.has(at + 1)) path += `M${x + w} ${y}v${h}`;
  }
  return path;
}

/** A bracket under `[start, stop)` layers of a row. */
function bracket(pos: number, start: number, stop: number, { w, h }: Size): string {
  const y = (pos + 1) * h - 1.5;
  return `M${start * w + 1} ${y - 3}V${y}H${stop * w - 1}V${y - 3}`;
}

/** Brackets under the layers that these cells really restore, row by row; none where that is the cell alone. */
export function brackets(
  cells: ReadonlySet<number>,
  kind: Kind,
  window: number,
  columns: number,
  size: Size,
): string {
  if (kind === "hidden" || window === 1) return "";
  let path = "";
  let row = -1;
  let [start, stop] = [0, 0];
  const close = () => {
    if (stop > start) path += bracket(row, start, stop, size);
  };
  for (const at of [...cells].sort((a, b) => a - b)) {
    const layer = at % columns;
    const pos = (at - layer) / columns;
    const [first, last] = windowLayers(kind, layer, window, columns);
    if (pos === row && first <= stop) stop = last;
    else {
      close();
      [row, start, stop] = [pos, first, last];
    }
  }
  close();
  return path;
}
