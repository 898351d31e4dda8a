import { effect } from "@preact/signals-core";
import { expect, test, vi } from "vitest";
import { Bridge } from "../src/bridge.js";
import type { GridTraits } from "../src/types.js";
import { FakeModel, gridTraits } from "./fake_model.js";

function bridged() {
  const model = new FakeModel(gridTraits());
  const life = new AbortController();
  return { model, life, bridge: new Bridge<GridTraits>(model, life.signal) };
}

test("Bridge.get follows what Python sends", async () => {
  const { model, bridge } = bridged();
  await model.receive({ kind: "mlp" });
  expect(bridge.get("kind")).toBe("mlp");
});
test("Bridge turns several traits of one message into one update", async () => {
  const { model, bridge } = bridged();
  const seen: unknown[] = [];
  effect(() => void seen.push([bridge.get("kind"), bridge.get("theme")]));
  await model.receive({ kind: "mlp", theme: "dark" });
  expect(seen).toEqual([
    ["all", "light"],
    ["mlp", "dark"],
  ]);
});
test("Bridge.set shows at once and sends once", () => {
  const { model, bridge } = bridged();
  bridge.set({ selection: [[1, 2, "mlp"]], cursor: [1, 2, "mlp"] });
  expect(bridge.get("selection")).toEqual([[1, 2, "mlp"]]);
  expect(model.saved).toEqual([{ selection: [[1, 2, "mlp"]], cursor: [1, 2, "mlp"] }]);
});
test("Bridge.set on a recorded page still shows, though nobody takes it", () => {
  const { model, bridge } = bridged();
  vi.spyOn(console, "debug").mockImplementation(() => {});
  model.recordedPage = true;
  bridge.set({ kind: "attn" });
  expect(bridge.get("kind")).toBe("attn");
});
test("Bridge listens to each trait that was asked for once, and to none after the abort", () => {
  const { model, life, bridge } = bridged();
  expect(model.listeners).toBe(0);
  for (const key of ["kind", "theme", "kind"] as const) bridge.get(key);
  expect(model.listeners).toBe(2);
  life.abort();
  expect(bridge.get("selection")).toEqual([]);
  expect(model.listeners).toBe(0);
});
