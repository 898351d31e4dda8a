import { expect, test } from "vitest";
import recorded from "../src/grid.js";
import { explorerTraits, FakeModel, gridTraits } from "./fake_model.js";
import { show } from "./views/show.js";

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
