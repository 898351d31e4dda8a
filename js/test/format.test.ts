import { expect, describe as group, test } from "vitest";
import { cellText, restorationText, rowText } from "../src/aria.js";
import {
  axisCaption,
  describe,
  direction,
  duration,
  layerRange,
  percent,
  probability,
  signed,
  tokenLabel,
} from "../src/format.js";

group("numbers", () => {
  test("probability(p) has four decimals, and says when it is tiny but not zero", () => {
    expect(probability(0.41234)).toBe("0.4123");
    expect(probability(0.00001)).toBe("<0.0001");
    expect(probability(0)).toBe("0.0000");
    expect(probability(null)).toBe("–");
    expect(probability(Number.NaN)).toBe("–");
  });
  test("signed(d) writes a real minus, a plus, and no sign for nothing", () => {
    expect(signed(-0.17)).toBe("\u22120.1700");
    expect(signed(0.38, 2)).toBe("+0.38");
    expect(signed(-0.00001)).toBe("0.0000");
  });
  test("direction(d) agrees with what signed(d) writes", () => {
    expect([direction(0.1), direction(-0.1), direction(0.00001), direction(null)]).toEqual([
      "up",
      "down",
      "level",
      "level",
    ]);
  });
  test("percent(share) is whole, may be negative, and may be unknown", () => {
    expect(percent(0.424)).toBe("42\u202f%");
    expect(percent(-0.03)).toBe("\u22123\u202f%");
    expect(percent(null)).toBe("–");
  });
  test("duration(ms) changes unit at a second", () => {
    expect(duration(310)).toBe("310\u202fms");
    expect(duration(2420)).toBe("2.4\u202fs");
    expect(duration(null)).toBe("");
  });
});

group("tokenLabel", () => {
  test("tokenLabel drops the leading space that belongs to a word", () => {
    expect(tokenLabel(" Needle")).toBe("Needle");
    expect(tokenLabel("le")).toBe("le");
  });
  test("tokenLabel draws what could not be seen", () => {
    expect(tokenLabel(" ")).toBe("␣");
    expect(tokenLabel("\n")).toBe("⏎");
    expect(tokenLabel("\t")).toBe("⇥");
    expect(tokenLabel("\u0000")).toBe("␀");
    expect(tokenLabel("\u007f")).toBe("␡");
    expect(tokenLabel("\u200b")).toBe("⟨200B⟩");
  });
  test("tokenLabel writes out bidi overrides, which would turn their neighbours around", () => {
    expect(tokenLabel(" \u202eevil")).toBe("⟨202E⟩evil");
  });
  test("tokenLabel keeps joined emoji, other scripts and markup as they are", () => {
    for (const token of ["👨‍👩‍👧‍👦", "عربى", "é", "<img src=x onerror=alert(1)>", "&lt;"])
      expect(tokenLabel(token)).toBe(token);
  });
  test("tokenLabel cuts a very long token", () => {
    expect(tokenLabel("x".repeat(10_000))).toHaveLength(40);
  });
});

group("sentences", () => {
  const tokens = ["The", " Need", "le", " is"];
  test("describe(states) names kinds, runs of layers and the token", () => {
    expect(
      describe(
        [
          [2, 2, "mlp"],
          [2, 3, "mlp"],
          [2, 4, "mlp"],
          [2, 4, "hidden"],
        ],
        tokens,
      ),
    ).toBe("hidden 4 and MLP 2–4 at “le”");
  });
  test("describe(states) counts what it does not name", () => {
    const states = tokens.map((_, pos) => [pos, 1, "attn"] as const);
    expect(describe(states, tokens, 2)).toBe("attention 1 at “The”; attention 1 at “Need”; 2 more");
  });
  test("axisCaption says how many layers a cell restores", () => {
    expect(axisCaption("hidden", 1)).toBe("single restored layer");
    expect(axisCaption("mlp", 3)).toBe("centre of 3 restored layers");
    expect(axisCaption("mlp", 1)).toBe("single restored layer");
  });
  test("layerRange([start, stop)) is inclusive in words", () => {
    expect(layerRange([2, 5])).toBe("layers 2–4");
    expect(layerRange([4, 5])).toBe("layer 4");
  });
  test("cellText tells a screen reader layer, probability and change", () => {
    expect(cellText(17, 0.41, 0.03)).toBe("layer 17, p 0.410, up 0.380");
    expect(cellText(17, 0.01, 0.03, Number.NaN, 0.5)).toBe(
      "layer 17, p 0.010, down 0.020, down 0.490 from before",
    );
    expect(cellText(17, Number.NaN, 0.03)).toBe("layer 17, not computed");
  });
  test("rowText says that a token was corrupted", () => {
    expect(rowText(" Needle", true)).toBe("Needle, corrupted");
  });
  test("restorationText says what came back", () => {
    expect(restorationText({ metric: "probability", answer: " Seattle", against: "" }, 0.4123, 0.42, 3)).toBe(
      "3 restored: p(Seattle) 0.4123, 42\u202f% of the fact is back",
    );
  });
});
