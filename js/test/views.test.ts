import { afterEach, describe, expect, test, vi } from "vitest";
import { place } from "../src/flow.js";
import recorded from "../src/grid.js";
import tracing from "../src/trace.js";
import type { Cell, RestorationInfo } from "../src/types.js";
import {
  explorerTraits,
  FakeModel,
  flowInfo,
  gridTraits,
  info,
  lensInfo,
  pathInfo,
  scores,
  settled,
} from "./fake_model.js";

const lives: AbortController[] = [];

function show(traits: object) {
  const model = new FakeModel(traits);
  const el = document.body.appendChild(document.createElement("div"));
  const life = new AbortController();
  lives.push(life);
  const bundle = model.get("_view") === "grid" ? recorded : tracing;
  bundle().render({ model, el, signal: life.signal });
  const find = <T extends Element = HTMLElement>(selector: string): T => {
    const found = el.querySelector<T>(selector);
    if (!found) throw new Error(`nothing matches ${selector}`);
    return found;
  };
  return { model, el, life, find, root: find(".rw") };
}

afterEach(() => {
  for (const life of lives.splice(0)) life.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
});

const key = (target: Element, name: string, more: KeyboardEventInit = {}) => {
  const event = new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
};

/** A click of the mouse at the centre of a cell, on a canvas that fills 40 × 50 px. */
function click(find: (selector: string) => HTMLElement, kind: string, pos: number, layer: number, more = {}) {
  const canvas = find(`canvas[data-kind=${kind}]`);
  canvas.getBoundingClientRect = () => ({ left: 100, top: 200, width: 40, height: 50 }) as DOMRect;
  const at = {
    clientX: 100 + layer * 10 + 5,
    clientY: 200 + pos * 10 + 5,
    button: 0,
    bubbles: true,
    ...more,
  };
  canvas.dispatchEvent(new PointerEvent("pointerdown", at));
  canvas.dispatchEvent(new PointerEvent("pointerup", at));
}

/** The pointer on a plot of 10 × 10 px cells, at `[pos, layer]`; fractions lie between centres. */
function pointer(
  find: (selector: string) => HTMLElement,
  type: string,
  kind: string,
  [pos, layer]: [number, number],
  more = {},
) {
  const canvas = find(`canvas[data-kind=${kind}]`);
  canvas.getBoundingClientRect = () => ({ left: 100, top: 200, width: 40, height: 50 }) as DOMRect;
  const at = { clientX: 100 + layer * 10 + 5, clientY: 200 + pos * 10 + 5, button: 0, bubbles: true };
  canvas.dispatchEvent(new PointerEvent(type, { ...at, ...more }));
}
type At = [pos: number, layer: number];
type Find = (selector: string) => HTMLElement;
const press = Object.assign(
  (find: Find, kind: string, from: At, to: At, more = {}) => {
    pointer(find, "pointerdown", kind, from, more);
    pointer(find, "pointermove", kind, to, more);
  },
  { on: (find: Find, kind: string, to: At) => pointer(find, "pointermove", kind, to) },
);
const release = (find: Find, kind: string, at: At, more = {}) => pointer(find, "pointerup", kind, at, more);

const view = (values: Float32Array): DataView => new DataView(values.buffer);

const answer = (more: Partial<RestorationInfo> = {}): RestorationInfo => ({
  selection: [[2, 1, "mlp"]],
  states: [
    [2, 0, "mlp"],
    [2, 1, "mlp"],
    [2, 2, "mlp"],
  ],
  answer: " Seattle",
  probability: 0.4123,
  clean: 0.9,
  corrupted: 0.1,
  recovery: 0.39,
  rows: [
    { token: " Seattle", id: 7, clean: 0.9, corrupted: 0.1, restored: 0.4123 },
    { token: " Paris", id: 3, clean: 0.01, corrupted: 0.3, restored: 0.2 },
  ],
  source: "exact",
  ms: 12,
  message: null,
  ...more,
});

describe("render", () => {
  test("render shows the view that `_view` names", () => {
    expect(show(gridTraits()).root.dataset.view).toBe("grid");
    expect(show(explorerTraits()).root.dataset.view).toBe("explorer");
  });
  test("render ends with the signal: no listener, no element, no effect is left", async () => {
    for (const traits of [gridTraits(), explorerTraits()]) {
      const { model, el, life } = show(traits);
      expect(model.listeners).toBeGreaterThan(0);
      life.abort();
      expect(model.listeners).toBe(0);
      expect(el.childElementCount).toBe(0);
      await model.receive({ kind: "mlp" });
      expect(el.childElementCount).toBe(0);
    }
  });
  test("render returns an end for hosts that give no signal", () => {
    const model = new FakeModel(gridTraits());
    const el = document.createElement("div");
    const end = recorded().render({ model, el });
    end();
    expect(model.listeners).toBe(0);
  });
  test("render twice gives two views of one model that follow each other", async () => {
    const { model, el } = show(gridTraits());
    const other = document.body.appendChild(document.createElement("div"));
    const life = new AbortController();
    lives.push(life);
    recorded().render({ model, el: other, signal: life.signal });
    await model.receive({ kind: "mlp" });
    for (const each of [el, other]) expect(each.querySelectorAll("canvas")).toHaveLength(1);
    life.abort();
    expect(el.querySelectorAll("canvas")).toHaveLength(1);
  });
  test("render marks the root with the theme", async () => {
    const { model, root } = show({ ...gridTraits(), theme: "dark" });
    expect(root.dataset.theme).toBe("dark");
    await model.receive({ theme: "light" });
    expect(root.dataset.theme).toBe("light");
  });
  test("render of scores that do not fit the tokens shows no numbers instead of wrong ones", async () => {
    const { model, find } = show({ ...gridTraits(), cursor: [0, 0, "mlp"] });
    expect(find(".rw-detail").textContent).toContain("0.3000");
    await model.receive({ scores: new DataView(new ArrayBuffer(8)) });
    expect(find(".rw-detail").textContent).toContain("not computed");
  });
});

