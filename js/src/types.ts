/** What travels between Python and the page. Names are the Python trait names, unchanged. */

export type Kind = "hidden" | "mlp" | "attn";
export type KindChoice = "all" | Kind;
export const KINDS: readonly Kind[] = ["hidden", "mlp", "attn"];

/** One cell of the grid; also one `rome_widgets.results.State`. */
export type Cell = readonly [pos: number, layer: number, kind: Kind];
export type Selection = readonly Cell[];

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
}

/** The words and numbers around a grid; the grid itself is the `scores` trait. */
export interface TraceInfo {
  model: string;
  prompt: string;
  subject: string;
  tokens: string[];
  subject_span: [number, number];
  answer: string;
  answer_id: number;
  clean: number | null;
  corrupted: number | null;
  kinds: Kind[];
  windows: Partial<Record<Kind, number>>;
  n_layers: number;
  noise: string;
  samples: number;
  seed: number | null;
  notes: string[];
  /** Likeliest tokens with nothing restored; `restored` repeats `corrupted`. */
  baseline: PredictionRow[];
  /** How long the run took, milliseconds. */
  ms: number | null;
  settings: Settings | null;
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
  states: Selection;
  answer: string;
  probability: number | null;
  clean: number | null;
  corrupted: number | null;
  recovery: number | null;
  rows: PredictionRow[];
  source: "exact" | "recorded" | "cell";
  ms: number | null;
  message: string | null;
}

export interface ErrorInfo {
  type: string;
  message: string;
  found: string;
  wanted: string;
  remedy: string;
}

export type Status = "idle" | "queued" | "running" | "done" | "cancelled" | "error" | "static";
export type ThemeChoice = "auto" | "light" | "dark";
type Empty = Record<string, never>;

/** Synced traits of `TraceGrid`. */
export interface GridTraits {
  _view: string;
  _ping: string;
  _pong: string;
  theme: ThemeChoice;
  trace: TraceInfo | Empty;
  scores: DataView | null;
  /** An estimate in the form of `scores`, shown where those are NaN; empty without one. */
  estimate: DataView | null;
  kind: KindChoice;
  selection: Selection;
  cursor: Cell | null;
  restoration: RestorationInfo | Empty;
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
  status: Status;
  progress: number;
  error: ErrorInfo | null;
  engine: { model: string; n_layers: number; examples: [string, string][] } | Empty;
  _request: { id: number; op: "trace" | "restore" } | Empty;
  _cancel_id: number;
}

/** The traits each view listens to; `tests/widgets/test_contract.py` holds them against Python's. */
export const GRID_TRAITS = [
  "_view",
  "_ping",
  "_pong",
  "theme",
  "trace",
  "scores",
  "estimate",
  "kind",
  "selection",
  "cursor",
  "restoration",
] as const satisfies readonly (keyof GridTraits)[];

export const EXPLORER_TRAITS = [
  ...GRID_TRAITS,
  "prompt",
  "subject",
  "noise",
  "samples",
  "seed",
  "window",
  "answer",
  "status",
  "progress",
  "error",
  "engine",
  "_request",
  "_cancel_id",
] as const satisfies readonly (keyof ExplorerTraits)[];
