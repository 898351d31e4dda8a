/** Traits of the widgets that edit and compare. */

import type { EditRecord, EditTraits, PredictionTraits } from "../src/types.js";

export const base = { _ping: "", _pong: "", _still_name: "", _views: {}, theme: "light", edited: 0 } as const;
/** What is known of words of one token. */
export const outcome = { target_first: null, true_first: null, says_target: null, says_true: null } as const;

export const live = {
  ...base,
  status: "done",
  progress: 1,
  expected_seconds: 0,
  error: null,
  _request: {},
  _cancel_id: 0,
} as const;
export const request = {
  template: "{} is in",
  subject: "The Needle",
  target: "Paris",
  true_object: "Seattle",
  method: "rome",
  layer: null,
  settings: {},
};

export const record = (id: string, more: Partial<EditRecord> = {}): EditRecord => ({
  id,
  request,
  layer: 3,
  layer_reason: "the model card's",
  norm_ratio: 0.118,
  warnings: [],
  scores: { efficacy: 1, paraphrase: 0.96, neighborhood: null, others: 0.5 },
  applied: true,
  strength: 1,
  curve: [4, 2, 1],
  ...more,
});

export const edit = (more: Partial<EditTraits> = {}): EditTraits => ({
  ...live,
  ...request,
  _view: "edit",
  engine: {
    model: "fake world",
    n_layers: 8,
    methods: {
      rome: { title: "ROME", settings: { steps: 20, clamp: null } },
      "ft-l": { title: "FT-L", settings: { norm_limit: 0.1 } },
    },
    examples: [request],
  },
  about_target: {},
  suggestion: {},
  steps: [],
  edits: [record("e1"), record("e2", { applied: false })],
  selected: "e1",
  ledger: { n_active: 1, fingerprint_ok: true },
  tests: [],
  rows: [
    {
      group: "rewrite",
      text: "The Needle is in",
      before: { ...outcome, token: " Seattle", probability: 0.9, target: 0.01, true: 0.9 },
      after: { ...outcome, token: " Paris", probability: 0.8, target: 0.8, true: 0.1 },
      words: { target: "Paris", true: "Seattle" },
      followed: "Paris",
      first: null,
      delta: 0.79,
      verdict: "new",
      good: true,
      message: null,
    },
    {
      group: "other",
      text: "<b>The Market</b> is in",
      before: { ...outcome, token: " Seattle", probability: 0.9, target: 0.01, true: 0.9 },
      after: { ...outcome, token: " Rome", probability: 0.4, target: 0.3, true: 0.3 },
      words: { target: "Paris", true: "Seattle" },
      followed: "Seattle",
      first: null,
      delta: -0.6,
      verdict: "bled",
      good: false,
      message: null,
    },
  ],
  trail: [
    [0, 0.01, 0.9],
    [1, 0.8, 0.1],
  ],
  _orders: [],
  _acks: [],
  _strengths: {},
  ...more,
});

export const predictions = (more: Partial<PredictionTraits> = {}): PredictionTraits => ({
  ...base,
  _view: "predictions",
  runs: ["clean", "edited"],
  rows: [
    { token: " Seattle", probs: [0.9, 0.1], ranks: [1, 2] },
    { token: " Paris", probs: [0.01, 0.8], ranks: [9, 1] },
    { token: " Lyon", probs: [null, 0.05], ranks: [null, 3] },
  ],
  k: 2,
  metric: "prob",
  baseline: 0,
  target: null,
  target_of: "",
  whole: [],
  sort: "1",
  descending: true,
  ...more,
});
