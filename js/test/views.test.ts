import { afterEach, describe, expect, test, vi } from "vitest";
import entry from "../src/trace.js";
import type { RestorationInfo } from "../src/types.js";
import { explorerTraits, FakeModel, gridTraits, info, scores, settled } from "./fake_model.js";

const lives: AbortController[] = [];

function show(traits: object) {
  const model = new FakeModel(traits);
  const el = document.body.appendChild(document.createElement("div"));
  const life = new AbortController();
  lives.push(life);
  entry().render({ model, el, signal: life.signal });
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
    const end = entry().render({ model, el });
    end();
    expect(model.listeners).toBe(0);
  });
  test("render twice gives two views of one model that follow each other", async () => {
    const { model, el } = show(gridTraits());
    const other = document.body.appendChild(document.createElement("div"));
    const life = new AbortController();
    lives.push(life);
    entry().render({ model, el: other, signal: life.signal });
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
  test("a press that is released on another cell selects nothing", () => {
    const { model, find } = show(gridTraits());
    const canvas = find("canvas[data-kind=mlp]");
    canvas.getBoundingClientRect = () => ({ left: 0, top: 0, width: 40, height: 50 }) as DOMRect;
    canvas.dispatchEvent(new PointerEvent("pointerdown", { clientX: 5, clientY: 5, button: 0 }));
    canvas.dispatchEvent(new PointerEvent("pointerup", { clientX: 25, clientY: 5, button: 0 }));
    expect(model.sent("selection")).toBeUndefined();
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
    const grid = find(".rw-figure");
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
    expect(active?.textContent).toBe("layer 1, p 0.341, +0.241");
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
    const said = () => [find(".rw-detail"), find(`[aria-colindex="3"]`)].map((each) => each.textContent);
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
    expect(find(`[aria-colindex="3"]`).textContent).toBe(
      "layer 1, p 0.250, +0.150, \u22120.091 since before",
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
      "A 25 % back with 1 state · attention 0 at “The”",
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
