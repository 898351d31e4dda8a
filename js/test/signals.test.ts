import { expect, test, vi } from "vitest";
import { batch, computed, effect, signal } from "../src/signals.js";

test("effect(run) runs at once, again after a change, and not after a value that is the same", () => {
  const a = signal(1);
  const seen: number[] = [];
  effect(() => seen.push(a.value));
  a.value = 2;
  a.value = 2;
  expect(seen).toEqual([1, 2]);
});
test("computed(work) works when it is read, once until something it read changes", () => {
  const a = signal(1);
  const work = vi.fn(() => a.value * 2);
  const twice = computed(work);
  expect(work).not.toHaveBeenCalled();
  expect([twice.value, twice.value, twice.peek()]).toEqual([2, 2, 2]);
  a.value = 5;
  expect(work).toHaveBeenCalledTimes(1);
  expect(twice.value).toBe(10);
});
test("an effect sees no mixture of old and new: it runs once where two ways lead to it", () => {
  const a = signal(1);
  const b = computed(() => a.value + 1);
  const c = computed(() => a.value * 10);
  const seen: number[][] = [];
  effect(() => seen.push([a.value, b.value, c.value]));
  a.value = 2;
  expect(seen).toEqual([
    [1, 2, 10],
    [2, 3, 20],
  ]);
});
test("batch(change) runs each effect once, after the last change", () => {
  const [a, b] = [signal(1), signal(1)];
  const seen: number[] = [];
  effect(() => seen.push(a.value + b.value));
  batch(() => {
    a.value = 10;
    batch(() => {
      b.value = 10;
    });
    expect(seen).toEqual([2]);
  });
  expect(seen).toEqual([2, 20]);
});
test("what an effect no longer reads no longer runs it", () => {
  const [which, a, b] = [signal(true), signal("a"), signal("b")];
  const seen: string[] = [];
  effect(() => seen.push(which.value ? a.value : b.value));
  which.value = false;
  a.value = "A";
  b.value = "B";
  expect(seen).toEqual(["a", "b", "B"]);
});
test("peek() reads without subscribing", () => {
  const a = signal(1);
  const seen: number[] = [];
  effect(() => seen.push(a.peek()));
  a.value = 2;
  expect(seen).toEqual([1]);
});
test("an effect may change what others read, and what it reads itself, until that rests", () => {
  const [a, b] = [signal(0), signal(0)];
  effect(() => {
    if (a.value < 3) a.value++;
  });
  effect(() => {
    b.value = a.value * 2;
  });
  expect([a.value, b.value]).toEqual([3, 6]);
  a.value = 1;
  expect([a.value, b.value]).toEqual([3, 6]);
});
test("effects that go round in a circle are an error, not a page that hangs", () => {
  const a = signal(0);
  expect(() => effect(() => void a.value++)).toThrow("never come to rest");
  const seen: number[] = [];
  const b = signal(1);
  effect(() => seen.push(b.value));
  b.value = 2;
  expect(seen).toEqual([1, 2]);
});
test("an effect that ended does not run again, even in the batch that ended it", () => {
  const a = signal(1);
  const run = vi.fn(() => void a.value);
  const end = effect(run);
  batch(() => {
    a.value = 2;
    end();
  });
  a.value = 3;
  expect(run).toHaveBeenCalledTimes(1);
});
test("an error in one effect keeps no other from running, and is thrown", () => {
  const a = signal(1);
  const seen: number[] = [];
  effect(() => {
    if (a.value === 2) throw new Error("no luck");
  });
  effect(() => seen.push(a.value));
  expect(() => {
    a.value = 2;
  }).toThrow("no luck");
  a.value = 3;
  expect(seen).toEqual([1, 2, 3]);
});
test("a computed that fails is tried again when what it read changes", () => {
  const a = signal(0);
  const inverse = computed(() => {
    if (a.value === 0) throw new Error("no inverse");
    return 1 / a.value;
  });
  const seen: number[] = [];
  expect(() => effect(() => seen.push(inverse.value))).toThrow("no inverse");
  a.value = 2;
  expect(seen).toEqual([0.5]);
});
test("a computed that failed says so to everyone who reads it, and gives nobody an old value", () => {
  const a = signal(1);
  const work = vi.fn(() => {
    if (a.value === 0) throw new Error("no inverse");
    return 1 / a.value;
  });
  const inverse = computed(work);
  expect(inverse.value).toBe(1);
  a.value = 0;
  expect(() => inverse.value).toThrow("no inverse");
  expect(() => inverse.value).toThrow("no inverse");
  expect(work).toHaveBeenCalledTimes(2);
  a.value = 2;
  expect(inverse.value).toBe(0.5);
});
test("effect(run) inside a batch runs when the batch ends", () => {
  const run = vi.fn();
  batch(() => {
    effect(run);
    expect(run).not.toHaveBeenCalled();
  });
  expect(run).toHaveBeenCalledTimes(1);
});