describe("figure", () => {
  test("figure shows one canvas per kind and follows the kind switch", () => {
    const { el, find, model } = show(gridTraits());
    expect([...el.querySelectorAll<HTMLElement>("canvas")].map((each) => each.dataset.kind)).toEqual([
      "hidden",
      "mlp",
      "attn",
    ]);
    find<HTMLButtonElement>("[data-choice=attn]").click();
    expect([...el.querySelectorAll<HTMLElement>("canvas")].map((each) => each.dataset.kind)).toEqual([
      "attn",
    ]);
    expect(model.sent("kind")).toBe("attn");
  });
  test("figure marks corrupted tokens with a star as well as a bar", () => {
    const { el } = show(gridTraits());
    expect([...el.querySelectorAll(".rw-token")].map((each) => each.textContent?.trim())).toEqual([
      "The*",
      "Space*",
      "Needle*",
      "is",
      "in",
    ]);
  });
  test("figure keeps hostile tokens text", () => {
    const tokens = [
      "<img src=x onerror=alert(1)>",
      "</script><script>alert(1)</script>",
      "&lt;",
      "\u202e",
      "{{x}}",
    ];
    const { el } = show({ ...gridTraits(), trace: { ...info, tokens, answer: "<b>" } });
    expect(el.querySelector("img, script, b.x")).toBeNull();
    expect(el.querySelector(".rw-token bdi")?.textContent).toBe(tokens[0]);
    expect(el.querySelectorAll("bdi > *")).toHaveLength(0);
  });
  test("a click selects the cell, paints it at once and asks Python", () => {
    const { model, el, find } = show(gridTraits());
    click(find, "mlp", 2, 1);
    expect(model.sent("selection")).toEqual([[2, 1, "mlp"]]);
    expect(el.querySelectorAll(".rw-selected")).toHaveLength(1);
    expect(el.querySelectorAll(".rw-reach")).toHaveLength(1);
  });
  test("a click with Ctrl or ⌘ toggles, with Shift spans, and alone replaces", () => {
    const { model, find } = show(gridTraits());
    click(find, "mlp", 2, 1);
    click(find, "hidden", 0, 3, { ctrlKey: true });
    expect(model.sent("selection")).toEqual([
      [0, 3, "hidden"],
      [2, 1, "mlp"],
    ]);
    click(find, "mlp", 2, 1, { metaKey: true });
    expect(model.sent("selection")).toEqual([[0, 3, "hidden"]]);
    click(find, "attn", 1, 0);
    click(find, "attn", 1, 2, { shiftKey: true });
    expect(model.sent("selection")).toEqual([
      [1, 0, "attn"],
      [1, 1, "attn"],
      [1, 2, "attn"],
    ]);
  });
  test("a drag selects the rectangle between its ends with one request, on release, wherever that is", () => {
    const { model, el, find } = show(gridTraits());
    const sent = model.saved.length;
    press(find, "mlp", [1, 2], [3, 1]);
    expect(el.querySelectorAll(".rw-band")).toHaveLength(1);
    expect(model.saved.length).toBe(sent);
    release(find, "mlp", [90, 1]);
    expect(el.querySelector(".rw-band")).toBeNull();
    expect(model.saved.length).toBe(sent + 1);
    expect(model.sent("selection")).toEqual(
      [1, 2, 3, 4].flatMap((pos) => [
        [pos, 1, "mlp"],
        [pos, 2, "mlp"],
      ]),
    );
    press(find, "mlp", [0, 0], [0, 1]);
    release(find, "mlp", [0, 1], { ctrlKey: true });
    expect(model.sent("selection")).toHaveLength(10);
  });
  test("a drag with Alt selects the cells whose centres it goes around", () => {
    const { model, el, find } = show(gridTraits());
    press(find, "hidden", [-0.4, -0.4], [-0.4, 1.4], { altKey: true });
    press.on(find, "hidden", [2.4, 1.4]);
    press.on(find, "hidden", [2.4, 0.6]);
    press.on(find, "hidden", [0.4, 0.6]);
    press.on(find, "hidden", [0.4, -0.4]);
    expect(el.querySelector(".rw-band")?.tagName).toBe("path");
    release(find, "hidden", [0.4, -0.4], { altKey: true });
    expect(model.sent("selection")).toEqual([
      [0, 0, "hidden"],
      [0, 1, "hidden"],
      [1, 1, "hidden"],
      [2, 1, "hidden"],
    ]);
  });
  test("Esc during a drag, and a pointer that is taken away, select nothing", () => {
    const { model, find } = show(gridTraits());
    press(find, "mlp", [1, 2], [3, 1]);
    key(find("[role=grid]"), "Escape");
    release(find, "mlp", [3, 1]);
    press(find, "mlp", [1, 2], [3, 1]);
    find("canvas[data-kind=mlp]").dispatchEvent(new PointerEvent("pointercancel"));
    release(find, "mlp", [3, 1]);
    expect(model.sent("selection")).toBeUndefined();
  });
  test("Shift spans anew from where the selection began, beside what Ctrl had added", () => {
    const { model, find } = show(gridTraits());
    click(find, "mlp", 4, 3);
    click(find, "mlp", 1, 1, { ctrlKey: true });
    click(find, "mlp", 1, 3, { shiftKey: true });
    click(find, "mlp", 1, 0, { shiftKey: true });
    expect(model.sent("selection")).toEqual([
      [1, 0, "mlp"],
      [1, 1, "mlp"],
      [4, 3, "mlp"],
    ]);
  });
  test("a double click clears, unless it toggles", () => {
    const { model, find } = show(gridTraits());
    click(find, "mlp", 2, 1);
    const canvas = find("canvas[data-kind=mlp]");
    canvas.dispatchEvent(new MouseEvent("dblclick", { ctrlKey: true }));
    expect(model.sent("selection")).toHaveLength(1);
    canvas.dispatchEvent(new MouseEvent("dblclick"));
    expect(model.sent("selection")).toEqual([]);
  });
  test("a token stands for its row in the plot of the cursor, a place below a plot for its column", () => {
    const { model, find } = show({ ...gridTraits(), cursor: [0, 1, "attn"] });
    find("[data-pos='2']").click();
    expect(model.sent("selection")).toEqual([0, 1, 2, 3].map((layer) => [2, layer, "attn"]));
    const strip = find(".rw-layers");
    strip.getBoundingClientRect = () => ({ left: 100, width: 40 }) as DOMRect;
    strip.dispatchEvent(new MouseEvent("click", { clientX: 135, ctrlKey: true }));
    expect(model.sent("selection")).toHaveLength(9);
    expect(model.sent("selection")).toContainEqual([4, 3, "hidden"]);
  });
  test("pointing at a cell reads it out and sends nothing", () => {
    const { model, find } = show(gridTraits());
    const sent = model.saved.length;
    const canvas = find("canvas[data-kind=attn]");
    canvas.getBoundingClientRect = () => ({ left: 0, top: 0, width: 40, height: 50 }) as DOMRect;
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: 15, clientY: 25 }));
    expect(find(".rw-detail").textContent).toContain("Attention layer 1");
    expect(find(".rw-detail").textContent).toContain("layers 0–2 restored");
    expect(find(".rw-detail").textContent).toContain("0.5410");
    expect(find(".rw-detail").textContent).toContain("+0.4410");
    expect(model.saved.length).toBe(sent);
  });
  test("keys move, toggle, restore and clear, and stay on our root", () => {
    const { model, find } = show({ ...gridTraits(), cursor: [1, 1, "mlp"] });
    const grid = find("[role=grid]");
    const outside = vi.fn();
    document.body.addEventListener("keydown", outside);
    key(grid, "ArrowDown");
    expect(model.sent("cursor")).toEqual([2, 1, "mlp"]);
    key(grid, " ");
    key(grid, "ArrowRight");
    key(grid, " ");
    expect(model.sent("selection")).toEqual([
      [2, 1, "mlp"],
      [2, 2, "mlp"],
    ]);
    key(grid, "ArrowLeft");
    key(grid, "ArrowLeft");
    key(grid, "Enter");
    expect(model.sent("selection")).toEqual([[2, 0, "mlp"]]);
    expect(key(grid, "Escape").defaultPrevented).toBe(true);
    expect(model.sent("selection")).toEqual([]);
    expect(outside).not.toHaveBeenCalled();
    key(grid, "s", { ctrlKey: true });
    key(grid, "Enter", { shiftKey: true });
    expect(outside).toHaveBeenCalledTimes(2);
    document.body.removeEventListener("keydown", outside);
  });
  test("figure tells screen readers the row of the cursor", () => {
    const { el, find } = show({ ...gridTraits(), cursor: [2, 1, "mlp"], selection: [[2, 1, "mlp"]] });
    const grid = find("[role=grid]");
    const active = el.querySelector(`#${grid.getAttribute("aria-activedescendant")}`);
    expect(active?.textContent).toBe("layer 1, p 0.341, up 0.241");
    expect(active?.getAttribute("aria-selected")).toBe("true");
    expect(find("[role=rowheader]").textContent).toBe("MLP: Needle, corrupted");
    expect(el.querySelectorAll("[role=gridcell]")).toHaveLength(4);
  });
});

