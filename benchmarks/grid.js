// In the page: a widget model without a kernel, and what is timed of the grid that it drives.
(() => {
  const subscribers = new Map();
  const listeners = (key) => subscribers.get(key) ?? subscribers.set(key, new Set()).get(key);
  const model = {
    state: {},
    get: (key) => model.state[key],
    set: (key, value) => {
      model.state[key] = value;
      for (const each of [...listeners(`change:${key}`)]) each();
    },
    save_changes: () => {},
    on: (event, callback) => listeners(event).add(callback),
    off: (event, callback) => listeners(event).delete(callback),
  };
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer);
  let entry;

  /** Milliseconds from traits that change, all in one message, to the last pixel that is put. */
  async function changed(values) {
    const start = performance.now();
    for (const [key, value] of Object.entries(values)) model.set(key, value);
    // The view hears of it in a microtask that is before this one.
    await new Promise((done) => queueMicrotask(done));
    return performance.now() - start;
  }

  window.bench = {
    async load({ script, styles, state, arrays }) {
      const source = new Blob([script], { type: "text/javascript" });
      ({ default: entry } = await import(URL.createObjectURL(source)));
      document.head.append(Object.assign(document.createElement("style"), { textContent: styles }));
      model.state = state;
      for (const [name, text] of Object.entries(arrays)) state[name] = bytes(text);
    },
    /** A new view, and then its layout; ends the one before. */
    view() {
      window.life?.abort();
      const host = document.body.appendChild(document.createElement("div"));
      window.life = new AbortController();
      const start = performance.now();
      entry().render({ model, el: host, signal: window.life.signal });
      host.getBoundingClientRect();
      return performance.now() - start;
    },
    /** Another trace in the view that is there, which showed none. */
    async build() {
      const { _trace, scores } = model.state;
      await changed({ _trace: {}, scores: null });
      return changed({ _trace: { ..._trace }, scores });
    },
    recolour: () => changed({ palette: model.get("palette") === "kinds" ? "cividis" : "kinds" }),
    nodes: () => {
      const all = document.querySelectorAll(".rw-figure, .rw-figure *, .rw-detail, .rw-detail *").length;
      return all - document.querySelectorAll(".rw-tokens *, .rw-layers *").length;
    },
    labels: () => document.querySelectorAll(".rw-token").length,
  };
})();
