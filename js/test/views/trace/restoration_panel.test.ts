import { expect, test, vi } from "vitest";
import { answer, explorerTraits, gridTraits, info, scores } from "../../fake_model.js";
import { click, show, view } from "../show.js";

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
  const { find, el } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]], _restoration: answer() });
  const panel = find(".rw-panel");
  expect(panel.dataset.selection).toBe('[[2,1,"mlp"]]');
  expect(panel.dataset.score).toBe("0.4123");
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
test("an answer of several tokens is shown whole beside its first token, in every run that there is", async () => {
  const whole = {
    text: "New York",
    tokens: [" New", " York"],
    clean: 0.25,
    corrupted: 2.5e-11,
    restored: null,
  };
  const { find, el, model } = show({ ...gridTraits(), _trace: { ...info, whole } });
  const said = () => find(".rw-whole").textContent?.replace(/\s+/g, " ");
  expect(said()).toContain("all 2 tokens of p(New York) clean 0.2500 corrupted 2.5e-11");
  expect(said()).not.toContain("restored");
  expect(find(".rw-whole").title).toContain("‘ New’ ‘ York’");
  const restored = { ...whole, restored: 0.125 };
  await model.receive({ selection: [[2, 1, "mlp"]], _restoration: answer({ whole: restored }) });
  expect(said()).toContain("restored 0.1250");
  await model.receive({ _trace: info, _restoration: answer() });
  expect(el.querySelector(".rw-whole")).toBeNull();
});
test("panel does not call an answer current that belongs to another selection", async () => {
  const { model, find } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]], _restoration: answer() });
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
    _restoration: answer({ score: null, recovery: null, rows: [], message }),
  });
  expect(find(".rw-message").textContent).toBe(message);
});
test.each([
  ["exact", []],
  ["edited", ["⚠ By the model as edited since; the grid is from before."]],
] as const)("panel says who answered where it is not the grid's own model: %s", (source, said) => {
  const { el } = show({ ...gridTraits(), selection: [[2, 1, "mlp"]], _restoration: answer({ source }) });
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
test("panel without a selection names the answer, then what either run finds likeliest, in as many rows as a restoration", () => {
  const row = (id: number, clean: number, corrupted: number) => ({
    token: ` t${id}`,
    id,
    clean,
    corrupted,
    restored: corrupted,
  });
  const others = Array.from({ length: 12 }, (_, i) => row(20 + i, i === 5 ? 0.5 : 0, 0.01 * i));
  const baseline = [...others, row(7, 0.02, 0.001)];
  const { el } = show({ ...gridTraits(), _trace: { ...info, baseline } });
  const words = [...el.querySelectorAll(".rw-table tbody th bdi")].map((word) => word.textContent);
  expect(words).toEqual(["t7", "t25", "t31", "t30", "t29", "t28", "t27", "t26"]);
});

test("with nothing restored the panel says what took the answer away, and from what to what", () => {
  const _trace = {
    ...info,
    other_subject: "The Eiffel Tower",
    metric: "logprob",
    clean: -0.5,
    corrupted: -4.25,
  };
  const said = (traits: object) => show(traits).find(".rw-gauge").textContent?.replace(/\s+/g, " ");
  expect(said({ ...gridTraits(), _trace })).toContain(
    "“The Eiffel Tower” in its place takes log p(Seattle) from \u22120.5000 to \u22124.2500",
  );
  expect(said(gridTraits())).toContain("The noise takes p(Seattle) from 0.9000");
});
