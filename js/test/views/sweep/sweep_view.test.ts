import { expect, test } from "vitest";
import { ROLES, type SweepInfo, type SweptFact } from "../../../src/types.js";
import { base } from "../../fake_edits.js";
import { key, show, view } from "../show.js";

const KINDS = ["mlp", "attn"] as const;
const LAYERS = 4;
const CELLS = KINDS.length * ROLES.length * LAYERS;

const fact = (number: number, prompt: string, peak: [number, number] = [2, 1]): SweptFact => ({
  number,
  prompt,
  subject: "s",
  answer: " Paris",
  clean: 0.9,
  corrupted: 0.1,
  peaks: { mlp: peak, attn: [5, 3] },
});

/** Effects of a fact: `strength` at the subject's last token and MLP layer 1, half of it in layer 2; no further tokens. */
function effectsOf(strength: number, middle = true): Float32Array {
  const out = new Float32Array(CELLS);
  out[2 * LAYERS + 1] = strength;
  out[2 * LAYERS + 2] = strength / 2;
  const none = [ROLES.indexOf("further"), ...(middle ? [] : [ROLES.indexOf("middle subject")])];
  for (const kind of [0, 1])
    for (const row of none)
      out.fill(Number.NaN, (kind * ROLES.length + row) * LAYERS, (kind * ROLES.length + row + 1) * LAYERS);
  return out;
}

const STRENGTHS = [0.2, 0.6, 0.4];

function sweep(more: object = {}, info: Partial<SweepInfo> = {}) {
  const each = STRENGTHS.map((strength, at) => effectsOf(strength, at !== 2));
  const effects = new Float32Array(each.flatMap((one) => [...one]));
  return {
    ...base,
    _view: "sweep",
    _sweep: {
      model: "tiny",
      kinds: [...KINDS],
      windows: { mlp: 3, attn: 3 },
      n_layers: LAYERS,
      metric: "p",
      least: 0.1,
      noise: "3 σ",
      samples: 10,
      seed: 1,
      counts: [3, 2, 3, 3, 0, 3],
      unknown: 1,
      failed: 0,
      total_effect: [0.8, 0.01],
      notes: ["a note"],
      facts: [fact(4, "One is in"), fact(7, "Two is in", [2, 2]), fact(9, "<b>Three</b> is in")],
      ...info,
    },
    averages: view(effectsOf(0.4)),
    intervals: view(effectsOf(0.05)),
    peaks: view(effectsOf(0.7)),
    effects: view(effects),
    kind: "mlp",
    role: "last subject",
    layer: 1,
    example: null,
    shows: "effect",
    linked: false,
    ...more,
  };
}

const numbers = ({ all }: ReturnType<typeof show>) => all("[role=option]").map((each) => each.dataset.fact);

