/** The numbers on screen as a file, and files handed to the person. */

import { inSubject } from "./geometry.js";
import { decode } from "./grid_numbers.js";
import type { FlowInfo, Kind, LensInfo, TraceInfo } from "./types.js";

const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;

/** One row per state, as `CausalTrace.to_frame` has them; no number where none was computed. */
export function csv(info: TraceInfo, scores: ReadonlyMap<Kind, Float32Array>): string {
  const rows = [...scores].flatMap(([kind, grid]) =>
    [...grid].map((score, at) => {
      const layer = at % info.n_layers;
      const pos = (at - layer) / info.n_layers;
      const token = quoted(info.tokens[pos] ?? "");
      const known = !Number.isNaN(score);
      const effect = known && info.corrupted !== null ? score - info.corrupted : "";
      return [kind, pos, token, inSubject(info, pos), layer, known ? score : "", effect].join();
    }),
  );
  return ["kind,pos,token,in_subject,layer,score,indirect_effect", ...rows, ""].join("\r\n");
}

/** One row per state, as `Flow.to_frame` has them: lengths in units of the clean hidden state. */
export function flowCsv({ tokens, n_layers }: TraceInfo, info: FlowInfo): string {
  const names = ["written", "corrupted", "restored", "moved"] as const;
  const grids = names.map((name) => decode(info[name]));
  const size = tokens.length * n_layers;
  const rows = info.kinds.flatMap((kind, k) =>
    Array.from({ length: size }, (_, at) => {
      const layer = at % n_layers;
      const pos = (at - layer) / n_layers;
      return [
        kind,
        pos,
        quoted(tokens[pos] ?? ""),
        layer,
        ...grids.map((grid) => grid[k * size + at]),
      ].join();
    }),
  );
  return [`kind,pos,token,layer,${names.join()}`, ...rows, ""].join("\r\n");
}

/** One row per run and layer, as `Lens.to_frame` has them. */
export function lensCsv({ runs }: LensInfo): string {
  const rows = runs.flatMap(({ name, top, probabilities, ranks }) =>
    top.map((likeliest, layer) => {
      const [token = "", p = ""] = likeliest[0] ?? [];
      return [name, layer, quoted(token), p, probabilities[layer] ?? "", ranks[layer]].join();
    }),
  );
  return ["run,layer,token,p_token,p,rank", ...rows, ""].join("\r\n");
}

/** The subject and the answer as a name that every file system takes, as Python's figures have it. */
export function fileName({ subject, answer }: TraceInfo, what = "trace"): string {
  const words = `${subject} ${answer}`.replace(/[^\p{L}\p{N}_]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${what}-${words.toLowerCase().slice(0, 60) || "of-a-prompt"}`;
}

/** Saves as a download does; no network is asked. */
export function save(name: string, type: string, data: BlobPart): void {
  const url = URL.createObjectURL(new Blob([data], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  // Some browsers and hosts follow no link that is not on the page.
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
