import { expect, test } from "vitest";
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
