import { expect, test } from "vitest";
import { explorerTraits, flowInfo, lensInfo } from "../../fake_model.js";
import { key, show } from "../show.js";

const inside = (more: object = {}) =>
  show({ ...explorerTraits(), page: "flow", _flow: flowInfo(), selection: [[2, 1, "hidden"]], ...more });

test("lens shows a row for each run, and marks the answer in words and weight", () => {
  const lens = lensInfo("clean", "corrupted", "restored", "unedited");
  const { el } = inside({ page: "lens", _lens: lens });
  const rows = [...el.querySelectorAll(".rw-lens tbody tr")];
  expect(rows.map((row) => row.firstElementChild?.textContent)).toEqual(lens.runs.map(({ name }) => name));
  expect(rows[0]?.querySelectorAll("td")[3]?.textContent).toBe("Seattle✓");
  expect(rows[0]?.querySelectorAll("td")[2]?.textContent).toBe("Paris");
  expect(rows[0]?.querySelectorAll("td")[2]?.title).toBe("Paris 0.50 · in 0.10");
});
test("lens draws p and rank per layer, one line per run, the best rank on top", () => {
  const { el } = inside({ page: "lens", _lens: lensInfo("clean", "corrupted") });
  const [p, rank] = [...el.querySelectorAll(".rw-curves")];
  expect(p?.querySelectorAll("polyline")).toHaveLength(2);
  const heights = rank
    ?.querySelector("polyline")
    ?.getAttribute("points")
    ?.split(" ")
    .map((point) => Number(point.split(",")[1]));
  expect(heights).toEqual([...(heights ?? [])].sort((a, b) => b - a));
  expect(heights?.at(-1)).toBe(5);
  expect(heights?.[0]).toBe(87);
  const shapes = [...(p?.querySelectorAll(".rw-point") ?? [])].map((mark) => mark.getAttribute("d"));
  expect(new Set(shapes).size).toBe(2);
});
test("lens reads a cell out to the pointer and to the keys, which stay ours", () => {
  const { el, find } = inside({ page: "lens", _lens: lensInfo("clean", "corrupted") });
  el.querySelectorAll("td")[2]?.dispatchEvent(new PointerEvent("pointerenter"));
  expect(find(".rw-detail").textContent).toContain("clean, after layer 2: Paris 0.50 · in 0.10");
  const table = find(".rw-lens");
  expect(key(table, "ArrowDown").defaultPrevented).toBe(true);
  key(table, "ArrowRight");
  key(table, "ArrowRight");
  expect(find(".rw-detail").textContent).toContain("corrupted, after layer 3");
  expect(find(".rw-detail").textContent).toContain("p(Seattle) 0.8000, rank 1");
  expect(find(`#${table.getAttribute("aria-activedescendant")}`).textContent).toContain("Seattle");
  expect(key(table, "s").defaultPrevented).toBe(false);
});
test("tokens of a lens stay text", () => {
  const lens = lensInfo("clean");
  const run = lens.runs[0] as (typeof lens.runs)[0];
  const hostile = {
    ...lens,
    runs: [{ ...run, top: run.top.map(() => [["<img src=x>", 0.5] as [string, number]]) }],
  };
  const { el } = inside({ page: "lens", _lens: hostile });
  expect(el.querySelector("img")).toBeNull();
  expect(el.querySelector(".rw-lens td bdi")?.textContent).toBe("<img src=x>");
});
