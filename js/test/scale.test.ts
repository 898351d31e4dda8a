import { expect, test } from "vitest";
import {
  type Reading,
  read,
  reading,
  SCALES,
  scaleName,
  scaleText,
  shortText,
  unread,
} from "../src/scale.js";

const runs = { clean: 0.9, corrupted: 0.1 };

test("reading(scale, runs): corrupted reads as nothing, clean as all of it", () => {
  const at = (p: number) => SCALES.map((scale) => read(p, reading(scale, runs) as Reading));
  expect(at(0.1)).toEqual([0.1, 0, 0]);
  expect(at(0.9)).toEqual([0.9, 0.8, 1]);
});
test("unread(read(p)) is p, and what is missing stays missing", () => {
  for (const scale of SCALES) {
    const of = reading(scale, runs) as NonNullable<ReturnType<typeof reading>>;
    expect(unread(read(0.37, of), of)).toBeCloseTo(0.37, 12);
    expect(read(Number.NaN, of)).toBeNaN();
  }
});
test("reading(scale, runs) is null where the runs do not say enough", () => {
  const can = (clean: number | null, corrupted: number | null) =>
    SCALES.filter((scale) => reading(scale, { clean, corrupted }));
  expect(can(null, null)).toEqual(["probability"]);
  expect(can(null, 0.1)).toEqual(["probability", "effect"]);
  expect(can(0.1, 0.1)).toEqual(["probability", "effect"]);
});
test("scaleText says signs only where a number is a difference", () => {
  expect(SCALES.map((scale) => scaleText(scale, 0.376, 2))).toEqual(["0.38", "+0.38", "38\u202f%"]);
  expect(SCALES.map((scale) => scaleText(scale, 0.376, 2, true))).toEqual(["+0.38", "+0.38", "+38\u202f%"]);
});
test("shortText fits into a cell", () => {
  expect(SCALES.map((scale) => shortText(scale, 0.376))).toEqual([".38", "+.38", "38"]);
  expect(shortText("effect", -0.05)).toBe("\u2212.05");
  expect(shortText("probability", 1)).toBe("1.00");
});
test("scaleName names the answer where the scale is its probability", () => {
  expect(
    SCALES.map((scale) => scaleName(scale, { metric: "probability", answer: " Seattle", against: "" })),
  ).toEqual(["p(Seattle)", "effect", "share"]);
});
