import { expect, test, vi } from "vitest";
import { answer, explorerTraits, historyRun, keptInfo, scores, settled } from "../../fake_model.js";
import { key, show } from "../show.js";

const connected = async (traits: object) => {
  const shown = show({ ...explorerTraits(), ...traits });
  await shown.model.receive({ _pong: shown.model.sent("_ping") });
  return shown;
};

test("a run of the history is brought back by its number", async () => {
  const { find, model, el } = await connected({
    history: [{ ...historyRun, id: 3 }, historyRun],
    run_shown: 4,
  });
  expect([...el.querySelectorAll("[data-run]")].map((each) => each.getAttribute("aria-pressed"))).toEqual([
    "true",
    "false",
  ]);
  expect(find("[data-run='4']").textContent).toContain("window 1 · noise 3 × σ");
  find("[data-run='3']").click();
  expect(model.sent("_request")).toMatchObject({ op: "recall", run: 3 });
});
test("a menu closes when something in it is chosen, on Escape, and when the focus leaves", async () => {
  const { find } = await connected({ history: [historyRun] });
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
    kept: keptInfo(),
    selection: [[2, 1, "mlp"]],
    _restoration: answer(),
  });
  const rows = [...el.querySelectorAll(".rw-table tbody tr")].map((row) =>
    row.textContent?.replace(/\s+/g, " ").trim(),
  );
  expect(rows[0]).toContain("0.900 0.300 0.412 +0.112 ▲");
  expect(rows[1]).toContain("0.010 – 0.200 –");
  expect(find(".rw-panel").textContent?.replace(/\s+/g, " ")).toContain(
    "A 25 % back with 1 state · attention 0 at “Mount”",
  );
  expect(find(".rw-track i").getAttribute("style")).toBe("left:25%");
  expect(find(".rw-dots").textContent).toContain("A B, on a scale");
});
test("without comparing, or without a restoration of A, the table is the usual one", () => {
  for (const kept of [keptInfo({ comparing: false }), keptInfo({ restoration: {} }), {}]) {
    const traits = { ...explorerTraits(), kept, selection: [[2, 1, "mlp"]], _restoration: answer() };
    expect(show(traits).find(".rw-table thead").textContent).toContain("corrupted");
  }
});
test("where the grids cannot be compared, the numbers that can be are, with the reason", () => {
  const rows = [["best MLP", 0.5, 0.25, "“Fuji”, layer 3", "“Needle”, layer 2"]];
  const { find } = show({
    ...explorerTraits(),
    kept: keptInfo({ reason: "Not cell by cell: A has other tokens.", rows }),
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
    _comparison: {
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
  [{ kept: keptInfo() }, ["keep_as_a", "stop_comparing"]],
  [{ kept: keptInfo({ comparing: false }) }, ["keep_as_a", "compare"]],
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
