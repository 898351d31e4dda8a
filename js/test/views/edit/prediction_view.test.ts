import { expect, test } from "vitest";
import { predictions } from "../../fake_edits.js";
import { show } from "../show.js";

const tokens = ({ all }: ReturnType<typeof show>) =>
  all("[data-token]").map((row) => row.dataset.token?.trim());

test("the union of the first k is shown, and the target always", async () => {
  const shown = show(predictions());
  expect(tokens(shown)).toEqual(["Paris", "Seattle"]);
  await shown.model.receive({ target: " Lyon" });
  expect(tokens(shown)).toEqual(["Paris", "Seattle", "Lyon"]);
});
test("the target is said to be followed, or the first token of what is", async () => {
  const { model, words } = show(predictions({ target: " Paris" }));
  expect(words("th small")).toEqual(["followed"]);
  await model.receive({ target_of: "Paris-Orly" });
  expect(words("th small")).toEqual(["first token of “Paris-Orly”"]);
});
test("a target of several tokens stands whole below its first token, in every run", async () => {
  const { model, words, all } = show(
    predictions({ target: " Paris", target_of: "Paris-Orly", whole: [1e-9, 0.25] }),
  );
  expect(words(".rw-whole > *")).toEqual(["all of “Paris-Orly”", "1.0e-9", "0.250", "+0.250 ▲"]);
  await model.receive({ whole: [], target_of: "" });
  expect(all(".rw-whole")).toHaveLength(0);
});
test("a row has numbers, a signed difference and the rank from where to where", () => {
  expect(show(predictions()).words("[data-token=' Paris'] > *")).toEqual([
    "Paris",
    "0.010",
    "0.800",
    "+0.790 ▲9 → 1",
  ]);
});
test("what a run does not say is a dash", () => {
  expect(show(predictions({ k: 3 })).words("[data-token=' Lyon'] > *")).toEqual([
    "Lyon",
    "–",
    "0.050",
    "– ·",
  ]);
});
test("a better rank points up", () => {
  expect(show(predictions({ metric: "rank" })).words("[data-token=' Paris'] > *")).toEqual([
    "Paris",
    "9",
    "1",
    "+8 ▲9 → 1",
  ]);
});
test("log probabilities have a real minus", () => {
  expect(show(predictions({ metric: "logprob" })).words("[data-token=' Paris'] td")[0]).toBe("−4.605");
});
test("a column's head sorts by it, and the other way when pressed again", () => {
  const shown = show(predictions());
  shown.find("[data-sort='0']").click();
  expect(tokens(shown)).toEqual(["Seattle", "Paris"]);
  shown.find("[data-sort='0']").click();
  expect(tokens(shown)).toEqual(["Paris", "Seattle"]);
  shown.find("[data-sort=d1]").click();
  expect(tokens(shown)).toEqual(["Paris", "Seattle"]);
  shown.find("[data-sort=token]").click();
  expect(shown.find("[aria-sort]").getAttribute("aria-sort")).toBe("ascending");
  expect(tokens(shown)).toEqual(["Paris", "Seattle"]);
});
