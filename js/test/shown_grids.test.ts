import { expect, test } from "vitest";
import { explorerTraits, info, scores } from "./fake_model.js";
import { show, view } from "./views/show.js";

const before = scores();
const after = () => {
  const all = new Float32Array(3 * 5 * 4).fill(0.25);
  return view(all);
};
const compared = () => ({
  ...explorerTraits(),
  scores: after(),
  before_scores: before,
  _comparison: {
    names: ["before", "after"],
    before: "without the edit",
    after: "with 1 edit",
    clean: 0.95,
    corrupted: 0.1,
    same: false,
  },
});
const sides = (el: Element) =>
  [...el.querySelectorAll<HTMLElement>("canvas")].map((each) => each.dataset.side);

test("a trace with another before it shows both and their difference, kind by kind", () => {
  const { el, find } = show(compared());
  expect(sides(el)).toEqual(["before", "after", "change"].flatMap((side) => [side, side, side]));
  expect(find("[data-side=before] .rw-which").textContent).toContain("without the edit");
  expect(find("[data-side=change] .rw-which").textContent).toContain("\u22120.0500");
  expect(el.querySelectorAll(".rw-tokens")).toHaveLength(3);
});
test("of one kind the three stand beside each other, with one column of tokens", () => {
  const { el } = show({ ...compared(), kind: "mlp" });
  expect(sides(el)).toEqual(["before", "after", "change"]);
  expect(el.querySelectorAll(".rw-tokens")).toHaveLength(1);
});
test("one grid is chosen with a button that says it is pressed", () => {
  const { el, find } = show(compared());
  find<HTMLButtonElement>("[data-choice=before]").click();
  expect(sides(el)).toEqual(["before", "before", "before"]);
  expect(find("[data-choice=before]").getAttribute("aria-pressed")).toBe("true");
});
test("the cell under the cursor is told before, after and as a difference, also to screen readers", () => {
  const { find } = show({ ...compared(), cursor: [2, 1, "mlp"] });
  const said = find(".rw-detail").textContent?.replace(/\s+/g, " ");
  expect(said).toContain("before 0.3410");
  expect(said).toContain("after 0.2500");
  expect(said).toContain("\u22120.0910");
  expect(find("[role=gridcell][id]").textContent).toBe("layer 1, p 0.250, up 0.150, down 0.091 from before");
});
test("the largest difference is found among all rows, whatever its sign", () => {
  const { find } = show({ ...compared(), kind: "attn" });
  expect(find("[data-side=change] .rw-best").textContent).toBe("layer 3 · \u22120.33");
});
test("the sentence names the word that is followed and what the edited model says now", () => {
  const { find } = show(compared());
  expect(find(".rw-leads").textContent).toBe(" → Seattle, now Paris");
  expect(show(explorerTraits()).find(".rw-leads").textContent).toBe(" → Seattle");
});
test("comparing is stopped by an order to Python", () => {
  const { find, model } = show(compared());
  find("[data-action=stop_comparing]").click();
  expect(model.sent("_request")).toMatchObject({ op: "stop_comparing" });
});
test("scores before that do not fit the tokens show no difference instead of a wrong one", () => {
  const { find, el } = show({ ...compared(), before_scores: new DataView(new ArrayBuffer(8)) });
  expect(el.querySelector("[data-side=change] .rw-best")).toBeNull();
  expect(find("[data-side=after] .rw-best").textContent).toContain("0.25");
});
test.each([
  ["probability", 0.9995, 0.98],
  ["effect", 0.9995, 0.98],
  ["share", 0.9995, 0.98],
  ["share", 0.02, 0.0005],
  ["probability", 0.02, 0.0005],
])(
  "an effect of two percent stays in the pale part of the colours: %s, %s to %s",
  (scale, clean, corrupted) => {
    const { find } = show({
      ...explorerTraits(),
      scores: view(new Float32Array(60).fill(corrupted)),
      scale,
      _trace: { ...info, clean, corrupted },
    });
    const [bar, top] = [".rw-ramps", ".rw-end-clean"].map((each, at) =>
      Number.parseFloat(find(each).style[at ? "top" : "height"]),
    );
    const place = 1 - (top as number) / (bar as number);
    expect(place).toBeCloseTo((clean - corrupted) / 0.1, 5);
  },
);
test("the weaker of two compared traces decides what the colours span at least", () => {
  const { find } = show({
    ...compared(),
    scale: "share",
    _trace: { ...info, clean: 0.52, corrupted: 0.5 },
    _comparison: { ...compared()._comparison, clean: 0.9, corrupted: 0.1 },
  });
  const numbers = [
    ...(find("[data-side=after]").closest(".rw-group")?.querySelectorAll(".rw-ramps i") ?? []),
  ];
  const highest = Math.max(...numbers.map((each) => Number.parseFloat(each.textContent ?? "")));
  expect(highest).toBeGreaterThan(400);
});

const difference = {
  metric: "logit_difference",
  against: " Paris",
  against_id: 3,
  clean: -2.5,
  corrupted: -12.5,
} as const;

test("of a metric below zero the colours run from the corrupted run to the clean one", async () => {
  const grid = new Float32Array(60).fill(-12.5).fill(-7.5, 20 + 2 * 4 + 1, 20 + 2 * 4 + 2);
  const _trace = { ...info, ...difference };
  const { find, el, model } = show({ ...explorerTraits(), scores: view(grid), _trace });
  expect(find(".rw-end-clean").style.top).toBe("0px");
  expect(find(".rw-end-clean").textContent).toContain("\u22122.500");
  expect(find(".rw-end-corrupted").style.top).toBe(find(".rw-ramps").style.height);
  expect([...el.querySelectorAll(".rw-best")].some((best) => best.textContent?.includes("\u22127.5"))).toBe(
    true,
  );
  await model.receive({ cursor: [2, 1, "mlp"] });
  const said = find(".rw-detail").textContent?.replace(/\s+/g, " ");
  expect(said).toContain("logit(Seattle) \u2212 logit(Paris) \u22127.5000");
  expect(said).toContain("recovery 50");
  expect(find("[aria-selected][id]").textContent).toContain("logit difference \u22127.500, up 5.000");
});
test("an effect of a quarter of a nat is pale, as one of five percent is", () => {
  const _trace = { ...info, ...difference, clean: -12.25 };
  const { find } = show({ ...explorerTraits(), scores: view(new Float32Array(60).fill(-12.5)), _trace });
  const [bar, top] = [find(".rw-ramps").style.height, find(".rw-end-clean").style.top].map(Number.parseFloat);
  expect((top as number) / (bar as number)).toBeCloseTo(0.5, 5);
});
