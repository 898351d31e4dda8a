/** What travels between Python and the page. Names are the Python trait names, unchanged. */

export type Kind = "hidden" | "mlp" | "attn";
export type KindChoice = "all" | Kind;
export const KINDS: readonly Kind[] = ["hidden", "mlp", "attn"];

/** One cell of the grid; also one `rome_widgets.State`. */
export type Cell = readonly [pos: number, layer: number, kind: Kind];
export type Selection = readonly Cell[];

/** What is measured of a prediction; logarithms are natural. */
export type TraceMetric = "probability" | "logprob" | "logit_difference";

/** What a run was, or would be, made with: the fields of `TraceSettings`. */
export interface Settings {
  prompt: string;
  subject: string;
  noise: number;
  samples: number;
  seed: number | null;
  window: number | null;
  answer: string | null;
  /** Characters of the subject, where Python named another occurrence than the last. */
  place: [number, number] | null;
  /** The very token, where it must be that of another trace. */
  answer_id: number | null;
  /** Every mention of the subject is corrupted. */
  all_mentions: boolean;
  /** The ids of a prompt that was given as messages or ids, where those of its text are others. */
  ids: number[] | null;
  /** Characters that the messages of such a prompt say: where a subject is looked for. */
  said: [number, number][] | null;
  metric: TraceMetric;
  against: string | null;
  other_subject: string | null;
}

/** The words and numbers around a grid; the grid itself is the `scores` trait. */
export interface TraceInfo {
  model: string;
  prompt: string;
  subject: string;
  tokens: string[];
  subject_span: [number, number];
  /** Of every mention that was corrupted; the last is `subject_span`. */
  subject_spans?: [number, number][];
  answer: string;
  answer_id: number;
  /** What `clean`, `corrupted` and the scores are. */
  metric: TraceMetric;
  /** The second answer of a difference of logits; "" of other metrics. */
  against: string;
  against_id: number | null;
  clean: number | null;
  corrupted: number | null;
  kinds: Kind[];
  windows: Partial<Record<Kind, number>>;
  n_layers: number;
  noise: string;
  /** Who stood in for the subject, in place of noise; "" where nobody did. */
  other_subject: string;
  samples: number;
  seed: number | null;
  notes: string[];
  /** Likeliest tokens with nothing restored; `restored` repeats `corrupted`. */
  baseline: PredictionRow[];
  /** The whole answer where it has several tokens: all else here is of its first. */
  whole: WholeAnswer | null;
  /** How long the run took, milliseconds. */
  ms: number | null;
  settings: Settings | null;
}

/** Probabilities of all tokens of an answer, each after those before it. */
export interface WholeAnswer {
  text: string;
  tokens: string[];
  clean: number | null;
  corrupted: number | null;
  /** Null of a trace. */
  restored: number | null;
}

/** Another trace beside the one on screen: before an edit, or A; what differs, in words. */
export interface Comparison {
  /** "before" and "after", or "A" and "B". */
  names: [string, string];
  before: string;
  after: string;
  clean: number | null;
  corrupted: number | null;
  /** Every number is what it was. */
  same: boolean;
}

export interface PredictionRow {
  token: string;
  id: number;
  clean: number | null;
  corrupted: number | null;
  restored: number | null;
}

/** The answer to one selection. `message` replaces the numbers where there are none to show. */
export interface RestorationInfo {
  selection: Selection;
  /** Of single states, not of cells with their windows; so in a flow and a lens. */
  single: boolean;
  states: Selection;
  answer: string;
  /** The metric with the states restored. */
  score: number | null;
  clean: number | null;
  corrupted: number | null;
  recovery: number | null;
  rows: PredictionRow[];
  whole: WholeAnswer | null;
  source: "exact" | "edited" | "recorded" | "cell";
  ms: number | null;
  message: string | null;
}

export interface ErrorInfo {
  type: string;
  message: string;
  found: string;
  wanted: string;
  remedy: string;
  /** What failed: "edit", "order", "compare", "form" … */
  cause: string;
  /** What a button changes before it tries again. */
  fix: { label: string; values: Record<string, unknown> } | null;
  traceback: string;
}