describe("panel", () => {
  test("estimated cells are named as such wherever a number would stand, until the exact one lands", async () => {
    const empty = new Float32Array(3 * 5 * 4).fill(Number.NaN);
    const traits = { ...explorerTraits(), status: "running", progress: 0 };
    const { model, find, el, root } = show({ ...traits, scores: view(empty), estimate: scores() });
    expect(find(".rw-legend").textContent).toBe("estimate");
    expect(root.textContent).toContain("0/60 states");
    expect(el.querySelectorAll(".rw-box.rw-estimated")).toHaveLength(3);
    expect(el.querySelector(".rw-best")).toBeNull();
    await model.receive({ cursor: [2, 1, "mlp"] });
    const said = () => [find(".rw-detail"), find("[aria-selected][id]")].map((each) => each.textContent);
    for (const text of said()) expect(text).toContain("estimate ≈ 0.34");
    expect(find(".rw-detail").textContent).not.toMatch(/recovery|over corrupted|0\.34\d/);
    const row = empty.slice();
    row.set([0.3, 0.3, 0.3, 0.3], 20 + 2 * 4);
    await model.receive({ scores: view(row), progress: 0.1 });
    for (const text of said()) expect(text).not.toContain("estimate");
    expect(find(".rw-detail").textContent).toContain("0.3000");
    expect(find(".rw-legend").textContent).toBe("estimate");
    await model.receive({ scores: scores() });
    expect(el.querySelector(".rw-legend, .rw-estimated")).toBeNull();
    await model.receive({ scores: view(row), estimate: null, cursor: [0, 0, "attn"] });
    expect(el.querySelector(".rw-legend, .rw-estimated")).toBeNull();
    expect(find(".rw-detail").textContent).toContain("not computed");
  });

  test("a click on an estimated cell shows no number until the model answers", () => {
    const empty = new Float32Array(3 * 5 * 4).fill(Number.NaN);
    const { find, model } = show({ ...explorerTraits(), scores: view(empty), estimate: scores() });
    click(find, "mlp", 2, 1);
    expect(model.sent("selection")).toEqual([[2, 1, "mlp"]]);
    expect(find(".rw-panel").textContent).not.toMatch(/0\.34|estimate/);
  });

  test("the colour scale is that of the exact numbers: an estimate does not move it", () => {
    const empty = new Float32Array(3 * 5 * 4).fill(Number.NaN);
    const high = new Float32Array(3 * 5 * 4).fill(1);
    const { find } = show({ ...gridTraits(), scores: view(empty), estimate: view(high) });
    expect(find(".rw-end-clean").getAttribute("style")).toBe("top:0px");
    expect(find(".rw-legend").textContent).toBe("estimate");
  });

  test("panel shows the answer to the selection, with p to four decimals", () => {
    const { find, el } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]], restoration: answer() });
    const panel = find(".rw-panel");
    expect(panel.dataset.selection).toBe('[[2,1,"mlp"]]');
    expect(panel.dataset.probability).toBe("0.4123");
    expect(panel.textContent).toContain("Restored: 3 states");
    expect(panel.textContent).toContain("MLP 0–2 at “Needle”");
    expect(find(".rw-share").textContent).toBe("39\u202f%");
    expect(panel.textContent).toContain("0.4123");
    const rows = [...el.querySelectorAll("tbody tr")].map((row) =>
      row.textContent?.replace(/\s+/g, " ").trim(),
    );
    expect(rows[0]).toContain("0.900 0.100 0.412 +0.312 ▲");
    expect(rows[1]).toContain("\u22120.100 ▼");
  });
  test("panel does not call an answer current that belongs to another selection", async () => {
    const { model, find } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]], restoration: answer() });
    await model.receive({ selection: [[0, 0, "hidden"]] });
    expect(find(".rw-panel").dataset.selection).toBeUndefined();
    expect(find(".rw-panel").getAttribute("aria-busy")).toBe("true");
  });
  test("panel shows the grid's own number for one cell until the model answers", () => {
    const { find } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]] });
    expect(find(".rw-panel").textContent).toContain("0.3410");
    expect(find(".rw-panel").textContent).not.toContain("updating");
  });
  test("panel says updating… only after 150 ms", () => {
    vi.useFakeTimers();
    const { find } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]] });
    vi.advanceTimersByTime(140);
    expect(find(".rw-panel").textContent).not.toContain("updating");
    vi.advanceTimersByTime(20);
    expect(find(".rw-panel").textContent).toContain("updating");
  });
  test("panel shows a sentence where there is no number", () => {
    const message = "Recorded single-state effects; a live model is needed to combine them.";
    const { find } = show({
      ...gridTraits(),
      selection: [[2, 1, "mlp"]],
      restoration: answer({ probability: null, recovery: null, rows: [], message }),
    });
    expect(find(".rw-message").textContent).toBe(message);
  });
  test.each([
    ["exact", []],
    ["edited", ["⚠ By the model as edited since; the grid is from before."]],
  ] as const)("panel says who answered where it is not the grid's own model: %s", (source, said) => {
    const { el } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]], restoration: answer({ source }) });
    expect([...el.querySelectorAll(".rw-panel .rw-note")].map((note) => note.textContent)).toEqual(said);
  });
  test("explorer asks for the restoration again when that is what failed, and not for a trace", () => {
    const error = { type: "E", message: "no", found: "", wanted: "", remedy: "", cause: "restoration" };
    const { model, find } = show({ ...explorerTraits(), error });
    find("[data-action=retry]").click();
    expect(model.sent("_request")).toMatchObject({ op: "restore" });
  });
  test("panel without a selection shows what the noise took away", () => {
    const { find } = show(gridTraits());
    expect(find(".rw-panel").textContent).toContain("Nothing restored");
    expect(find(".rw-panel").textContent).toContain("\u22120.8000");
    expect(find(".rw-table").textContent).toContain("Paris");
  });
});

