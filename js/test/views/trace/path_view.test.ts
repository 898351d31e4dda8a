import { expect, test } from "vitest";
import { answer, explorerTraits, flowInfo, gridTraits, pathInfo } from "../../fake_model.js";
import { click, show } from "../show.js";

test("the button asks for a path of the share that the field says", () => {
  const { find, model } = show(explorerTraits());
  const share = find<HTMLInputElement>("[data-setting=recovery]");
  expect(share.value).toBe("90");
  share.value = "55";
  share.dispatchEvent(new Event("change"));
  expect(model.sent("recovery")).toBe(0.55);
  find<HTMLButtonElement>("[data-action=path]").click();
  expect(model.sent("_request")).toMatchObject({ op: "path" });
});
test("while it is looked for the set so far is shown, and the search can be stopped", async () => {
  const { find, model, el } = show({
    ...explorerTraits(),
    _path: pathInfo({ running: true, reached: false, scores: [0.5], states: [[2, 2, "mlp"]] }),
  });
  expect(find(".rw-path").textContent).toContain("looking: 1 state brings 50\u202f% back");
  expect(el.querySelector("[data-action=select_path]")).toBeNull();
  find<HTMLButtonElement>("[data-action=stop_path]").click();
  expect(model.sent("_request")).toMatchObject({ op: "stop_path" });
  await model.receive({ _path: pathInfo({ reached: false, scores: [0.3, 0.5] }) });
  expect(find(".rw-path").textContent).toContain("2 states bring 50\u202f% back, not 90\u202f%");
});
test("its steps are listed with p and share, and become the selection", () => {
  const { find, model, el } = show({ ...explorerTraits(), _path: pathInfo() });
  const steps = [...el.querySelectorAll(".rw-steps li")].map((step) =>
    step.textContent?.replace(/\s+/g, " "),
  );
  expect(steps[0]).toContain("MLP 2 at “Needle” p(Seattle) 0.5050 %");
  expect(steps[1]).toContain("hidden 1 at “Needle” → 0.8695 %");
  find<HTMLButtonElement>("[data-action=select_path]").click();
  expect(model.sent("selection")).toEqual(pathInfo().states);
  expect(model.sent("single")).toEqual(pathInfo().states);
});
test("a click after it selects a cell with its window again", () => {
  const { find, model } = show({ ...explorerTraits(), _path: pathInfo() });
  find<HTMLButtonElement>("[data-action=select_path]").click();
  click(find, "mlp", 1, 1);
  expect(model.sent("selection")).toEqual([[1, 1, "mlp"]]);
  expect(model.sent("single")).toEqual([]);
});
test("a single state is not answered from the grid, nor by the answer of its cell", async () => {
  const cell = [2, 1, "mlp"] as const;
  const { el, model } = show({ ...explorerTraits(), selection: [cell], single: [cell] });
  expect(el.querySelector(".rw-panel [role=img]")).toBeNull();
  await model.receive({ _restoration: { ...answer(), selection: [cell] } });
  expect(el.querySelector<HTMLElement>(".rw-panel")?.dataset.score).toBeUndefined();
  await model.receive({ _restoration: { ...answer(), selection: [cell], single: true } });
  expect(el.querySelector<HTMLElement>(".rw-panel")?.dataset.score).toBeDefined();
});
test.each([
  [0.896, false, "89.6 %"],
  [0.8999, false, "89.9 %"],
  [0.871, false, "87 %"],
  [0.9, true, "90 %"],
  [0.93, true, "93 %"],
])("a share that does not reach what is sought does not look as if it did: %s", (share, reached, said) => {
  const p = 0.1 + share * 0.8;
  const { words } = show({
    ...explorerTraits(),
    _path: pathInfo({ clean: 0.9, corrupted: 0.1, target: 0.9, reached, scores: [0.5, p] }),
  });
  expect(words(".rw-path p[role=status] b")[1]).toBe(said);
});
test("once enough is back the page says so while fewer states are sought", () => {
  const { find } = show({ ...explorerTraits(), _path: pathInfo({ running: true, reached: true }) });
  expect(find(".rw-path").textContent).toContain("reached, looking for fewer: 2 states");
});
test("the grid numbers a path's cells by their steps and joins none", () => {
  const { el } = show({
    ...explorerTraits(),
    _path: pathInfo({
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
  const traits = { ...explorerTraits(), page: "flow", _flow: flowInfo() };
  const { el, model } = show({ ...traits, _path: pathInfo({ states: [[2, 1, "hidden"]] }) });
  expect(el.querySelectorAll(".rw-way")).toHaveLength(1);
  await model.receive({ _path: pathInfo({ states: [[2, 0, "hidden"]] }) });
  expect(el.querySelectorAll(".rw-way")).toHaveLength(0);
  expect(el.querySelectorAll("circle.rw-step")).toHaveLength(1);
});
test("a recorded grid has no path and looks for none", () => {
  const { el } = show(gridTraits());
  expect(el.querySelector(".rw-path, .rw-step")).toBeNull();
});
