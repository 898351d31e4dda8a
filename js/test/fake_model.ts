/** A widget model without a host: get, set, save_changes, on, off; counts what listens. */

import type { Model } from "../src/bridge.js";
import type {
  ExplorerTraits,
  FlowInfo,
  GridTraits,
  HistoryRun,
  LensInfo,
  PathInfo,
  RestorationInfo,
  Settings,
  TraceInfo,
} from "../src/types.js";

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
    this.emit(`change:${key}`);
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
    for (const key of Object.keys(values)) this.emit(`change:${key}`);
    return settled();
  }

  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }

  /** The last value that was sent to Python for a trait. */
  sent(key: string): unknown {
    return this.saved.filter((each) => key in each).at(-1)?.[key];
  }

  emit(event: string): void {
    for (const callback of [...(this.#listeners.get(event) ?? [])]) callback();
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
  metric: "probability",
  against: "",
  against_id: null,
  clean: 0.9,
  corrupted: 0.1,
  kinds: ["hidden", "mlp", "attn"],
  windows: { hidden: 1, mlp: 3, attn: 3 },
  n_layers: 4,
  noise: "3.0 × σ (σ = 0.128, n = 3412)",
  other_subject: "",
  samples: 10,
  seed: 1,
  notes: [],
  baseline: [{ token: " Paris", id: 3, clean: 0.01, corrupted: 0.3, restored: 0.3 }],
  whole: null,
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
    all_mentions: false,
    metric: "probability",
    against: null,
    other_subject: null,
    ids: null,
    said: null,
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
  _still_name: "",
  _views: {},
  theme: "light",
  edited: 0,
  _trace: info,
  scores: scores(),
  estimate: null,
  kind: "all",
  selection: [],
  single: [],
  cursor: null,
  _restoration: {},
  scale: "probability",
  palette: "kinds",
  values: false,
  shortcuts: true,
  _comparison: {},
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
  all_mentions: false,
  metric: "probability",
  against: null,
  other_subject: null,
  subject_places: {
    prompt: info.prompt,
    subject: info.subject,
    there: true,
    at: [[0, 16]],
    offers: [],
  },
  history: [],
  run_shown: 0,
  kept: {},
  code: "",
  _file: {},
  page: "grid",
  recovery: 0.9,
  _path: {},
  _heads: {},
  _flow: {},
  _lens: {},
  retrace: true,
  stale: false,
  status: "done",
  progress: 1,
  expected_seconds: 0,
  error: null,
  engine: { model: "fake world", n_layers: 4, examples: [["Mount Fuji is in", "Mount Fuji"]] },
  _request: {},
  _cancel_id: 0,
});

/** A flow of `info`, half of everything back: its numbers name their place, kind by fifths, then hundredths, thousandths. */
export function flowInfo(far = 1): FlowInfo {
  const { kinds, tokens, n_layers } = info;
  const pack = (from: number, scale: number) => {
    const numbers = kinds.flatMap((_, kind) =>
      tokens.flatMap((_, pos) =>
        Array.from(
          { length: n_layers },
          (_, layer) => scale * (from + kind * 0.2 + pos * 0.01 + layer * 0.001),
        ),
      ),
    );
    return new DataView(new Float32Array(numbers).buffer);
  };
  return {
    selection: [[2, 1, "hidden"]],
    single: false,
    states: [[2, 1, "hidden"]],
    kinds,
    written: pack(0.2, 1),
    corrupted: pack(0.1, far),
    restored: pack(0.1, 0.5 * far),
    moved: pack(0.1, 0.5 * far),
    noise: new DataView(new Float32Array([1.7, 1.7, 1.7, 0, 0]).buffer),
  };
}

export function lensInfo(...names: string[]): LensInfo {
  return {
    selection: [[2, 1, "hidden"]],
    single: false,
    states: [[2, 1, "hidden"]],
    answer: " Seattle",
    answer_id: 7,
    metric: "probability",
    runs: names.map((name, i) => ({
      name,
      probabilities: [0.001, 0.1, 0.4, 0.9 - i / 10],
      ranks: [5000, 12, 2, 1],
      scores: [0.001, 0.1, 0.4, 0.9 - i / 10],
      top: [" the", " a", " Paris", " Seattle"].map((token) => [
        [token, 0.5],
        [" in", 0.1],
      ]),
    })),
  };
}

export const pathInfo = (more: Partial<PathInfo> = {}): PathInfo => ({
  states: [
    [2, 2, "mlp"],
    [2, 1, "hidden"],
  ],
  scores: [0.5, 0.86],
  answer: " Seattle",
  clean: 0.9,
  corrupted: 0.1,
  target: 0.9,
  reached: true,
  n_restored: 120,
  metric: "probability",
  against: "",
  running: false,
  ...more,
});

/** What the model says to a selection. */
export const answer = (more: Partial<RestorationInfo> = {}): RestorationInfo => ({
  selection: [[2, 1, "mlp"]],
  single: false,
  states: [
    [2, 0, "mlp"],
    [2, 1, "mlp"],
    [2, 2, "mlp"],
  ],
  answer: " Seattle",
  score: 0.4123,
  clean: 0.9,
  corrupted: 0.1,
  recovery: 0.39,
  rows: [
    { token: " Seattle", id: 7, clean: 0.9, corrupted: 0.1, restored: 0.4123 },
    { token: " Paris", id: 3, clean: 0.01, corrupted: 0.3, restored: 0.2 },
  ],
  whole: null,
  source: "exact",
  ms: 12,
  message: null,
  ...more,
});

/** A run that can be brought back. */
export const historyRun: HistoryRun = {
  id: 4,
  settings: info.settings as Settings,
  words: "window 1 · noise 3 × σ",
  answer: " Seattle",
  clean: 0.9,
  corrupted: 0.1,
  edits: 0,
  complete: true,
};

/** What was kept as A, of another prompt. */
export const keptInfo = (more: object = {}) => ({
  prompt: "Mount Fuji is in",
  tokens: ["Mount", " Fuji", " is", " in"],
  answer: " Japan",
  comparing: true,
  reason: "",
  rows: [],
  restoration: answer({
    recovery: 0.25,
    states: [[0, 0, "attn"]],
    rows: [{ token: " Seattle", id: 7, clean: 0.9, corrupted: 0.1, restored: 0.3 }],
  }),
  ...more,
});