describe("explorer", () => {
  test("explorer underlines the subject inside the prompt and says where it leads", () => {
    const { find } = show(explorerTraits());
    expect(find("mark").textContent).toBe("The Space Needle");
    expect(find(".rw-leads").textContent).toContain("Seattle");
  });
  test("explorer sends one request with the form when Trace is pressed", () => {
    const { model, find } = show(explorerTraits());
    const prompt = find<HTMLTextAreaElement>("textarea");
    prompt.value = "Mount Fuji is in";
    prompt.dispatchEvent(new Event("input"));
    find<HTMLButtonElement>("[data-action=trace]").click();
    expect(model.saved.at(-1)).toMatchObject({ prompt: "Mount Fuji is in", _request: { op: "trace" } });
  });
  test("explorer runs on Enter in the prompt and leaves Shift+Enter to the host", () => {
    const { model, find } = show(explorerTraits());
    expect(key(find("textarea"), "Enter", { shiftKey: true }).defaultPrevented).toBe(false);
    expect(model.sent("_request")).toBeUndefined();
    expect(key(find("textarea"), "Enter").defaultPrevented).toBe(true);
    expect(model.sent("_request")).toMatchObject({ op: "trace" });
  });
  test("explorer says when the form differs from what was traced", async () => {
    const { model, root, find } = show(explorerTraits());
    expect(root.textContent).not.toContain("changed since this trace");
    await model.receive({ noise: 5 });
    expect(root.textContent).toContain("changed since this trace");
    expect(find("[data-action=trace]").className).toContain("rw-primary");
    await model.receive({ noise: 3 });
    expect(root.textContent).not.toContain("changed since this trace");
  });
  test("explorer takes numbers from its fields, and puts back what is no number", () => {
    const { model, find } = show(explorerTraits());
    const set = (name: string, value: string) => {
      const input = find<HTMLInputElement>(`[data-setting=${name}]`);
      input.value = value;
      input.dispatchEvent(new Event("change"));
      return input.value;
    };
    set("samples", "5");
    expect(model.sent("samples")).toBe(5);
    set("window", "3");
    expect(model.sent("window")).toBe(3);
    set("window", "");
    expect(model.sent("window")).toBeNull();
    expect(set("samples", "0")).toBe("5");
    expect(model.sent("samples")).toBe(5);
  });
  test("explorer offers Cancel and counts states while running", async () => {
    const { model, find, root } = show(explorerTraits());
    const half = new Float32Array(60).fill(Number.NaN).fill(0.2, 0, 30);
    await model.receive({ status: "running", progress: 0.5, scores: new DataView(half.buffer) });
    expect(root.dataset.status).toBe("running");
    expect(root.textContent).toContain("30/60 states");
    find<HTMLButtonElement>("[data-action=cancel]").click();
    expect(model.sent("_cancel_id")).toBeGreaterThan(0);
    await model.receive({ status: "cancelled" });
    expect(root.textContent).toContain("cancelled · 30/60 states");
  });
  test("explorer shows an error in three sentences, keeps the picture, and can be dismissed or tried again", async () => {
    const { model, find, el } = show(explorerTraits());
    const error = {
      type: "SubjectNotFound",
      message: "m",
      found: "Not there.",
      wanted: "Letters.",
      remedy: "Look.",
      traceback: "in line 3",
    };
    await model.receive({ status: "error", error });
    expect(find(".rw-error").textContent?.replace(/\s+/g, " ")).toContain(
      "Not there. Letters. Look. SubjectNotFoundin line 3",
    );
    expect(el.querySelectorAll("canvas")).toHaveLength(3);
    find<HTMLButtonElement>("[data-action=retry]").click();
    expect(model.sent("_request")).toMatchObject({ op: "trace" });
    find<HTMLButtonElement>("[data-action=dismiss]").click();
    expect(el.querySelector(".rw-error")).toBeNull();
  });
  test("explorer without a trace offers an example that fills the form and runs", () => {
    const { model, find } = show({
      ...explorerTraits(),
      trace: {},
      scores: null,
      prompt: "",
      subject: "",
      status: "idle",
    });
    expect(find<HTMLButtonElement>("[data-action=trace]").disabled).toBe(true);
    find<HTMLButtonElement>("[data-action=example]").click();
    expect(model.saved.at(-1)).toMatchObject({
      prompt: "Mount Fuji is in",
      subject: "Mount Fuji",
      _request: { op: "trace" },
    });
  });
  test("explorer lets marked words of the prompt become the subject", () => {
    const { model, find } = show(explorerTraits());
    const prompt = find<HTMLTextAreaElement>("textarea");
    prompt.setSelectionRange(4, 16);
    prompt.dispatchEvent(new Event("select"));
    find("[data-action=subject]").dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));
    expect(model.sent("subject")).toBe("Space Needle");
  });
  test("explorer forgets marked words once something is typed, and keeps what was typed", () => {
    const { find, root } = show(explorerTraits());
    const prompt = find<HTMLTextAreaElement>("textarea");
    prompt.setSelectionRange(4, 16);
    prompt.dispatchEvent(new Event("select"));
    expect(root.textContent).toContain("make “Space Needle” the subject");
    prompt.value = "Mount Fuji is in";
    prompt.dispatchEvent(new Event("input"));
    expect(root.textContent).not.toContain("make “");
    expect(root.textContent).toContain("not in the prompt");
    expect(prompt.value).toBe("Mount Fuji is in");
  });
  test("explorer says that Python is silent only after some seconds without an echo", async () => {
    vi.useFakeTimers();
    const silent = show(explorerTraits());
    const alive = show(explorerTraits());
    expect(alive.model.sent("_ping")).toBeTruthy();
    alive.model.receive({ _pong: alive.model.sent("_ping") });
    await vi.advanceTimersByTimeAsync(5000);
    expect(silent.root.textContent).toContain("Kernel not connected");
    expect(alive.root.textContent).not.toContain("Kernel not connected");
  });
  test("explorer asks again for Python when its comm went, and believes the answer", async () => {
    vi.useFakeTimers();
    const { model, root } = show(explorerTraits());
    model.receive({ _pong: model.sent("_ping") });
    await vi.advanceTimersByTimeAsync(100);
    model.emit("comm_live_update");
    await vi.advanceTimersByTimeAsync(5000);
    expect(root.textContent).toContain("Kernel not connected");
    model.receive({ _pong: model.sent("_ping") });
    await vi.advanceTimersByTimeAsync(100);
    expect(root.textContent).not.toContain("Kernel not connected");
  });
  test("explorer measures the time from the click to the painted answer", async () => {
    const { model, find } = show(explorerTraits());
    click(find, "mlp", 2, 1);
    expect(find(".rw-panel").dataset.latencyMs).toBeUndefined();
    await model.receive({ restoration: answer() });
    await vi.waitFor(() => expect(Number(find(".rw-panel").dataset.latencyMs)).toBeGreaterThan(0));
    // The same cell again: its answer is already there.
    click(find, "mlp", 2, 1);
    await vi.waitFor(() => expect(find(".rw-panel").dataset.latencyMs).toBeDefined());
  });
});

