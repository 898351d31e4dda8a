/** The one entry: an anywidget module that shows the view named by the `_view` trait. */

import "./styles/rome.css";
import { Bridge, type Model } from "./model.js";
import { EXPLORER_TRAITS, type ExplorerTraits, GRID_TRAITS, type GridTraits } from "./types.js";
import { explorerView } from "./views/explorer_view.js";
import { gridView } from "./views/grid_view.js";

interface RenderProps {
  model: Model;
  el: HTMLElement;
  signal?: AbortSignal;
}

function render({ model, el, signal }: RenderProps): () => void {
  // Hosts before anywidget 0.11 give no signal, only a call of what we return.
  const lifetime = new AbortController();
  const end = () => lifetime.abort();
  signal?.addEventListener("abort", end, { once: true });
  if (model.get("_view") === "explorer")
    explorerView(new Bridge<ExplorerTraits>(model, EXPLORER_TRAITS, lifetime.signal), el, lifetime.signal);
  else gridView(new Bridge<GridTraits>(model, GRID_TRAITS, lifetime.signal), el, lifetime.signal);
  return end;
}

export default () => ({ render });
