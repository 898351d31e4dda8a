import { expect, test, vi } from "vitest";
import type { GenerationTraits } from "../../../src/types.js";
import { live } from "../../fake_edits.js";
import { show } from "../show.js";

const generations = (more: Partial<GenerationTraits> = {}): GenerationTraits => ({
  ...live,
  _view: "generations",
  engine: { model: "fake world" },
  prompts: ["It is"],
  columns: ["before", "after"],
  cells: [
    {
      prompt: "It is",
      same: false,
      spans: [
        [
          [false, " in "],
          [true, "<b>Rome</b>"],
        ],
        [
          [false, " in "],
          [true, "Paris"],
        ],
      ],
    },
    { prompt: "So is", same: true, spans: [[[false, " this"]], [[false, " this"]]] },
  ],
  max_new_tokens: 30,
  ...more,
});

test("differing words are marked as such, text stays text, and the same is one cell", () => {
  const { words, all } = show(generations());
  expect(words("u")).toEqual(["<b>Rome</b>", "Paris"]);
  expect(all("u b")).toHaveLength(0);
  expect(all<HTMLTableCellElement>("td").map(({ colSpan }) => colSpan)).toEqual([1, 1, 2]);
  expect(words("td")[2]).toContain("same");
});
test("copy takes the prompt and its text", async () => {
  const written: string[] = [];
  vi.stubGlobal("navigator", { clipboard: { writeText: async (text: string) => void written.push(text) } });
  const { all, find } = show(generations());
  (all("[data-action=copy]")[1] as HTMLElement).click();
  await vi.waitFor(() => expect(find("tbody").textContent).toContain("copied"));
  expect(written).toEqual(["It is in Paris"]);
  vi.unstubAllGlobals();
});
test("Generate asks again, Cancel stops, and a recording offers neither", async () => {
  const { model, find, all } = show(generations());
  find("[data-action=generate]").click();
  expect(model.sent("_request")).toMatchObject({ op: "generate" });
  await model.receive({ status: "running" });
  find("[data-action=cancel]").click();
  expect(model.sent("_cancel_id")).toEqual(expect.any(Number));
  await model.receive({ engine: {}, status: "static" });
  expect(all("[data-action=generate], [data-action=cancel]")).toHaveLength(0);
});
