import { expect, test, vi } from "vitest";
import type { EditTraits, Order } from "../../../src/types.js";
import { edit, outcome, record, request } from "../../fake_edits.js";
import type { FakeModel } from "../../fake_model.js";
import { show } from "../show.js";

const click = (element: HTMLElement) => element.click();
const orders = (model: FakeModel) => model.sent("_orders") as Order[];

test("Apply orders the form as it is, and cannot be pressed without a subject and an object", async () => {
  const { model, find } = show(edit({ ledger: { n_active: 0, fingerprint_ok: true } }));
  click(find("[data-action=apply]"));
  expect(orders(model)).toEqual([{ id: expect.any(String), op: "edit", request }]);
  await model.receive({ target: " " });
  expect(find<HTMLButtonElement>("[data-action=apply]").disabled).toBe(true);
});
test.each([
  ["before it is applied", {}],
  ["once it is applied", { edits: [record("e1")], ledger: { n_active: 1, fingerprint_ok: true } }],
])("the sentence claims nothing of what the model says now: %s", (_, more) => {
  const { words } = show(edit(more));
  expect(words(".rw-sentence")).toEqual(["The Needle is in Paris instead of Seattle"]);
});
test("orders that were not acked travel with the next one, acked ones do not", async () => {
  const { model, all, find } = show(edit());
  click(all("[data-action=revert]")[0] as HTMLElement);
  click(find("[data-action=reapply]"));
  const [first, second] = orders(model);
  expect([first?.op, first?.edit, first?.applied]).toEqual(["applied", "e1", false]);
  expect([second?.edit, second?.applied]).toEqual(["e2", true]);
  await model.receive({ _acks: [first?.id] });
  click(find("[data-action=revert-all]"));
  expect(orders(model).map(({ op }) => op)).toEqual(["applied", "revert_all"]);
});
test("an order without an ack is sent again under its own id", async () => {
  vi.useFakeTimers();
  const { model, find } = show({ ...edit(), _pong: "" });
  click(find("[data-action=revert]"));
  const [given] = orders(model);
  vi.advanceTimersByTime(3100);
  expect(orders(model)[0]).toMatchObject({ id: given?.id, op: "applied", edit: "e1" });
  expect(model.saved.filter((each) => "_orders" in each)).toHaveLength(2);
  Object.assign(model.state, { _acks: [given?.id] });
});
test("an edit whose order is under way cannot be ordered again", async () => {
  const { model, find, all } = show(edit());
  click(find("[data-action=revert]"));
  expect(find<HTMLInputElement>("[data-edit=e1] input").disabled).toBe(true);
  expect(find<HTMLInputElement>("[data-edit=e2] input").disabled).toBe(false);
  await model.receive({
    _acks: orders(model).map(({ id }) => id),
    edits: [record("e1", { applied: false })],
  });
  expect(find<HTMLInputElement>("[data-edit=e1] input").disabled).toBe(false);
  expect(all("[data-action=revert]")).toHaveLength(0);
});
test("a box that was ticked goes back when Python says otherwise", async () => {
  const { model, find } = show(edit());
  const box = find<HTMLInputElement>("[data-edit=e1] input");
  box.checked = false;
  box.dispatchEvent(new Event("change"));
  await model.receive({ _acks: orders(model).map(({ id }) => id), edits: [record("e1")] });
  expect(box.checked).toBe(true);
});
test("while it runs there is Cancel instead of Apply, and the loss grows", async () => {
  const { model, find, all } = show(edit({ status: "running", edits: [], selected: "" }));
  expect(all("[data-action=apply]")).toHaveLength(0);
  expect(all("[data-steps]")).toHaveLength(0);
  for (const count of [1, 2, 3]) {
    await model.receive({
      steps: [
        [4, 4, 0, 0.01, 0],
        [2, 1.9, 0.1, 0.2, 1],
        [1, 1, 0, 0.5, 1],
      ].slice(0, count),
    });
    expect(find("[data-steps]").dataset.steps).toBe(`${count}`);
  }
  expect(find("polyline").getAttribute("points")?.split(" ")).toHaveLength(3);
  click(find("[data-action=cancel]"));
  expect(model.sent("_cancel_id")).toEqual(expect.any(Number));
});
test("the history says layer, size, scores and warnings; unknown ones as a dash", () => {
  const warned = record("e1", { warnings: ["<i>odd</i>"] });
  const { words, el } = show(edit({ edits: [warned] }));
  expect(words("[data-edit=e1] > *")).toEqual([
    "", "The Needle is in → Paris", "3", "0.118", "1.00", "0.96", "–", "0.50", "Revert",
  ]); // biome-ignore format: one line per row
  expect(words("[data-edit=e1] + .rw-remarks > *")).toEqual(["", "⚠ <i>odd</i>"]);
  expect(el.querySelector(".rw-history i")).toBeNull();
});
test.each([
  [true, true, ["original weights ✓"], "Bit for bit, the weights are what they were before any edit"],
  [true, false, ["weights match the history ✓"], "plus the edits that are ticked"],
  [false, false, ["weights do not match the history ✗"], "they are not what they were"],
  [false, true, ["weights do not match the history ✗"], "they are not what they were"],
  [null, null, [], ""],
])(
  "original, as the history and neither are other words: %s, %s",
  (fingerprint_ok, original, said, title) => {
    const { words, all } = show(edit({ ledger: { fingerprint_ok, original } }));
    expect(words(".rw-weights")).toEqual(said);
    expect(all(".rw-weights").every((each) => each.title.includes(title))).toBe(true);
  },
);
test("figures of an edit at another strength are said to be those of strength 1", async () => {
  const { model, words } = show(edit());
  expect(words(".rw-history small")).toEqual([]);
  await model.receive({ edits: [record("e1", { strength: 0.5 })] });
  expect(words(".rw-history small")).toEqual(["strength × 0.50; the figures above are those of × 1"]);
});
test("two points of the strength are not joined, three are", async () => {
  const { model, all } = show(edit());
  const lines = () => all("[aria-label=Strength] polyline");
  expect([lines().length, all("[aria-label=Strength] .rw-point").length]).toEqual([0, 4]);
  await model.receive({ trail: [...edit().trail, [1.5, 0.9, 0.05]] });
  expect(lines().map((line) => line.getAttribute("points")?.split(" ").length)).toEqual([3, 3]);
});
const about = { target: "Paris", tokens: [" Paris"], spelling: "", reason: "", offers: ["London", "Rome"] };
test("the tokens of a target are counted before Apply, and forgotten once another is typed", async () => {
  const { model, words } = show(edit({ about_target: about }));
  expect(words(".rw-target > .rw-mute")).toEqual(["1 token", "the model knows"]);
  const tokens = [" New", " York", "\u202e"];
  await model.receive({ target: "New York", about_target: { ...about, target: "New York", tokens } });
  expect(words(".rw-target > .rw-mute")[0]).toBe("3 tokens: ‘ New’ ‘ York’ ‘⟨202E⟩’");
  await model.receive({ target: "New Yorker" });
  expect(words(".rw-target > .rw-mute")).toEqual(["the model knows"]);
  await model.receive({ about_target: {} });
  expect(words(".rw-target > *")).toEqual([]);
});
test("while an edit of several tokens is computed its probability is said to be per token", async () => {
  const running = edit({ status: "running", target: "Paris", about_target: about });
  const { model, find } = show({ ...running, steps: [[3, 2, 1, 0.5, 0.1]] });
  const said = () => find("[aria-label=Optimisation] h4").textContent;
  expect(said()).toContain("p(new) 0.500");
  await model.receive({
    target: "New York",
    about_target: { ...about, target: "New York", tokens: [" New", " York"] },
  });
  expect(said()).toContain("p(new) per token 0.500");
});
test("before its first step an edit is said to be prepared", async () => {
  const { model, el, find } = show(edit({ ledger: { n_active: 0, fingerprint_ok: true } }));
  click(find("[data-action=apply]"));
  await model.receive({ status: "running", progress: 0.5, steps: [] });
  expect(el.textContent).toMatch(/preparing · 50.%/);
  await model.receive({ steps: [[3, 2, 1, 0.5, 0.1]] });
  expect(el.textContent).toMatch(/step 1 · 50.%/);
});
test("targets that the model knows are a click away", () => {
  const { model, all } = show(edit({ about_target: about }));
  const offers = all("[data-action=offer]");
  expect(offers.map((each) => each.textContent)).toEqual(["London", "Rome"]);
  click(offers[1] as HTMLElement);
  expect(model.sent("target")).toBe("Rome");
});
test("a target that the model writes otherwise is offered so", async () => {
  const reason = "The model rather writes “Paris”.";
  const typed = { ...about, target: "paris", spelling: "Paris", reason };
  const { model, words, find, all } = show(edit({ target: "paris", about_target: typed }));
  expect(words(".rw-target .rw-attention")).toEqual([`⚠ ${reason}`]);
  click(find("[data-action=spelling]"));
  expect(model.sent("target")).toBe("Paris");
  await model.receive({ target: "Paris" });
  expect(all("[data-action=spelling]")).toHaveLength(0);
});
test("a word of several tokens is followed whole, its first token beside it", () => {
  const [row, ...others] = edit().rows;
  const zurich = "Zürich Hauptbahnhof";
  const first = {
    ...row,
    after: { ...row?.after, target: 2.5e-11, target_first: 0.4 },
    words: { target: zurich, true: "Seattle" },
    followed: zurich,
    first: { token: " Z", before: 1e-9, after: 0.4 },
  } as typeof row;
  const { words, find } = show(edit({ rows: [first as NonNullable<typeof row>, ...others] }));
  expect(words("[aria-label=Strength] .rw-keys span")).toEqual([`p(${zurich}) 2.5e-11`, "p(Seattle) 0.100"]);
  expect(words("[data-group=rewrite] small")).toEqual([`p(${zurich})first token Z 1.0e-9 → 0.400`]);
  expect(find("[data-group=rewrite] small").title).toContain("0.0100 → 2.5e-11");
  expect(words("[data-group=other] small")).toEqual(["p(Seattle)"]);
});
test("a row says before, after, difference and verdict in words, text stays text", () => {
  const { words, el } = show(edit());
  expect(words("[data-group=rewrite] > *")).toEqual([
    "rewrite", "The Needle is in", "Seattle 0.900", "Paris 0.800", "+0.790 ▲p(Paris)", "✓ new",
  ]); // biome-ignore format: one line per row
  expect(words("[data-group=other] > *")[1]).toBe("<b>The Market</b> is in");
  expect(words("[data-group=other] > *").slice(-2)).toEqual(["−0.600 ▼p(Seattle)", "✗ bled"]);
  expect(el.querySelector("[data-group=other] th b")).toBeNull();
});
test("the slider sends every move, the latest of each edit, and rests where the finger is", async () => {
  const { model, find } = show(edit());
  const slider = find<HTMLInputElement>("[data-field=strength]");
  const move = (value: string) => {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  };
  move("0.5");
  move("0.7");
  expect(model.sent("_strengths")).toEqual({ e1: [expect.any(Number), 0.7] });
  await model.receive({ edits: [record("e1", { strength: 0.5 })] });
  expect(slider.value).toBe("0.7");
  slider.dispatchEvent(new Event("change"));
  await model.receive({ edits: [record("e1", { strength: 0.7 })] });
  expect(find("[aria-label=Strength] h4").textContent).toContain("× 0.70");
  await model.receive({ edits: [record("e1", { strength: 1 })] });
  expect(slider.value).toBe("1");
});
test("method, layer and settings are traits; another method forgets the settings", () => {
  const { model, find } = show(edit({ settings: { steps: 7 } }));
  expect(find<HTMLInputElement>("[data-setting=steps]").value).toBe("7");
  click(find("[data-choice=ft-l]"));
  expect([model.sent("method"), model.sent("settings")]).toEqual(["ft-l", {}]);
  const limit = find<HTMLInputElement>("[data-setting=norm_limit]");
  limit.value = "0.25";
  limit.dispatchEvent(new Event("change"));
  expect(model.sent("settings")).toEqual({ norm_limit: 0.25 });
  const layer = find<HTMLInputElement>("[data-field=layer]");
  layer.value = "6";
  layer.dispatchEvent(new Event("input"));
  expect(model.sent("layer")).toBe(6);
  click(find("[data-action=auto]"));
  expect(model.sent("layer")).toBeNull();
});
test("the methods are those that Python names, by their titles; a default that it finds itself is auto", () => {
  const { words, find } = show(edit());
  expect(words("[aria-label=Method] button")).toEqual(["ROME", "FT-L"]);
  expect(find<HTMLInputElement>("[data-setting=clamp]").placeholder).toBe("auto");
  expect(find<HTMLInputElement>("[data-setting=steps]").placeholder).toBe("20");
});
test("an edit says its method's title; of one that is not there any more the name", async () => {
  const { model, words } = show(edit());
  expect(words(".rw-note")).toEqual(["ROME at layer 3: the model card's"]);
  await model.receive({ edits: [record("e1", { request: { ...request, method: "memit<b>" } })] });
  expect(words(".rw-note")).toEqual(["memit<b> at layer 3: the model card's"]);
});
test("a layer from the trace is asked for, and its reason shown while it is chosen", async () => {
  const { model, find, el } = show(edit());
  click(find("[data-action=suggest]"));
  expect(model.sent("_request")).toMatchObject({ op: "suggest" });
  await model.receive({ layer: 5, suggestion: { layer: 5, reason: "it peaks there" } });
  expect(el.textContent).toContain("it peaks there");
  await model.receive({ layer: 2 });
  expect(el.textContent).not.toContain("it peaks there");
});
test("a prompt of one's own joins the tests on Enter", () => {
  const { model, find } = show(edit());
  const field = find<HTMLInputElement>("[data-field=test]");
  field.value = "Lyon is in";
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  expect(model.sent("tests")).toEqual([
    { text: "Lyon is in", group: "free", target: null, true_object: null },
  ]);
  expect(field.value).toBe("");
});