test("scores() of the fake model are unaligned, as messages are", () => {
  expect(scores().byteOffset % 4).not.toBe(0);
});

describe("comparison", () => {
  const before = scores();
  const after = () => {
    const all = new Float32Array(3 * 5 * 4).fill(0.25);
    return view(all);
  };
  const compared = () => ({
    ...explorerTraits(),
    scores: after(),
    before_scores: before,
    comparison: {
      names: ["before", "after"],
      before: "without the edit",
      after: "with 1 edit",
      clean: 0.95,
      corrupted: 0.1,
      same: false,
    },
  });
  const sides = (el: Element) =>
    [...el.querySelectorAll<HTMLElement>("canvas")].map((each) => each.dataset.side);

  test("a trace with another before it shows both and their difference, kind by kind", () => {
    const { el, find } = show(compared());
    expect(sides(el)).toEqual(["before", "after", "change"].flatMap((side) => [side, side, side]));
    expect(find("[data-side=before] .rw-which").textContent).toContain("without the edit");
    expect(find("[data-side=change] .rw-which").textContent).toContain("\u22120.0500");
    expect(el.querySelectorAll(".rw-tokens")).toHaveLength(3);
  });
  test("of one kind the three stand beside each other, with one column of tokens", () => {
    const { el } = show({ ...compared(), kind: "mlp" });
    expect(sides(el)).toEqual(["before", "after", "change"]);
    expect(el.querySelectorAll(".rw-tokens")).toHaveLength(1);
  });
  test("one grid is chosen with a button that says it is pressed", () => {
    const { el, find } = show(compared());
    find<HTMLButtonElement>("[data-choice=before]").click();
    expect(sides(el)).toEqual(["before", "before", "before"]);
    expect(find("[data-choice=before]").getAttribute("aria-pressed")).toBe("true");
  });
  test("the cell under the cursor is told before, after and as a difference, also to screen readers", () => {
    const { find } = show({ ...compared(), cursor: [2, 1, "mlp"] });
    const said = find(".rw-detail").textContent?.replace(/\s+/g, " ");
    expect(said).toContain("before 0.3410");
    expect(said).toContain("after 0.2500");
    expect(said).toContain("\u22120.0910");
    expect(find("[role=gridcell][id]").textContent).toBe(
      "layer 1, p 0.250, up 0.150, down 0.091 from before",
    );
  });
  test("the largest difference is found among all rows, whatever its sign", () => {
    const { find } = show({ ...compared(), kind: "attn" });
    expect(find("[data-side=change] .rw-best").textContent).toBe("layer 3 · \u22120.33");
  });
  test("the sentence names the word that is followed and what the edited model says now", () => {
    const { find } = show(compared());
    expect(find(".rw-leads").textContent).toBe(" → Seattle, now Paris");
    expect(show(explorerTraits()).find(".rw-leads").textContent).toBe(" → Seattle");
  });
  test("comparing is stopped by an order to Python", () => {
    const { find, model } = show(compared());
    find("[data-action=stop_comparing]").click();
    expect(model.sent("_request")).toMatchObject({ op: "stop_comparing" });
  });
  test("scores before that do not fit the tokens show no difference instead of a wrong one", () => {
    const { find, el } = show({ ...compared(), before_scores: new DataView(new ArrayBuffer(8)) });
    expect(el.querySelector("[data-side=change] .rw-best")).toBeNull();
    expect(find("[data-side=after] .rw-best").textContent).toContain("0.25");
  });
});

