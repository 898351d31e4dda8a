import { expect, test } from "vitest";
import editing from "../../src/edit.js";
import { edit } from "../fake_edits.js";
import { explorerTraits } from "../fake_model.js";
import { show } from "./show.js";

test.each([
  ["edit", edit()],
  ["explorer", explorerTraits()],
])("the %s view says that the model is edited", async (_, traits) => {
  const { model, words, all } = show({ ...traits, edited: 0 });
  expect(all(".rw-edited")).toHaveLength(0);
  await model.receive({ edited: 1 });
  expect(words(".rw-edited")).toEqual(["EDITED · 1"]);
});
test("every view ends with the signal: no listener, no element is left", () => {
  for (const traits of [edit(), explorerTraits()]) {
    const { model, life, el } = show(traits);
    expect(model.listeners).toBeGreaterThan(5);
    life.abort();
    expect(model.listeners).toBe(0);
    expect(el.children).toHaveLength(0);
  }
});
test("a view says when it is there and when it has gone, beside others of its page", () => {
  const { model, life } = show({ ...edit(), _still_name: "s1", _views: {} });
  const open = () => (model.get("_views") as { open: number }).open;
  expect(open()).toBe(1);
  const other = new AbortController();
  const el = document.body.appendChild(document.createElement("div"));
  editing().render({ model, el, signal: other.signal });
  expect(open()).toBe(2);
  other.abort();
  expect(open()).toBe(1);
  life.abort();
  expect(open()).toBe(0);
  expect(model.saved.at(-1)).toHaveProperty("_views.open", 0);
});
test("a view is named, so that the picture that stays without one is hidden beside it", () => {
  expect(show({ ...edit(), _still_name: "s1" }).root.dataset.still).toBe("s1");
});
