/** What every bundle is: an anywidget module that shows the view named by the `_view` trait. */

import { Bridge, type Model } from "./bridge.js";

export interface RenderProps {
  model: Model;
  el: HTMLElement;
  signal?: AbortSignal;
}

/** Which traits a model has follows from its view. */
type View = (bridge: Bridge<never>, host: HTMLElement, abort: AbortSignal) => void;

export const entry = (views: Record<string, View>) => () => ({
  render({ model, el, signal }: RenderProps): () => void {
    // Hosts before anywidget 0.11 give no signal, only a call of what we return.
    const lifetime = new AbortController();
    const end = () => lifetime.abort();
    signal?.addEventListener("abort", end, { once: true });
    views[model.get("_view") as string]?.(new Bridge(model, lifetime.signal), el, lifetime.signal);
    return end;
  },
});