export type Status = "idle" | "queued" | "running" | "done" | "cancelled" | "error" | "static";
export type ThemeChoice = "auto" | "light" | "dark";
type Empty = Record<string, never>;

/** Synced traits of every widget; `tests/widgets/test_contract.py` holds all of these against Python's. */
export interface BaseTraits {
  _view: string;
  _ping: string;
  _pong: string;
  /** Of the picture that stays without a view; "" on a page that has none. */
  _still_name: string;
  /** How many views of the model a page has. */
  _views: { page: string; open: number } | Empty;
  theme: ThemeChoice;
  /** How many edits the model holds. */
  edited: number;
}

/** Synced traits of every widget with a model behind it. */
export interface LiveTraits extends BaseTraits {
  status: Status;
  progress: number;
  expected_seconds: number;
  error: ErrorInfo | null;
  _request: { id: number; op: string } | Empty;
  _cancel_id: number;
}

export type Scale = "probability" | "effect" | "share";
export type Palette = "kinds" | "cividis";

/** Synced traits of `TraceGrid`. */
export interface GridTraits extends BaseTraits {
  _trace: TraceInfo | Empty;
  scores: DataView | null;
  /** An estimate in the form of `scores`, shown where those are NaN; empty without one. */
  estimate: DataView | null;
  kind: KindChoice;
  selection: Selection;
  /** The selection, where its cells are meant as single states, without windows. */
  single: Selection;
  cursor: Cell | null;
  _restoration: RestorationInfo | Empty;
  scale: Scale;
  palette: Palette;
  /** Numbers in the cells. */
  values: boolean;
  /** Single letters act while the grid has the focus. */
  shortcuts: boolean;
  _comparison: Comparison | Empty;
  /** The trace before in the form of `scores`. */
  before_scores: DataView | null;
}

/** The fields of `RestoringPath`, and whether it is still being looked for. */
export interface PathInfo {
  states: Selection;
  scores: number[];
  answer: string;
  clean: number;
  corrupted: number;
  target: number;
  reached: boolean;
  n_restored: number;
  /** What the numbers are. */
  metric: TraceMetric;
  against: string;
  running: boolean;
}

/** Heads of one layer's attention, restored one by one; float32 `[position, head]`, NaN where not computed yet. */
export interface HeadsInfo {
  layer: number;
  positions: number[];
  scores: DataView;
  running: boolean;
}

/** The fields of `Flow`; arrays are float32 `[kind, pos, layer]` in the order of `kinds`. */
export interface FlowInfo {
  selection: Selection;
  single: boolean;
  states: Selection;
  kinds: Kind[];
  written: DataView;
  corrupted: DataView;
  restored: DataView;
  moved: DataView;
  /** `[pos]` */
  noise: DataView;
}

export interface LensRun {
  name: string;
  probabilities: (number | null)[];
  ranks: number[];
  top: [token: string, probability: number | null][][];
  /** The metric after each layer. */
  scores: (number | null)[];
}

/** The fields of `Lens`. */
export interface LensInfo {
  selection: Selection;
  single: boolean;
  states: Selection;
  answer: string;
  answer_id: number;
  runs: LensRun[];
  metric: TraceMetric;
}

export type Page = "grid" | "flow" | "lens";

/** A run that can be brought back. */
export interface HistoryRun {
  id: number;
  settings: Settings;
  /** The settings besides prompt and subject, and what else sets it apart. */
  words: string;
  answer: string;
  clean: number | null;
  corrupted: number | null;
  /** How many the model held. */
  edits: number;
  /** False where it was cancelled. */
  complete: boolean;
}

type KeptRow = [name: string, a: number | null, b: number | null, whereA: string, whereB: string];

/** What was kept as A. */
export interface KeptInfo {
  prompt: string;
  tokens: string[];
  answer: string;
  comparing: boolean;
  /** Why the grids are not compared, where they are not. */
  reason: string;
  /** Numbers that can be compared all the same. */
  rows: KeptRow[];
  restoration: RestorationInfo | Empty;
}

