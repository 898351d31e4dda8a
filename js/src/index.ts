/** The one entry: an anywidget module that shows the view named by the `_view` trait. */

import "./styles/rome.css";
import { Bridge, type Model } from "./model.js";
import { editView } from "./views/edit_view.js";
import { explorerView } from "./views/explorer_view.js";
import { generationView } from "./views/generation_view.js";
import { gridView } from "./views/grid_view.js";
import { predictionView } from "./views/prediction_view.js";

interface RenderProps {
  model: Model;
  el: HTMLElement;
  signal?: AbortSignal;
}

const VIEWS = {
  grid: gridView,
  explorer: explorerView,
  edit: editView,
  predictions: predictionView,
  generations: generationView,
};

function render({ model, el, signal }: RenderProps): () => void {
  // Hosts before anywidget 0.11 give no signal, only a call of what we return.
  const lifetime = new AbortController();
  const end = () => lifetime.abort();
  signal?.addEventListener("abort", end, { once: true });
  const view = VIEWS[model.get("_view") as keyof typeof VIEWS];
  // Which traits a model has follows from its view.
  view(new Bridge(model, lifetime.signal) as never, el, lifetime.signal);
  return end;
}

export default () => ({ render });