test("the facts stand by their effect at the selected cell, the greatest first", async () => {
  const shown = show(sweep());
  expect(numbers(shown)).toEqual(["7", "9", "4"]);
  expect(shown.words("[role=option] b")).toEqual(["+0.600", "○ +0.400", "○ +0.200"]);
  await shown.model.receive({ role: "middle subject" });
  expect(numbers(shown)).toEqual(["4", "7"]);
  expect(shown.words(".rw-tip")[0]).toContain("1 of 3 facts have no such token.");
  await shown.model.receive({ role: "further" });
  expect(shown.all("[role=listbox]")).toHaveLength(0);
  expect(shown.words(".rw-said")).toEqual(["MLP layer 1, further tokens no fact has such a token"]);
});
test("of one fact there is an average without an interval", () => {
  const none = view(effectsOf(0).fill(Number.NaN));
  const { words, find, all } = show(sweep({ intervals: none }, { total_effect: [0.8, null] }));
  expect(words(".rw-said")[0]).toContain("average +0.");
  expect(words(".rw-notes li")[0]).toBe("total effect on p: 0.800");
  expect(find(".rw").textContent).not.toMatch(/±|NaN|plus or minus/);
  expect([all(".rw-interval").length, all(".rw-mean").length]).toEqual([0, 1]);
  expect(find(".rw-strip").getAttribute("aria-label")).not.toMatch(/NaN|plus or minus/);
});
test("a click on a cell selects its kind, role and layer", () => {
  const { find, model } = show(sweep());
  const canvas = find("canvas[data-kind=attn]");
  canvas.getBoundingClientRect = () => ({ left: 100, top: 200, width: 40, height: 60 }) as DOMRect;
  canvas.dispatchEvent(new MouseEvent("click", { clientX: 125, clientY: 255, bubbles: true }));
  expect(model.state).toMatchObject({ kind: "attn", role: "last", layer: 2 });
  expect(model.saved.at(-1)).toEqual({ kind: "attn", role: "last", layer: 2 });
});
test("keys of the pictures move the selected cell, and Enter goes to the list", () => {
  const { find, model } = show(sweep());
  const grid = find("[role=grid]");
  for (const name of ["ArrowDown", "ArrowRight", "a", "End"]) key(grid, name);
  expect(model.state).toMatchObject({ kind: "attn", role: "first after", layer: 3 });
  key(grid, "Home", { ctrlKey: true });
  expect(model.state).toMatchObject({ kind: "attn", role: "first subject", layer: 0 });
  expect(key(grid, "h").defaultPrevented).toBe(false); // That kind was not traced.
  expect(key(grid, "ArrowDown", { shiftKey: true }).defaultPrevented).toBe(false);
  key(grid, "Enter");
  expect(document.activeElement).toBe(find("[role=listbox]"));
});
test("keys of the list choose a fact, and give it up", () => {
  const { find, model, words } = show(sweep());
  const list = find("[role=listbox]");
  key(list, "ArrowDown");
  expect(model.state).toMatchObject({ example: null });
  expect(list.getAttribute("aria-activedescendant")).toBe(find(".rw-active").id);
  key(list, "Enter");
  expect(model.state).toMatchObject({ example: 9 });
  expect(words("[aria-selected=true][role=option]")).toEqual(["<b>Three</b> is in → Paris ○ +0.400"]);
  expect(words("[data-side=own] .rw-sweep-title")).toEqual([
    "<b>Three</b> is in → Paris clean 0.900, corrupted 0.100",
  ]);
  key(list, "Escape");
  expect(model.state).toMatchObject({ example: null });
});
test("a fact that is clicked is chosen, and clicked again is not", () => {
  const { all, model, words } = show(sweep());
  all("[role=option]")[2]?.click();
  expect(model.state).toMatchObject({ example: 4 });
  expect(words(".rw-said")[0]).toContain("this fact +0.2000");
  all("[role=option]")[2]?.click();
  expect(model.state).toMatchObject({ example: null });
});
test("the row of the selected cell is there for screen readers", () => {
  const { find, words } = show(sweep({ example: 4 }));
  expect(find("[role=gridcell][aria-selected=true]").textContent).toBe(
    "layer 1, average +0.400 plus or minus 0.050, 70\u202f% of facts peak here, this fact +0.200",
  );
  expect(words("[role=rowheader]")).toEqual(["Last subject token"]);
  expect(find("[role=grid]").getAttribute("aria-activedescendant")).toBe(
    find("[role=gridcell][aria-selected=true]").id,
  );
});
test("the colours show averages or peaks, and their bar says which", () => {
  const { find, model, words } = show(sweep());
  expect(words("[data-side=above] .rw-bar .rw-plot-title")).toEqual(["effect"]);
  find("[data-choice=peaks]").click();
  expect(model.state).toMatchObject({ shows: "peaks" });
  expect(words("[data-side=above] .rw-bar .rw-plot-title")).toEqual(["of facts"]);
  expect(words("[data-side=above] .rw-ramps i")[1]).toMatch(/%$/);
});
test("of many facts the first hundred are listed, all when asked or when the chosen one is beyond", async () => {
  const many = Array.from({ length: 130 }, (_, at) => fact(at, `Fact ${at}`));
  const effects = new Float32Array(many.flatMap((_, at) => [...effectsOf(1 - at / 200)]));
  const shown = show(sweep({ effects: view(effects) }, { facts: many }));
  expect(numbers(shown)).toHaveLength(100);
  await shown.model.receive({ example: 120 });
  expect(numbers(shown)).toHaveLength(130);
  await shown.model.receive({ example: null });
  shown.find("[data-action=all]").click();
  expect(numbers(shown)).toHaveLength(130);
});
test("a sweep without a traced fact says so, and an explorer that is linked is named", async () => {
  const { words, all } = show(sweep({ effects: view(new Float32Array()) }, { facts: [] }));
  expect(words(".rw-hint")[0]).toContain("No fact of this sweep was traced");
  expect(all("[role=grid]")).toHaveLength(0);
  expect(show(sweep({ linked: true })).words(".rw-tip")[0]).toContain("traced in the linked explorer");
});