/** Where the subject of a prompt may be, as Python found it; characters are counted as Python does. */
export interface SubjectPlaces {
  prompt: string;
  subject: string;
  there: boolean;
  at: [number, number][];
  /** Subjects to take instead where it is nowhere. */
  offers: string[];
}

/** Synced traits of `TraceExplorer`. */
export interface ExplorerTraits extends GridTraits {
  prompt: string;
  subject: string;
  noise: number;
  samples: number;
  seed: number | null;
  window: number | null;
  answer: string | null;
  place: [number, number] | null;
  all_mentions: boolean;
  metric: TraceMetric;
  against: string | null;
  other_subject: string | null;
  subject_places: SubjectPlaces | Empty;
  history: HistoryRun[];
  /** Its `id`; 0 while none of the history is on screen. */
  run_shown: number;
  kept: KeptInfo | Empty;
  /** Python that shows the same again. */
  code: string;
  /** The answer to a "download" request. */
  _file: { id: number; name: string; type: string; data: DataView } | Empty;
  page: Page;
  /** The share of the fact that a path is to bring back. */
  recovery: number;
  _path: PathInfo | Empty;
  _heads: HeadsInfo | Empty;
  _flow: FlowInfo | Empty;
  _lens: LensInfo | Empty;
  /** An edit of the model makes the trace again by itself. */
  retrace: boolean;
  /** The model is no longer the one of the trace on screen. */
  stale: boolean;
  status: Status;
  progress: number;
  expected_seconds: number;
  error: ErrorInfo | null;
  engine: { model: string; n_layers: number; examples: [string, string][] } | Empty;
  /** `start` and `stop` are positions of the trace on screen, for "subject". */
  _request:
    | {
        id: number;
        op: string;
        run?: number;
        form?: "svg" | "png";
        page?: Page;
        flow_run?: "clean" | "corrupted" | "restored";
        start?: number;
        stop?: number;
      }
    | Empty;
  _cancel_id: number;
}

export type PromptGroup = "rewrite" | "paraphrase" | "neighborhood" | "other" | "free";

/** What an edit was, or would be, made with: the fields of `EditRequest`. */
export interface EditRequest {
  template: string;
  subject: string;
  target: string;
  true_object: string | null;
  method: string;
  layer: number | null;
  settings: Record<string, number>;
}

/** One line of the history: the fields of `EditRecord`. */
export interface EditRecord {
  id: string;
  request: EditRequest;
  layer: number;
  layer_reason: string;
  norm_ratio: number | null;
  warnings: string[];
  scores: Record<string, number | null>;
  applied: boolean;
  strength: number;
  curve: (number | null)[];
}

export interface Outcome {
  token: string;
  probability: number | null;
  /** Of all tokens of the new object, each after those before it. */
  target: number | null;
  true: number | null;
  /** Of the first token of a word that has several; else null. */
  target_first: number | null;
  true_first: number | null;
  /** Whether every token of the word is the likeliest; null where only `token` is known. */
  says_target: boolean | null;
  says_true: boolean | null;
}

/** One prompt before and after; `good` is null where nothing was to be expected. */
export interface ChangeRow {
  group: PromptGroup;
  text: string;
  before: Outcome;
  after: Outcome;
  /** What `target` and `true` are the probabilities of. */
  words: { target: string; true: string };
  followed: string;
  /** Of what is followed, where that has several tokens. */
  first: { token: string; before: number | null; after: number | null } | null;
  delta: number | null;
  verdict: string;
  good: boolean | null;
  /** Why there are no numbers, where there are none. */
  message: string | null;
}

/** What the form's target is for the model: the fields of `TargetInfo`. */
export interface TargetInfo {
  target: string;
  tokens: string[];
  /** The same word as the model writes it; "" where that is how it was typed. */
  spelling: string;
  reason: string;
  /** Other targets that the model knows. */
  offers: string[];
}

export interface TestPrompt {
  text: string;
  group: PromptGroup;
  target: string | null;
  true_object: string | null;
}

/** Something that changes the model. It is sent until Python acks its id, which does it once. */
export interface Order {
  id: string;
  op: "edit" | "applied" | "revert_all";
  [more: string]: unknown;
}

