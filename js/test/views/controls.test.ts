import { expect, test } from "vitest";
import { edit, predictions } from "../fake_edits.js";
import { explorerTraits } from "../fake_model.js";
import { key, show } from "./show.js";

/** Every number field: what is out of its range, what is said of it, and a number that it takes. */
const FIELDS = [
  ["samples", explorerTraits, "0", "1 to 1000", "7", 7],
  ["samples", explorerTraits, "5000", "1 to 1000", "1000", 1000],
  ["seed", explorerTraits, "-1", "0 to 4294967295", "3", 3],
  ["window", explorerTraits, "0", "1 or more", "3", 3],
  ["noise", explorerTraits, "-0.5", "0 or more", "2.5", 2.5],
  ["recovery", explorerTraits, "0", "1 to 100", "55", 0.55],
  ["recovery", explorerTraits, "101", "1 to 100", "100", 1],
  ["k", predictions, "0", "1 or more", "4", 4],
] as const;

const type = (input: HTMLInputElement, value: string) => {
  input.value = value;
  input.dispatchEvent(new Event("change"));
};

test.each(FIELDS)(
  "%s out of range is refused in words beside its field: %s %s",
  (name, traits, bad, range, good, sent) => {
    const { model, find, words } = show(traits());
    const before = model.get(name);
    const input = () => find<HTMLInputElement>(`[data-setting=${name}]`);
    type(input(), bad);
    expect(model.get(name)).toBe(before);
    expect(input().value).toBe(bad);
    expect(input().getAttribute("aria-invalid")).toBe("true");
    expect(words(".rw-refused")).toEqual([expect.stringContaining(range)]);
    expect(input().parentElement?.querySelector("[role=alert]")).not.toBeNull();
    type(input(), good);
    expect(model.get(name)).toBe(sent);
    expect(words(".rw-refused")).toEqual([]);
    expect(input().hasAttribute("aria-invalid")).toBe(false);
  },
);
test("what is no number is refused, and what is set from elsewhere ends that", async () => {
  const { model, find, words } = show(explorerTraits());
  type(find<HTMLInputElement>("[data-setting=samples]"), "");
  expect(words(".rw-refused")).toEqual([expect.stringContaining("10 holds")]);
  await model.receive({ samples: 12 });
  expect(words(".rw-refused")).toEqual([]);
  expect(find<HTMLInputElement>("[data-setting=samples]").value).toBe("12");
});
test("Enter in a field that is refused traces nothing", () => {
  const { model, find } = show(explorerTraits());
  const input = find<HTMLInputElement>("[data-setting=samples]");
  input.value = "0";
  key(input, "Enter");
  expect(model.get("_request")).toEqual({});
  input.value = "3";
  key(input, "Enter");
  expect(model.get("_request")).toMatchObject({ op: "trace" });
});
test("a setting of a method may be empty, which is its default", () => {
  const { model, find } = show(edit());
  const input = find<HTMLInputElement>(".rw-settings input");
  const name = input.dataset.setting as string;
  type(input, "3.5");
  expect(model.get("settings")).toEqual({ [name]: 3.5 });
  type(input, "");
  expect(model.get("settings")).toEqual({});
});
