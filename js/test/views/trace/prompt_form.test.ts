import { expect, test } from "vitest";
import { explorerTraits, info } from "../../fake_model.js";
import { key, show } from "../show.js";

test("explorer underlines the subject inside the prompt and says where it leads", () => {
  const { find } = show(explorerTraits());
  expect(find("mark").textContent).toBe("The Space Needle");
  expect(find(".rw-leads").textContent).toContain("Seattle");
});
test("explorer runs on Enter in the prompt and leaves Shift+Enter to the host", () => {
  const { model, find } = show(explorerTraits());
  expect(key(find("textarea"), "Enter", { shiftKey: true }).defaultPrevented).toBe(false);
  expect(model.sent("_request")).toBeUndefined();
  expect(key(find("textarea"), "Enter").defaultPrevented).toBe(true);
  expect(model.sent("_request")).toMatchObject({ op: "trace" });
});
test("explorer says when the form differs from what was traced", async () => {
  const { model, root, find } = show(explorerTraits());
  expect(root.textContent).not.toContain("changed since this trace");
  await model.receive({ noise: 5 });
  expect(root.textContent).toContain("changed since this trace");
  expect(find("[data-action=trace]").className).toContain("rw-primary");
  await model.receive({ noise: 3 });
  expect(root.textContent).not.toContain("changed since this trace");
});
test("explorer takes numbers from its fields, and an emptied one stands for what it says", () => {
  const { model, find } = show(explorerTraits());
  const set = (name: string, value: string) => {
    const input = find<HTMLInputElement>(`[data-setting=${name}]`);
    input.value = value;
    input.dispatchEvent(new Event("change"));
    return input.value;
  };
  set("samples", "5");
  expect(model.sent("samples")).toBe(5);
  set("window", "3");
  expect(model.sent("window")).toBe(3);
  set("window", "");
  expect(model.sent("window")).toBeNull();
});
test("explorer lets marked words of the prompt become the subject", () => {
  const { model, find } = show(explorerTraits());
  const prompt = find<HTMLTextAreaElement>("textarea");
  prompt.setSelectionRange(4, 16);
  prompt.dispatchEvent(new Event("select"));
  find("[data-action=subject]").dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));
  expect(model.sent("subject")).toBe("Space Needle");
});
test("explorer forgets marked words once something is typed, and keeps what was typed", () => {
  const { find, root } = show(explorerTraits());
  const prompt = find<HTMLTextAreaElement>("textarea");
  prompt.setSelectionRange(4, 16);
  prompt.dispatchEvent(new Event("select"));
  expect(root.textContent).toContain("make “Space Needle” the subject");
  prompt.value = "Mount Fuji is in";
  prompt.dispatchEvent(new Event("input"));
  expect(root.textContent).not.toContain("make “");
  expect(root.textContent).toContain("not in the prompt");
  expect(prompt.value).toBe("Mount Fuji is in");
});
test("of a subject that occurs twice the one that is meant is chosen, counted as Python counts", async () => {
  const prompt = "😀 The Space Needle or The Space Needle is in";
  const settings = { ...info.settings, prompt };
  const { subject } = info;
  const at = [
    [2, 18],
    [22, 38],
  ];
  const subject_places = { prompt, subject, there: true, at, offers: [] };
  const { find, model, root } = show({
    ...explorerTraits(),
    prompt,
    subject_places,
    _trace: { ...info, prompt, settings },
  });
  expect(find(".rw-sentence").textContent).toContain("😀 The Space Needle or The Space Needle is in");
  expect(find("[data-choice='1']").getAttribute("aria-pressed")).toBe("true");
  expect(root.textContent).not.toContain("changed since this trace");
  find("[data-choice='0']").click();
  expect(model.sent("place")).toEqual([2, 18]);
  expect(find("[data-choice='0']").getAttribute("aria-pressed")).toBe("true");
  expect(root.textContent).toContain("changed since this trace");
  expect(find(".rw-sentence").innerHTML.replace(/<!--.*?-->/g, "")).toMatch(/^😀 <mark>/);
  await model.receive({ prompt: info.prompt });
  expect(find("mark").textContent).toBe("The Space Needle");
});
test("every mention can be meant: all are marked, and one is chosen again", () => {
  const prompt = "Rome, home of Romeo, Rome";
  const subject_places = {
    prompt,
    subject: "Rome",
    there: true,
    at: [
      [0, 4],
      [21, 25],
    ],
    offers: [],
  };
  const { find, model, root } = show({ ...explorerTraits(), prompt, subject: "Rome", subject_places });
  const marks = () => [...root.querySelectorAll("mark")].map((mark) => mark.textContent);
  expect(marks()).toEqual(["Rome"]);
  find("[data-choice=all]").click();
  expect([model.sent("all_mentions"), model.get("place")]).toEqual([true, null]);
  expect(marks()).toEqual(["Rome", "Rome"]);
  expect(find(".rw-sentence").textContent).toContain(prompt);
  find("[data-choice='0']").click();
  expect([model.sent("all_mentions"), model.sent("place")]).toEqual([false, [0, 4]]);
});
test("words marked in a prompt are the subject just there, though Python would mean another place", () => {
  const prompt = "Rome, home of Romeo";
  const { find, model } = show({ ...explorerTraits(), prompt, subject: "home" });
  const text = find<HTMLTextAreaElement>("textarea");
  text.setSelectionRange(14, 18);
  text.dispatchEvent(new Event("select"));
  find("[data-action=subject]").dispatchEvent(new PointerEvent("pointerdown", { bubbles: true }));
  expect([model.sent("subject"), model.sent("place")]).toEqual(["Rome", [14, 18]]);
});
test("of a prompt without its subject, words marked with the mouse become it at once", () => {
  const { find, model } = show({ ...explorerTraits(), prompt: "Mount Fuji is in" });
  const text = find<HTMLTextAreaElement>("textarea");
  text.setSelectionRange(0, 11);
  text.dispatchEvent(new PointerEvent("pointerup"));
  expect([model.sent("subject"), model.sent("place")]).toEqual(["Mount Fuji", [0, 10]]);
});
test("subjects that a new prompt may be about are offered as buttons, without an error", () => {
  const prompt = "the mount Fuji is in";
  const subject_places = { prompt, subject: info.subject, there: false, at: [], offers: ["Fuji", "mount"] };
  const { model, root } = show({ ...explorerTraits(), prompt, subject_places });
  const offers = [...root.querySelectorAll<HTMLElement>("[data-action=offer]")];
  expect(offers.map((offer) => offer.textContent?.trim())).toEqual([
    "did you mean “Fuji”?",
    "did you mean “mount”?",
  ]);
  expect(root.querySelector(".rw-error")).toBeNull();
  offers[1]?.click();
  expect(model.sent("subject")).toBe("mount");
});
test("what Python has not looked up yet is marked where there is no doubt, and not where there is", async () => {
  const { model, root } = show(explorerTraits());
  const marks = () => [...root.querySelectorAll("mark")].map((mark) => mark.textContent);
  await model.receive({ prompt: "Is The Space Needle in" });
  expect(marks()).toEqual(["The Space Needle"]);
  await model.receive({ prompt: "The Space Needle, The Space Needle" });
  expect(marks()).toEqual([]);
  expect(root.textContent).not.toContain("not in the prompt");
});
test("an answer of several tokens says which is followed; an emptied one is the model's own", () => {
  const settings = { ...info.settings, answer: "Buenos Aires" };
  const trace = { ...info, answer: " Buenos", settings };
  const { find, model } = show({ ...explorerTraits(), answer: "Buenos Aires", _trace: trace });
  expect(find(".rw-numbers").textContent).toContain("first token, “Buenos”");
  const field = find<HTMLInputElement>("[data-field=answer]");
  field.value = "";
  field.dispatchEvent(new Event("input"));
  field.dispatchEvent(new Event("change"));
  expect(model.sent("answer")).toBeNull();
});

