import { expect, test } from "vitest";
import type { HeadsInfo } from "../../../src/types.js";
import { openable } from "../../../src/views/trace/heads.js";
import { explorerTraits, gridTraits, info } from "../../fake_model.js";
import { click, key, show } from "../show.js";

const heads = (scores: number[], more: Partial<HeadsInfo> = {}): HeadsInfo => ({
  layer: 1,
  positions: [2],
  scores: new DataView(new Float32Array(scores).buffer),
  running: false,
  ...more,
});
const FOUR = heads([0.15, 0.42, 0.1, 0.08]);
const TWO = heads([0.1, 0.2, 0.3, 0.5], { positions: [2, 4] });
const CELL = [2, 1, "attn"] as const;
const OTHER = [4, 1, "attn"] as const;
const opened = (more: object = {}) => show({ ...explorerTraits(), selection: [CELL], _heads: FOUR, ...more });
const asked = (model: { sent(key: string): unknown }) => (model.sent("_request") as { op?: string })?.op;

test("attention of one layer opens, whatever else is selected; of several it does not", () => {
  expect(openable([CELL])).toEqual([CELL]);
  expect(openable([CELL, [2, 0, "mlp"], OTHER])).toEqual([CELL, OTHER]);
  expect(openable([CELL, [4, 2, "attn"]])).toEqual([]);
  expect(openable([[2, 1, "mlp"]])).toEqual([]);
});
test("the button asks for the heads of a selected attention, and says what to select without one", async () => {
  const { find, words, model } = show(explorerTraits());
  expect(find<HTMLButtonElement>("[data-action=heads]").disabled).toBe(true);
  expect(words(".rw-heads .rw-where")).toEqual(["heads · select attention of one layer"]);
  await model.receive({ selection: [CELL, OTHER] });
  expect(words(".rw-heads .rw-where")).toEqual(["heads · attention 1 at 2 tokens"]);
  find<HTMLButtonElement>("[data-action=heads]").click();
  expect(asked(model)).toBe("heads");
});
test("the letter o opens the attention under the cursor, and closes its heads", async () => {
  const { find, model } = show({ ...explorerTraits(), cursor: CELL });
  key(find(".rw-cells"), "o");
  expect(model.sent("selection")).toEqual([CELL]);
  expect(asked(model)).toBe("heads");
  await model.receive({ _heads: FOUR });
  key(find(".rw-cells"), "o");
  expect(asked(model)).toBe("close_heads");
});
test("the letter o does nothing at a state that is no attention", () => {
  const { find, model } = show({ ...explorerTraits(), cursor: [2, 1, "mlp"] });
  key(find(".rw-cells"), "o");
  expect(model.sent("selection")).toBeUndefined();
  expect(model.sent("_request")).toBeUndefined();
});
test("the strongest head is told in the grid's words, another one to pointer and keys", () => {
  const { find, words } = opened();
  const [told] = words(".rw-told");
  expect(told).toContain("head 1 at “Needle”, the strongest");
  for (const part of ["p(Seattle) 0.4200", "+0.3200 ▲ over corrupted", "recovery 40 %"])
    expect(told).toContain(part);
  const canvas = find("canvas[data-heads]");
  canvas.getBoundingClientRect = () => ({ left: 0, top: 0, width: 40, height: 10 }) as DOMRect;
  canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: 25, clientY: 5 }));
  expect(words(".rw-told")[0]).toContain("head 2 at “Needle” p(Seattle) 0.1000");
  const grid = find(".rw-opened");
  expect(key(grid, "ArrowRight").defaultPrevented).toBe(true);
  expect(words(".rw-told")[0]).toContain("head 3 at “Needle” p(Seattle) 0.0800");
  expect(key(grid, "ArrowRight", { shiftKey: true }).defaultPrevented).toBe(false);
});
test("screen readers find the row of the head that is spoken about", () => {
  const { find, words } = opened({ selection: [CELL, OTHER], _heads: TWO });
  const grid = find(".rw-opened");
  expect(grid.getAttribute("aria-rowcount")).toBe("2");
  expect(words(".rw-opened [role=rowheader]")).toEqual(["in"]);
  expect(words(".rw-opened [role=gridcell]")).toEqual([
    "head 0, p 0.300, up 0.200",
    "head 1, p 0.500, up 0.400",
  ]);
  expect(find(`#${grid.getAttribute("aria-activedescendant")}`).textContent).toContain("head 1");
  key(grid, "ArrowUp");
  expect(words(".rw-opened [role=rowheader]")).toEqual(["Needle, corrupted"]);
  expect(find(`#${grid.getAttribute("aria-activedescendant")}`).textContent).toContain("p 0.200");
});
test("the scale of the grid is that of the heads", () => {
  const { words } = opened({ scale: "share" });
  expect(words(".rw-told b")).toContain("40 %");
});
test("while they are restored it says how many, and can be stopped; those so far are there", async () => {
  const { find, words, model } = opened({ _heads: heads([], { running: true }) });
  expect(words(".rw-heads [role=status]")).toEqual(["waiting for the model…"]);
  const half = [0.15, 0.2, Number.NaN, Number.NaN];
  await model.receive({ _heads: heads(half, { running: true }) });
  expect(words(".rw-heads [role=status]")).toEqual(["restoring one by one: 2 of 4"]);
  expect(words(".rw-opened [role=gridcell]").at(-1)).toBe("head 3, not computed");
  find<HTMLButtonElement>("[data-action=stop_heads]").click();
  expect(asked(model)).toBe("stop_heads");
  await model.receive({ _heads: heads(half) });
  expect(words(".rw-heads [role=status]")).toEqual(["stopped after 2 of 4"]);
  find<HTMLButtonElement>("[data-action=close_heads]").click();
  expect(asked(model)).toBe("close_heads");
});
test("heads are shown beside the selection that they are of, and never beside another", async () => {
  const { el, find, model } = opened();
  click(find, "attn", 1, 1);
  expect(el.querySelector(".rw-opened")).toBeNull();
  expect(find<HTMLButtonElement>("[data-action=heads]").disabled).toBe(false);
  await model.receive({ selection: [CELL] });
  expect(el.querySelector(".rw-opened")).not.toBeNull();
  await model.receive({ selection: [[2, 2, "attn"]] });
  expect(el.querySelector(".rw-opened")).toBeNull();
  await model.receive({ _heads: {}, selection: [CELL] });
  expect(el.querySelector(".rw-opened")).toBeNull();
});
test("a place that other heads do not have is forgotten", async () => {
  const { find, words, model } = opened();
  key(find(".rw-opened"), "End");
  expect(words(".rw-told")[0]).toContain("head 3");
  await model.receive({ _heads: heads([0.4, 0.2]) });
  expect(words(".rw-told")[0]).toContain("head 0 at “Needle”, the strongest");
});
test("a refusal stands where the heads would, in words", async () => {
  const { words, model } = opened({ _heads: {} });
  const found = "The attention cannot be taken apart into heads.";
  const error = { type: "UnsupportedModel", message: found, found, cause: "heads", traceback: "" };
  await model.receive({ error });
  expect(words(".rw-heads .rw-message")).toEqual([found]);
  await model.receive({ error: { ...error, cause: "path" } });
  expect(words(".rw-heads .rw-message")).toEqual([]);
});
test("a window of layers in the grid is named, for numbers differ by it", () => {
  const one = opened({ _trace: { ...info, windows: { ...info.windows, attn: 1 } } });
  expect(one.find(".rw-heads").textContent).toContain("all heads of its layer");
  expect(opened().find(".rw-heads").textContent).toContain("all heads of 3 layers");
});
test("a recorded grid and a trace without attention have no heads", () => {
  expect(show(gridTraits()).el.querySelector(".rw-heads")).toBeNull();
  const kinds = { ...info, kinds: ["hidden", "mlp"] };
  expect(show({ ...explorerTraits(), _trace: kinds }).el.querySelector(".rw-heads")).toBeNull();
});
