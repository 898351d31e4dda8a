import { expect, test, vi } from "vitest";
import { place } from "../../../src/flow.js";
import type { Cell } from "../../../src/types.js";
import { explorerTraits, flowInfo, lensInfo } from "../../fake_model.js";
import { key, show } from "../show.js";

const inside = (more: object = {}) =>
  show({ ...explorerTraits(), page: "flow", _flow: flowInfo(), selection: [[2, 1, "hidden"]], ...more });
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
  await model.receive({ page: "lens", _lens: lensInfo("clean", "corrupted", "restored") });
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
  const bare = inside({ _flow: {} });
  await vi.advanceTimersByTimeAsync(5000);
  expect(bare.find(".rw-picture").textContent).toContain("needs a live model");
});
test("a flow that does not fit its tokens draws nothing and says so", () => {
  const { find } = inside({ _flow: { ...flowInfo(), noise: new DataView(new ArrayBuffer(8)) } });
  on(find, [2, 1, "mlp"], "pointermove");
  expect(find(".rw-detail").textContent).toContain("not measured");
});
