import { expect, test, vi } from "vitest";
import { gridTraits, info } from "../../fake_model.js";
import { click, key, press, release, show } from "../show.js";

test("figure shows one canvas per kind and follows the kind switch", () => {
  const { el, find, model } = show(gridTraits());
  expect([...el.querySelectorAll<HTMLElement>("canvas")].map((each) => each.dataset.kind)).toEqual([
    "hidden",
    "mlp",
    "attn",
  ]);
  find<HTMLButtonElement>("[data-choice=attn]").click();
  expect([...el.querySelectorAll<HTMLElement>("canvas")].map((each) => each.dataset.kind)).toEqual(["attn"]);
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
  const { el } = show({ ...gridTraits(), _trace: { ...info, tokens, answer: "<b>" } });
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