describe("pages", () => {
  const inside = (more: object = {}) =>
    show({ ...explorerTraits(), page: "flow", flow: flowInfo(), selection: [[2, 1, "hidden"]], ...more });
  /** The mouse on a node: the canvas of 4 layers and 5 tokens stands at (100, 200). */
  const on = (find: (selector: string) => HTMLElement, cell: Cell, type: string, more = {}) => {
    const canvas = find("canvas[data-flow]");
    const [width, height] = ["width", "height"].map((name) =>
      Number.parseFloat(canvas.style.getPropertyValue(name)),
    ) as [number, number];
    canvas.getBoundingClientRect = () => ({ left: 100, top: 200, width, height }) as DOMRect;
    const pitch = width / 4.75;
    const at = place({ pitch, row: height / 5, radius: 0, side: 0, width, height }, cell);
    canvas.dispatchEvent(
      new PointerEvent(type, { clientX: 100 + at[0], clientY: 200 + at[1], bubbles: true, ...more }),
    );
  };

  test("the page switch is sent to Python and turns the page", () => {
    const { find, model } = show(explorerTraits());
    expect(find("canvas[data-kind]")).toBeTruthy();
    find<HTMLButtonElement>("[data-choice=flow]").click();
    expect(model.sent("page")).toBe("flow");
    expect(find("canvas[data-flow]")).toBeTruthy();
    find<HTMLButtonElement>("[data-choice=lens]").click();
    expect(find(".rw-picture").textContent).toContain("Running the model");
  });
  test("a click on a node selects its cell, with Ctrl it toggles, with Shift it spans", () => {
    const { find, model } = inside();
    on(find, [2, 2, "mlp"], "click", { ctrlKey: true });
    expect(model.sent("selection")).toEqual([
      [2, 1, "hidden"],
      [2, 2, "mlp"],
    ]);
    on(find, [0, 3, "attn"], "click");
    expect(model.sent("selection")).toEqual([[0, 3, "attn"]]);
    on(find, [1, 2, "attn"], "click", { shiftKey: true });
    expect(model.sent("selection")).toEqual([
      [0, 2, "attn"],
      [0, 3, "attn"],
      [1, 2, "attn"],
      [1, 3, "attn"],
    ]);
  });
  test("every layer that a window restores is ringed", () => {
    const { el } = inside({ selection: [[2, 1, "mlp"]] });
    expect(el.querySelectorAll(".rw-nodes rect:is(.rw-selected, .rw-reach)")).toHaveLength(3);
    expect(el.querySelectorAll(".rw-nodes .rw-selected")).toHaveLength(1);
  });
  test("the line below says in each run what a node does", () => {
    const { find, el } = inside();
    on(find, [2, 1, "mlp"], "pointermove");
    expect(find(".rw-detail").textContent).toContain(
      "“Needle”, MLP layer 1: moved 0.16 of the state’s length; 50\u202f% back",
    );
    el.querySelector<HTMLButtonElement>("[data-choice=corrupted]")?.click();
    expect(find(".rw-detail").textContent).toContain("noise moved it 0.32 of the state’s length");
    el.querySelector<HTMLButtonElement>("[data-choice=clean]")?.click();
    expect(find(".rw-detail").textContent).toContain("writes 0.42 of the state’s length");
  });
  test("attention reads what comes before: a fan from every earlier state, none for the MLP", () => {
    const { find, el } = inside();
    on(find, [3, 2, "attn"], "pointermove");
    expect(el.querySelectorAll(".rw-fan")).toHaveLength(4);
    on(find, [3, 2, "mlp"], "pointermove");
    expect(el.querySelectorAll(".rw-fan")).toHaveLength(0);
  });
  test("keys move the cursor over the nodes and a screen reader hears the row", () => {
    const { find, model } = inside({ cursor: [2, 1, "hidden"] });
    const grid = find("[role=grid]");
    key(grid, "ArrowRight");
    expect(model.sent("cursor")).toEqual([2, 2, "hidden"]);
    const active = find(`#${grid.getAttribute("aria-activedescendant")}`);
    expect(active.textContent).toBe("layer 2, moved 0.06 of the state’s length; 50\u202f% back");
    key(grid, "Enter");
    expect(model.sent("selection")).toEqual([[2, 2, "hidden"]]);
  });
  test("of another selection only what does not depend on it is shown", async () => {
    const { find, model } = inside();
    await model.receive({ selection: [[0, 0, "hidden"]] });
    on(find, [2, 1, "mlp"], "pointermove");
    expect(find(".rw-detail").textContent).toContain("noise moved it");
    expect(find(".rw-picture").textContent).toContain("Running the model");
    await model.receive({ page: "lens", lens: lensInfo("clean", "corrupted", "restored") });
    expect(find(".rw-lens").textContent).not.toContain("restored");
    expect(find(".rw-lens").textContent).toContain("corrupted");
  });
  test("without a kernel what was saved is shown, and of what it is", async () => {
    vi.useFakeTimers();
    const { find } = inside({ selection: [[0, 0, "hidden"]] });
    await vi.advanceTimersByTimeAsync(5000);
    expect(find(".rw-picture").textContent).toContain("As saved: restored hidden 1 at “Needle”.");
    on(find, [2, 1, "mlp"], "pointermove");
    expect(find(".rw-detail").textContent).toContain("50\u202f% back");
    const bare = inside({ flow: {} });
    await vi.advanceTimersByTimeAsync(5000);
    expect(bare.find(".rw-picture").textContent).toContain("needs a live model");
  });
  test("a flow that does not fit its tokens draws nothing and says so", () => {
    const { find } = inside({ flow: { ...flowInfo(), noise: new DataView(new ArrayBuffer(8)) } });
    on(find, [2, 1, "mlp"], "pointermove");
    expect(find(".rw-detail").textContent).toContain("not measured");
  });

  test("lens shows a row for each run, and marks the answer in words and weight", () => {
    const lens = lensInfo("clean", "corrupted", "restored", "unedited");
    const { el } = inside({ page: "lens", lens });
    const rows = [...el.querySelectorAll(".rw-lens tbody tr")];
    expect(rows.map((row) => row.firstElementChild?.textContent)).toEqual(lens.runs.map(({ name }) => name));
    expect(rows[0]?.querySelectorAll("td")[3]?.textContent).toBe("Seattle✓");
    expect(rows[0]?.querySelectorAll("td")[2]?.textContent).toBe("Paris");
    expect(rows[0]?.querySelectorAll("td")[2]?.title).toBe("Paris 0.50 · in 0.10");
  });
  test("lens draws p and rank per layer, one line per run, the best rank on top", () => {
    const { el } = inside({ page: "lens", lens: lensInfo("clean", "corrupted") });
    const [p, rank] = [...el.querySelectorAll(".rw-curves")];
    expect(p?.querySelectorAll("polyline")).toHaveLength(2);
    const heights = rank
      ?.querySelector("polyline")
      ?.getAttribute("points")
      ?.split(" ")
      .map((point) => Number(point.split(",")[1]));
    expect(heights).toEqual([...(heights ?? [])].sort((a, b) => b - a));
    expect(heights?.at(-1)).toBe(5);
    expect(heights?.[0]).toBe(87);
    const shapes = [...(p?.querySelectorAll(".rw-point") ?? [])].map((mark) => mark.getAttribute("d"));
    expect(new Set(shapes).size).toBe(2);
  });
  test("lens reads a cell out to the pointer and to the keys, which stay ours", () => {
    const { el, find } = inside({ page: "lens", lens: lensInfo("clean", "corrupted") });
    el.querySelectorAll("td")[2]?.dispatchEvent(new PointerEvent("pointerenter"));
    expect(find(".rw-detail").textContent).toContain("clean, after layer 2: Paris 0.50 · in 0.10");
    const table = find(".rw-lens");
    expect(key(table, "ArrowDown").defaultPrevented).toBe(true);
    key(table, "ArrowRight");
    key(table, "ArrowRight");
    expect(find(".rw-detail").textContent).toContain("corrupted, after layer 3");
    expect(find(".rw-detail").textContent).toContain("p(Seattle) 0.8000, rank 1");
    expect(find(`#${table.getAttribute("aria-activedescendant")}`).textContent).toContain("Seattle");
    expect(key(table, "s").defaultPrevented).toBe(false);
  });
  test("tokens of a lens stay text", () => {
    const lens = lensInfo("clean");
    const run = lens.runs[0] as (typeof lens.runs)[0];
    const hostile = {
      ...lens,
      runs: [{ ...run, top: run.top.map(() => [["<img src=x>", 0.5] as [string, number]]) }],
    };
    const { el } = inside({ page: "lens", lens: hostile });
    expect(el.querySelector("img")).toBeNull();
    expect(el.querySelector(".rw-lens td bdi")?.textContent).toBe("<img src=x>");
  });
});

