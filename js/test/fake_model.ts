/** A widget model without a host: get, set, save_changes, on, off; counts what listens. */

import type { Model } from "../src/model.js";
import type { ExplorerTraits, GridTraits, TraceInfo } from "../src/types.js";

export class FakeModel implements Model {
  readonly state: Record<string, unknown>;
  readonly saved: Record<string, unknown>[] = [];
  /** What a page without Python does when asked to save. */
  recordedPage = false;
  #dirty: Record<string, unknown> = {};
  readonly #listeners = new Map<string, Set<() => void>>();

  constructor(state: object) {
    this.state = { ...state };
  }

  get(key: string): unknown {
    return this.state[key];
  }

  set(key: string, value: unknown): void {
    if (this.state[key] === value) return;
    this.state[key] = this.#dirty[key] = value;
    this.#emit(key);
  }

  save_changes(): void {
    if (this.recordedPage) throw new Error("no kernel");
    this.saved.push(this.#dirty);
    this.#dirty = {};
  }

  on(event: string, callback: () => void): void {
    if (event.includes(" ")) throw new Error("one event name per call");
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event)?.add(callback);
  }

  off(event: string, callback: () => void): void {
    this.#listeners.get(event)?.delete(callback);
  }

  /** As Python does: several traits in one message. */
  receive(values: object): Promise<void> {
    Object.assign(this.state, values);
    for (const key of Object.keys(values)) this.#emit(key);
    return settled();
  }

  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }

  /** The last value that was sent to Python for a trait. */
  sent(key: string): unknown {
    return this.saved.filter((each) => key in each).at(-1)?.[key];
  }

  #emit(key: string): void {
    for (const callback of [...(this.#listeners.get(`change:${key}`) ?? [])]) callback();
  }
}

export const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

export const info: TraceInfo = {
  model: "fake world",
  prompt: "The Space Needle is in",
  subject: "The Space Needle",
  tokens: ["The", " Space", " Needle", " is", " in"],
  subject_span: [0, 3],
  answer: " Seattle",
  answer_id: 7,
  clean: 0.9,
  corrupted: 0.1,
  kinds: ["hidden", "mlp", "attn"],
  windows: { hidden: 1, mlp: 3, attn: 3 },
  n_layers: 4,
  noise: "3.0 × σ (σ = 0.128, n = 3412)",
  samples: 10,
  seed: 1,
  notes: [],
  baseline: [{ token: " Paris", id: 3, clean: 0.01, corrupted: 0.3, restored: 0.3 }],
  ms: 312,
  settings: {
    prompt: "The Space Needle is in",
    subject: "The Space Needle",
    noise: 3,
    samples: 10,
    seed: 1,
    window: null,
    answer: null,
    place: null,
    answer_id: null,
  },
};

/** Scores that name their own place: kind, position and layer as digits of a probability. */
export function scores(shown: TraceInfo = info): DataView {
  const out = new Float32Array(shown.kinds.length * shown.tokens.length * shown.n_layers);
  shown.kinds.forEach((_, kind) => {
    shown.tokens.forEach((_, pos) => {
      for (let layer = 0; layer < shown.n_layers; layer++)
        out[(kind * shown.tokens.length + pos) * shown.n_layers + layer] =
          0.1 + kind * 0.2 + pos * 0.02 + layer * 0.001;
    });
  });
  // Not at the start of its buffer: messages are seldom aligned.
  const bytes = new Uint8Array(out.byteLength + 3);
  bytes.set(new Uint8Array(out.buffer), 3);
  return new DataView(bytes.buffer, 3, out.byteLength);
}

export const gridTraits = (): GridTraits => ({
  _view: "grid",
  _ping: "",
  _pong: "",
  theme: "light",
  edited: 0,
  trace: info,
  scores: scores(),
  estimate: null,
  kind: "all",
  selection: [],
  cursor: null,
  restoration: {},
  scale: "probability",
  palette: "kinds",
  values: false,
  shortcuts: true,
  comparison: {},
  before_scores: null,
});

export const explorerTraits = (): ExplorerTraits => ({
  ...gridTraits(),
  _view: "explorer",
  prompt: info.prompt,
  subject: info.subject,
  noise: 3,
  samples: 10,
  seed: 1,
  window: null,
  answer: null,
  place: null,
  history: [],
  run_shown: 0,
  kept: {},
  code: "",
  _file: {},
  page: "grid",
  recovery: 0.9,
  path: {},
  flow: {},
  lens: {},
  retrace: true,
  stale: false,
  status: "done",
  progress: 1,
  error: null,
  engine: { model: "fake world", n_layers: 4, examples: [["Mount Fuji is in", "Mount Fuji"]] },
  _request: {},
  _cancel_id: 0,
});