type TrailPoint = [strength: number, target: number | null, truth: number | null];
/** A way to edit, and its settings as they are where nobody names others; null: found by the method itself. */
export interface MethodInfo {
  title: string;
  settings: Record<string, number | null>;
}

/** Synced traits of `EditPanel`. */
export interface EditTraits extends LiveTraits {
  /** `methods` by their names; the first is the one that is used where none is named. */
  engine: {
    model: string;
    n_layers: number;
    methods: Record<string, MethodInfo>;
    examples: EditRequest[];
  };
  template: string;
  subject: string;
  target: string;
  true_object: string | null;
  method: string;
  layer: number | null;
  settings: Record<string, number>;
  about_target: TargetInfo | Empty;
  suggestion: { waiting?: boolean; layer?: number; reason?: string };
  steps: (number | null)[][];
  edits: EditRecord[];
  selected: string;
  ledger: { n_active?: number; fingerprint_ok?: boolean | null; original?: boolean | null };
  tests: TestPrompt[];
  rows: ChangeRow[];
  trail: TrailPoint[];
  _orders: Order[];
  _acks: string[];
  _strengths: Record<string, [count: number, strength: number]>;
}

export type Metric = "prob" | "logprob" | "rank";

/** A token in every run: null where a run does not say. */
export interface TokenRow {
  token: string;
  probs: (number | null)[];
  ranks: (number | null)[];
}

/** Synced traits of `PredictionCompare`. */
export interface PredictionTraits extends BaseTraits {
  runs: string[];
  rows: TokenRow[];
  k: number;
  metric: Metric;
  baseline: number;
  target: string | null;
  /** The word that `target` is the first token of, where it is longer. */
  target_of: string;
  /** Probability of that whole word in each run; empty where it is not known. */
  whole: (number | null)[];
  sort: string;
  descending: boolean;
}

type Span = [differs: boolean, piece: string];

/** A prompt and what each column makes of it. */
export interface GenerationRow {
  prompt: string;
  same: boolean;
  spans: Span[][];
}

/** Synced traits of `GenerationCompare`. */
export interface GenerationTraits extends LiveTraits {
  engine: { model: string } | Empty;
  prompts: string[];
  columns: string[];
  cells: GenerationRow[];
  max_new_tokens: number;
}

export type Role = "first subject" | "middle subject" | "last subject" | "first after" | "further" | "last";
export const ROLES: readonly Role[] = [
  "first subject",
  "middle subject",
  "last subject",
  "first after",
  "further",
  "last",
];

/** A fact that was traced. */
export interface SweptFact {
  /** Its place among the facts that were given. */
  number: number;
  prompt: string;
  subject: string;
  answer: string;
  clean: number | null;
  corrupted: number | null;
  /** Where its greatest effect lies: a row of `ROLES`, and a layer. */
  peaks: Partial<Record<Kind, [role: number, layer: number]>>;
}

/** The words and numbers around a sweep. */
export interface SweepInfo {
  model: string;
  kinds: Kind[];
  windows: Partial<Record<Kind, number>>;
  n_layers: number;
  /** What is measured, as before a number. */
  metric: string;
  /** What the colours span at least. */
  least: number;
  noise: string;
  samples: number;
  seed: number | null;
  /** How many tokens the averages of each role are of. */
  counts: number[];
  unknown: number;
  failed: number;
  total_effect: [mean: number | null, interval: number | null];
  notes: string[];
  facts: SweptFact[];
}

export type SweepShown = "effect" | "peaks";

/** Synced traits of `SweepChart`; bytes are float32 in the order of `kinds` and `ROLES`. */
export interface SweepTraits extends BaseTraits {
  _sweep: SweepInfo;
  /** `[kind, role, layer]` */
  averages: DataView | null;
  intervals: DataView | null;
  peaks: DataView | null;
  /** `[fact, kind, role, layer]` */
  effects: DataView | null;
  kind: Kind;
  role: Role;
  layer: number;
  example: number | null;
  shows: SweepShown;
  linked: boolean;
}