describe("path", () => {
  test("the button asks for a path of the share that the field says", () => {
    const { find, model } = show(explorerTraits());
    const share = find<HTMLInputElement>("[data-setting=recovery]");
    expect(share.value).toBe("90");
    share.value = "55";
    share.dispatchEvent(new Event("change"));
    expect(model.sent("recovery")).toBe(0.55);
    share.value = "0";
    share.dispatchEvent(new Event("change"));
    expect(share.value).toBe("55");
    find<HTMLButtonElement>("[data-action=path]").click();
    expect(model.sent("_request")).toMatchObject({ op: "path" });
  });
  test("while it is looked for the set so far is shown, and the search can be stopped", async () => {
    const { find, model, el } = show({
      ...explorerTraits(),
      path: pathInfo({ running: true, reached: false, probabilities: [0.5], states: [[2, 2, "mlp"]] }),
    });
    expect(find(".rw-path").textContent).toContain("looking: 1 state brings 50\u202f% back");
    expect(el.querySelector("[data-action=select_path]")).toBeNull();
    find<HTMLButtonElement>("[data-action=stop_path]").click();
    expect(model.sent("_request")).toMatchObject({ op: "stop_path" });
    await model.receive({ path: pathInfo({ reached: false, probabilities: [0.3, 0.5] }) });
    expect(find(".rw-path").textContent).toContain("2 states bring 50\u202f% back, not 90\u202f%");
  });
  test("its steps are listed with p and share, and become the selection", () => {
    const { find, model, el } = show({ ...explorerTraits(), path: pathInfo() });
    const steps = [...el.querySelectorAll(".rw-steps li")].map((step) =>
      step.textContent?.replace(/\s+/g, " "),
    );
    expect(steps[0]).toContain("MLP 2 at “Needle” p(Seattle) 0.5050 %");
    expect(steps[1]).toContain("hidden 1 at “Needle” → 0.8695 %");
    find<HTMLButtonElement>("[data-action=select_path]").click();
    expect(model.sent("selection")).toEqual(pathInfo().states);
    expect(find(".rw-path").textContent).toContain("with their windows");
  });
  test("the grid numbers a path's cells by their steps and joins none", () => {
    const { el } = show({
      ...explorerTraits(),
      path: pathInfo({
        states: [
          [2, 2, "mlp"],
          [1, 0, "mlp"],
        ],
      }),
    });
    expect([...el.querySelectorAll("text.rw-step")].map((each) => each.textContent)).toEqual(["1", "2"]);
    expect(el.querySelector(".rw-way")).toBeNull(); // A set: nothing flows into what is overwritten.
  });
  test("on the flow a path goes on to the last token where the flow is of its states", async () => {
    const traits = { ...explorerTraits(), page: "flow", flow: flowInfo() };
    const { el, model } = show({ ...traits, path: pathInfo({ states: [[2, 1, "hidden"]] }) });
    expect(el.querySelectorAll(".rw-way")).toHaveLength(1);
    await model.receive({ path: pathInfo({ states: [[2, 0, "hidden"]] }) });
    expect(el.querySelectorAll(".rw-way")).toHaveLength(0);
    expect(el.querySelectorAll("circle.rw-step")).toHaveLength(1);
  });
  test("a recorded grid has no path and looks for none", () => {
    const { el } = show(gridTraits());
    expect(el.querySelector(".rw-path, .rw-step")).toBeNull();
  });
});

