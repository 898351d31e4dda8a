import { expect, test, vi } from "vitest";
import { answer, explorerTraits, historyRun, keptInfo } from "../../fake_model.js";
import { click, show, view } from "../show.js";

test("explorer sends one request with the form when Trace is pressed", () => {
  const { model, find } = show(explorerTraits());
  const prompt = find<HTMLTextAreaElement>("textarea");
  prompt.value = "Mount Fuji is in";
  prompt.dispatchEvent(new Event("input"));
  find<HTMLButtonElement>("[data-action=trace]").click();
  expect(model.saved.at(-1)).toMatchObject({ prompt: "Mount Fuji is in", _request: { op: "trace" } });
});
test("explorer offers Cancel and counts states while running", async () => {
  const { model, find, root } = show(explorerTraits());
  const half = new Float32Array(60).fill(Number.NaN).fill(0.2, 0, 30);
  await model.receive({ status: "running", progress: 0.5, scores: new DataView(half.buffer) });
  expect(root.dataset.status).toBe("running");
  expect(root.textContent).toContain("30/60 states");
  find<HTMLButtonElement>("[data-action=cancel]").click();
  expect(model.sent("_cancel_id")).toBeGreaterThan(0);
  await model.receive({ status: "cancelled" });
  expect(root.textContent).toContain("cancelled · 30/60 states");
});
test("explorer shows an error in three sentences, keeps the picture, and can be dismissed or tried again", async () => {
  const { model, find, el } = show(explorerTraits());
  const error = {
    type: "SubjectNotFound",
    message: "m",
    found: "Not there.",
    wanted: "Letters.",
    remedy: "Look.",
    traceback: "in line 3",
  };
  await model.receive({ status: "error", error });
  expect(find(".rw-error").textContent?.replace(/\s+/g, " ")).toContain(
    "Not there. Letters. Look. SubjectNotFoundin line 3",
  );
  expect(el.querySelectorAll("canvas")).toHaveLength(3);
  find<HTMLButtonElement>("[data-action=retry]").click();
  expect(model.sent("_request")).toMatchObject({ op: "trace" });
  find<HTMLButtonElement>("[data-action=dismiss]").click();
  expect(el.querySelector(".rw-error")).toBeNull();
});
test("explorer without a trace offers an example that fills the form and runs", () => {
  const { model, find } = show({
    ...explorerTraits(),
    _trace: {},
    scores: null,
    prompt: "",
    subject: "",
    status: "idle",
  });
  expect(find<HTMLButtonElement>("[data-action=trace]").disabled).toBe(true);
  find<HTMLButtonElement>("[data-action=example]").click();
  expect(model.saved.at(-1)).toMatchObject({
    prompt: "Mount Fuji is in",
    subject: "Mount Fuji",
    _request: { op: "trace" },
  });
});
test("explorer says that Python is silent only after some seconds without an echo", async () => {
  vi.useFakeTimers();
  const silent = show(explorerTraits());
  const alive = show(explorerTraits());
  expect(alive.model.sent("_ping")).toBeTruthy();
  alive.model.receive({ _pong: alive.model.sent("_ping") });
  await vi.advanceTimersByTimeAsync(5000);
  expect(silent.root.textContent).toContain("Kernel not connected");
  expect(alive.root.textContent).not.toContain("Kernel not connected");
});
test("explorer asks again for Python when its comm went, and believes the answer", async () => {
  vi.useFakeTimers();
  const { model, root } = show(explorerTraits());
  model.receive({ _pong: model.sent("_ping") });
  await vi.advanceTimersByTimeAsync(100);
  model.emit("comm_live_update");
  await vi.advanceTimersByTimeAsync(5000);
  expect(root.textContent).toContain("Kernel not connected");
  model.receive({ _pong: model.sent("_ping") });
  await vi.advanceTimersByTimeAsync(100);
  expect(root.textContent).not.toContain("Kernel not connected");
});
test("explorer measures the time from the click to the painted answer", async () => {
  const { model, find } = show(explorerTraits());
  click(find, "mlp", 2, 1);
  expect(find(".rw-panel").dataset.latencyMs).toBeUndefined();
  await model.receive({ _restoration: answer() });
  await vi.waitFor(() => expect(Number(find(".rw-panel").dataset.latencyMs)).toBeGreaterThan(0));
  // The same cell again: its answer is already there.
  click(find, "mlp", 2, 1);
  await vi.waitFor(() => expect(find(".rw-panel").dataset.latencyMs).toBeDefined());
});
test("a cancelled trace offers to go on", async () => {
  const half = new Float32Array(60).fill(Number.NaN).fill(0.2, 0, 30);
  const { find, model } = show({ ...explorerTraits(), status: "cancelled", scores: view(half) });
  find("[data-action=resume]").click();
  expect(model.sent("_request")).toMatchObject({ op: "resume" });
});
test("after a second a run says how long it took and will take, from where it went on", async () => {
  vi.useFakeTimers();
  const { model, root } = show({ ...explorerTraits(), status: "running", progress: 0.5 });
  vi.advanceTimersByTime(700);
  expect(root.textContent).not.toMatch(/left/);
  model.receive({ progress: 0.75 });
  await vi.advanceTimersByTimeAsync(1400);
  expect(root.textContent).toContain("75\u202f% · 2.0\u202fs, 2.0\u202fs left");
  model.receive({ status: "done", progress: 1 });
  await vi.advanceTimersByTimeAsync(1000);
  expect(root.textContent).not.toMatch(/left/);
  expect(vi.getTimerCount()).toBeLessThanOrEqual(1); // The wait for Python.
});
test("before anything is done a run says how long it is planned to take, until that is over", async () => {
  vi.useFakeTimers();
  const running = { status: "running", progress: 0, expected_seconds: 1.4 } as const;
  const { model, root } = show({ ...explorerTraits(), ...running });
  await vi.advanceTimersByTimeAsync(1200);
  expect(root.textContent).toContain("0\u202f% · 1.0\u202fs, about 400\u202fms left");
  await vi.advanceTimersByTimeAsync(500);
  expect(root.textContent).not.toMatch(/left/);
  model.receive({ progress: 0.5 });
  await vi.advanceTimersByTimeAsync(500);
  expect(root.textContent).toContain("50\u202f% · 2.0\u202fs, 2.0\u202fs left");
});
test("a remedy that can be applied is a button, and tries again", () => {
  const fix = { label: "samples 10 → 5", values: { samples: 5 } };
  const error = { type: "OutOfMemory", found: "No room.", cause: "run", fix };
  const { find, model } = show({ ...explorerTraits(), status: "error", error });
  expect(find("[data-action=fix]").textContent).toBe("samples 10 → 5");
  find("[data-action=fix]").click();
  expect(model.saved.at(-1)).toMatchObject({ samples: 5, _request: { op: "trace" } });
});
test("without a kernel a cell is read from the grid, several are not, and nothing offers to run", async () => {
  vi.useFakeTimers();
  const { find, el, model } = show({
    ...explorerTraits(),
    history: [historyRun],
    kept: keptInfo({ comparing: false }),
  });
  await vi.advanceTimersByTimeAsync(5000);
  expect(el.textContent).toContain("Kernel not connected: showing saved results");
  for (const action of ["trace", "keep_as_a", "compare", "svg"])
    expect(el.querySelector(`[data-action=${action}]`)).toBeNull();
  expect(el.querySelector("[data-run]")).toBeNull();
  click(find, "mlp", 2, 1);
  await vi.advanceTimersByTimeAsync(500);
  const panel = () => find(".rw-panel").textContent;
  expect(panel()).toContain("0.3410");
  expect(panel()).toContain("Read from the grid");
  expect(panel()).not.toContain("updating");
  click(find, "mlp", 3, 1, { ctrlKey: true });
  await vi.advanceTimersByTimeAsync(500);
  expect(panel()).toContain("a kernel is needed to combine them");
  expect(model.sent("selection")).toHaveLength(2);
});