const failure = {
  type: "ValueError",
  message: "no luck",
  found: "",
  wanted: "",
  remedy: "",
  fix: null,
  traceback: "",
};
const failed = (cause: string, more: Partial<EditTraits> = {}) =>
  edit({ status: "error", error: { ...failure, cause }, ...more });
test.each(["compare", "strength", "order", "form", "refresh", "show"])(
  "an error of %s offers no edit to try again",
  (cause) => {
    const { words, all } = show(failed(cause));
    expect(words(".rw-error b")).toEqual(["no luck"]);
    expect(all("[data-action=retry]")).toHaveLength(0);
  },
);
test.each([
  ["Paris", "Already applied: “The Needle is in” → “Paris”."],
  [" Paris ", "Already applied: “The Needle is in” → “Paris”."],
  ["London", "The model holds an edit already."],
])("a fact that is applied already is named before it is applied again: %s", (target, said) => {
  const { model, find, words } = show(edit({ target }));
  click(find("[data-action=apply]"));
  expect(words(".rw-ask > div")).toEqual([said]);
  click(find("[data-action=on-top]"));
  expect(orders(model)[0]).toMatchObject({ op: "edit", first: "on_top" });
});
test("the question goes with the edits that it is about", async () => {
  const { model, find, words } = show(edit({ target: "London" }));
  click(find("[data-action=apply]"));
  expect(words(".rw-ask > div")).toHaveLength(1);
  await model.receive({ ledger: { ...edit().ledger, n_active: 0 } });
  expect(words(".rw-ask > div")).toEqual([]);
});
test("an edit that failed is tried again once, after the question that comes before it", async () => {
  const { model, find, all } = show(failed("edit"));
  click(find("[data-action=retry]"));
  expect(model.sent("_orders")).toBeUndefined();
  click(find("[data-action=on-top]"));
  expect(orders(model).map(({ op, first }) => [op, first])).toEqual([["edit", "on_top"]]);
  await model.receive({ status: "queued" });
  expect(all("[data-action=retry]")).toHaveLength(0);
});
test("a model that holds no edit is not asked about when it is tried again", () => {
  const { model, find } = show(failed("edit", { ledger: { n_active: 0, fingerprint_ok: true } }));
  click(find("[data-action=retry]"));
  expect(orders(model)).toHaveLength(1);
});
test("a search for a layer that failed is what is tried again", () => {
  const { model, find } = show(failed("suggest"));
  click(find("[data-action=retry]"));
  expect(model.sent("_request")).toMatchObject({ op: "suggest" });
  expect(model.sent("_orders")).toBeUndefined();
});
test("Revert first is one order, and meanwhile nothing else can be reverted", () => {
  const { model, find, all } = show(edit());
  click(find("[data-action=apply]"));
  click(find("[data-action=revert-first]"));
  expect(orders(model)).toEqual([{ id: expect.any(String), op: "edit", first: "revert_all", request }]);
  expect(all<HTMLInputElement>("[data-edit] input").map(({ disabled }) => disabled)).toEqual([true, true]);
});
test("a prompt of one's own can be removed, and says why it has no numbers", () => {
  const own = { text: "Lyon is in", group: "free", target: null, true_object: null } as const;
  const kept = { ...own, text: "Nice is in" };
  const nothing = { ...outcome, token: "", probability: null, target: null, true: null };
  const row = {
    ...own,
    before: nothing,
    after: nothing,
    words: { target: "", true: "" },
    followed: "",
    first: null,
    delta: null,
    verdict: "",
    good: null,
  };
  const { model, words, all, find } = show(
    edit({
      tests: [own, kept],
      rows: [
        ...edit().rows,
        { ...row, message: "<b>too long</b>" },
        { ...row, text: "an engine's", message: null },
      ],
    }),
  );
  expect(words("[data-group=free] td[colspan]")).toEqual(["<b>too long</b>"]);
  const buttons = all("[data-action=remove]");
  expect(buttons.map((each) => [each.tagName, each.getAttribute("aria-label")])).toEqual([
    ["BUTTON", "Remove Lyon is in"],
  ]);
  click(find("[data-action=remove]"));
  expect(model.sent("tests")).toEqual([kept]);
  expect(document.activeElement).toBe(find("[data-field=test]"));
});
test("without a history there are examples, and one fills the form", () => {
  const { model, find } = show(edit({ edits: [], selected: "", subject: "", target: "" }));
  click(find("[data-action=example]"));
  expect([model.sent("subject"), model.sent("target")]).toEqual(["The Needle", "Paris"]);
});