test("explorer takes the metric, and a second answer where there is one", async () => {
  const { model, find, el, root } = show(explorerTraits());
  const metric = find<HTMLSelectElement>("[data-field=metric]");
  expect(metric.value).toBe("probability");
  expect(el.querySelector("[data-field=against]")).toBeNull();
  metric.value = "logit_difference";
  metric.dispatchEvent(new Event("change"));
  expect(model.sent("metric")).toBe("logit_difference");
  expect(root.textContent).toContain("changed since this trace");
  const against = find<HTMLInputElement>("[data-field=against]");
  against.value = "Paris";
  against.dispatchEvent(new Event("input"));
  against.dispatchEvent(new Event("change"));
  expect(model.sent("against")).toBe("Paris");
  await model.receive({ metric: "probability" });
  expect(root.textContent).not.toContain("changed since this trace");
});
test("explorer takes another subject in place of the noise, and nothing is drawn then", () => {
  const { model, find, el } = show(explorerTraits());
  expect(el.querySelector("[data-setting=seed]")).not.toBeNull();
  const other = find<HTMLInputElement>("[data-field=other_subject]");
  other.value = "The Eiffel Tower";
  other.dispatchEvent(new Event("input"));
  other.dispatchEvent(new Event("change"));
  expect(model.sent("other_subject")).toBe("The Eiffel Tower");
  expect(el.querySelector("[data-setting=seed], [data-setting=noise]")).toBeNull();
  other.value = "";
  other.dispatchEvent(new Event("input"));
  other.dispatchEvent(new Event("change"));
  expect(model.sent("other_subject")).toBeNull();
  expect(el.querySelector("[data-setting=noise]")).not.toBeNull();
});