describe("keeping", () => {
  const run = {
    id: 4,
    settings: info.settings,
    words: "window 1 · noise 3 × σ",
    answer: " Seattle",
    clean: 0.9,
    corrupted: 0.1,
    edits: 0,
    complete: true,
  };
  const a = (more: object = {}) => ({
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
  const connected = async (traits: object) => {
    const shown = show({ ...explorerTraits(), ...traits });
    await shown.model.receive({ _pong: shown.model.sent("_ping") });
    return shown;
  };

  test("a run of the history is brought back by its number", async () => {
    const { find, model, el } = await connected({ history: [{ ...run, id: 3 }, run], run_shown: 4 });
    expect([...el.querySelectorAll("[data-run]")].map((each) => each.getAttribute("aria-pressed"))).toEqual([
      "true",
      "false",
    ]);
    expect(find("[data-run='4']").textContent).toContain("window 1 · noise 3 × σ");
    find("[data-run='3']").click();
    expect(model.sent("_request")).toMatchObject({ op: "recall", run: 3 });
  });
  test("a menu closes when something in it is chosen, on Escape, and when the focus leaves", async () => {
    const { find } = await connected({ history: [run] });
    const menu = find<HTMLDetailsElement>(".rw-menu");
    for (const close of [
      () => find("[data-run]").click(),
      () => key(find("[data-run]"), "Escape"),
      () => menu.dispatchEvent(new FocusEvent("focusout", { relatedTarget: document.body })),
    ]) {
      menu.open = true;
      key(find("[data-run]"), "a");
      expect(menu.open).toBe(true);
      close();
      expect(menu.open).toBe(false);
    }
  });
  test("a restoration kept as A stands beside the present one, token by token", () => {
    const { find, el } = show({
      ...explorerTraits(),
      kept: a(),
      selection: [[2, 1, "mlp"]],
      restoration: answer(),
    });
    const rows = [...el.querySelectorAll(".rw-table tbody tr")].map((row) =>
      row.textContent?.replace(/\s+/g, " ").trim(),
    );
    expect(rows[0]).toContain("0.900 0.300 0.412 +0.112 ▲");
    expect(rows[1]).toContain("0.010 – 0.200 –");
    expect(find(".rw-panel").textContent?.replace(/\s+/g, " ")).toContain(
      "A 25 % back with 1 state · attention 0 at “Mount”",
    );
    expect(find(".rw-track i").getAttribute("style")).toBe("left:25%");
    expect(find(".rw-dots").textContent).toContain("A B, on a scale");
  });
  test("without comparing, or without a restoration of A, the table is the usual one", () => {
    for (const kept of [a({ comparing: false }), a({ restoration: {} }), {}]) {
      const traits = { ...explorerTraits(), kept, selection: [[2, 1, "mlp"]], restoration: answer() };
      expect(show(traits).find(".rw-table thead").textContent).toContain("corrupted");
    }
  });
  test("where the grids cannot be compared, the numbers that can be are, with the reason", () => {
    const rows = [["best MLP", 0.5, 0.25, "“Fuji”, layer 3", "“Needle”, layer 2"]];
    const { find } = show({
      ...explorerTraits(),
      kept: a({ reason: "Not cell by cell: A has other tokens.", rows }),
    });
    const said = find("[aria-label='A and B']").textContent?.replace(/\s+/g, " ");
    expect(said).toContain("Not cell by cell: A has other tokens. A is “Mount Fuji is in” → Japan");
    expect(said).toContain("best MLP 0.500“Fuji”, layer 30.250“Needle”, layer 2 \u22120.250 ▼");
  });
  test("the grids of A and B are called that", () => {
    const { find } = show({
      ...explorerTraits(),
      before_scores: scores(),
      cursor: [2, 1, "mlp"],
      comparison: {
        names: ["A", "B"],
        before: "window 3",
        after: "window 1",
        clean: 0.9,
        corrupted: 0.1,
        same: false,
      },
    });
    expect(find("[data-side=before] .rw-which").textContent).toContain("A");
    expect(find("[data-side=change] .rw-which").textContent).toContain("B − A");
    expect(find("[data-choice=before]").textContent).toBe("A");
    expect(find(".rw-detail").textContent?.replace(/\s+/g, " ")).toContain("p(Seattle) A 0.3410 B 0.3410");
    expect(find(".rw-leads").textContent).not.toContain("now");
  });
  test.each([
    [{}, ["keep_as_a"]],
    [{ kept: a() }, ["keep_as_a", "stop_comparing"]],
    [{ kept: a({ comparing: false }) }, ["keep_as_a", "compare"]],
  ])("the buttons below the panel ask Python: %#", async (more, ops) => {
    const { model, el } = await connected(more);
    const asked = [...el.querySelectorAll<HTMLElement>(".rw-actions button")].map((each) => {
      each.click();
      return (model.sent("_request") as { op: string }).op;
    });
    expect(asked).toEqual(ops);
  });
  test("code is copied; where the page may not, it is shown to be copied by hand", async () => {
    const { find, el } = show({ ...explorerTraits(), code: "lm = rw.load()" });
    const copied: string[] = [];
    vi.stubGlobal("navigator", { clipboard: { writeText: async (text: string) => copied.push(text) } });
    find("[data-action=copy]").click();
    await settled();
    expect(copied).toEqual(["lm = rw.load()"]);
    expect(find("[data-action=copy]").textContent).toBe("Copied ✓");
    vi.stubGlobal("navigator", {});
    find("[data-action=copy]").click();
    await settled();
    expect(el.querySelector<HTMLTextAreaElement>(".rw-code")?.value).toBe("lm = rw.load()");
    vi.unstubAllGlobals();
  });
  test("a cancelled trace offers to go on", async () => {
    const half = new Float32Array(60).fill(Number.NaN).fill(0.2, 0, 30);
    const { find, model } = show({ ...explorerTraits(), status: "cancelled", scores: view(half) });
    find("[data-action=resume]").click();
    expect(model.sent("_request")).toMatchObject({ op: "resume" });
  });
  test("after a second a run says how long it took and will take, from where it went on", async () => {
    vi.useFakeTimers();
    const { model, root } = show({ ...explorerTraits(), status: "running", progress: 0.5 });
    vi.advanceTimersByTime(700);
    expect(root.textContent).not.toMatch(/left/);
    model.receive({ progress: 0.75 });
    await vi.advanceTimersByTimeAsync(1400);
    expect(root.textContent).toContain("75\u202f% · 2.0\u202fs, 2.0\u202fs left");
    model.receive({ status: "done", progress: 1 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(root.textContent).not.toMatch(/left/);
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1); // The wait for Python.
  });
  test("a remedy that can be applied is a button, and tries again", () => {
    const fix = { label: "samples 10 → 5", values: { samples: 5 } };
    const error = { type: "OutOfMemory", found: "No room.", cause: "run", fix };
    const { find, model } = show({ ...explorerTraits(), status: "error", error });
    expect(find("[data-action=fix]").textContent).toBe("samples 10 → 5");
    find("[data-action=fix]").click();
    expect(model.saved.at(-1)).toMatchObject({ samples: 5, _request: { op: "trace" } });
  });
  test("of a subject that occurs twice the one that is meant is chosen, counted as Python counts", async () => {
    const prompt = "😀 The Space Needle or The Space Needle is in";
    const settings = { ...info.settings, prompt };
    const { find, model, root } = show({ ...explorerTraits(), prompt, trace: { ...info, prompt, settings } });
    expect(find(".rw-sentence").textContent).toContain("😀 The Space Needle or The Space Needle is in");
    expect(find("[data-choice='1']").getAttribute("aria-pressed")).toBe("true");
    expect(root.textContent).not.toContain("changed since this trace");
    find("[data-choice='0']").click();
    expect(model.sent("place")).toEqual([2, 18]);
    expect(find("[data-choice='0']").getAttribute("aria-pressed")).toBe("true");
    expect(root.textContent).toContain("changed since this trace");
    expect(find("mark").previousSibling?.textContent ?? find(".rw-sentence").textContent).toContain("😀");
    await model.receive({ prompt: info.prompt });
    expect(find("mark").textContent).toBe("The Space Needle");
  });
  test("an answer of several tokens says which is followed; an emptied one is the model's own", () => {
    const settings = { ...info.settings, answer: "Buenos Aires" };
    const trace = { ...info, answer: " Buenos", settings };
    const { find, model } = show({ ...explorerTraits(), answer: "Buenos Aires", trace });
    expect(find(".rw-numbers").textContent).toContain("first token, “Buenos”");
    const field = find<HTMLInputElement>("[data-field=answer]");
    field.value = "";
    field.dispatchEvent(new Event("input"));
    field.dispatchEvent(new Event("change"));
    expect(model.sent("answer")).toBeNull();
  });
  test("without a kernel a cell is read from the grid, several are not, and nothing offers to run", async () => {
    vi.useFakeTimers();
    const { find, el, model } = show({ ...explorerTraits(), history: [run], kept: a({ comparing: false }) });
    await vi.advanceTimersByTimeAsync(5000);
    expect(el.textContent).toContain("Kernel not connected: showing saved results");
    for (const action of ["trace", "keep_as_a", "compare", "svg"])
      expect(el.querySelector(`[data-action=${action}]`)).toBeNull();
    expect(el.querySelector("[data-run]")).toBeNull();
    click(find, "mlp", 2, 1);
    await vi.advanceTimersByTimeAsync(500);
    const panel = () => find(".rw-panel").textContent;
    expect(panel()).toContain("0.3410");
    expect(panel()).toContain("Read from the grid");
    expect(panel()).not.toContain("updating");
    click(find, "mlp", 3, 1, { ctrlKey: true });
    await vi.advanceTimersByTimeAsync(500);
    expect(panel()).toContain("a kernel is needed to combine them");
    expect(model.sent("selection")).toHaveLength(2);
  });
  test("a figure that Python drew for this page is saved once, an older one never", async () => {
    const saved = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(() => {});
    const file = { id: 1, name: "a.svg", type: "image/svg+xml", data: new DataView(new ArrayBuffer(2)) };
    const { model } = await connected({ _file: file });
    expect(saved).not.toHaveBeenCalled();
    await model.receive({ _file: { ...file, id: 2 } });
    expect(saved).toHaveBeenCalledTimes(1);
    await model.receive({ progress: 0.5 });
    expect(saved).toHaveBeenCalledTimes(1);
    saved.mockRestore();
  });
});
