import { describe, expect, test } from "vitest";
import { flowLayout, nodeAt, place, readFlow, road, UNMOVED, ways } from "../src/flow.js";
import { type Cell, KINDS } from "../src/types.js";
import { flowInfo } from "./fake_model.js";

describe("flowLayout(room, rows, layers, row)", () => {
  test("fits the embedding and every layer while they can be told apart", () => {
    for (const [room, layers] of [
      [500, 8],
      [460, 12],
      [900, 24],
    ] as const)
      expect(flowLayout(room, 8, layers, 24).width).toBeLessThanOrEqual(room);
  });
  test("scrolls rather than draw layers that nobody could point at", () => {
    const at = flowLayout(500, 200, 126, 12);
    expect(at.pitch).toBeGreaterThanOrEqual(20);
    expect(at.width).toBeGreaterThan(500);
  });
  test("keeps shapes apart", () => {
    for (const layers of [4, 8, 48, 126]) {
      const at = flowLayout(500, 12, layers, 24);
      expect(at.radius + at.side / 2).toBeLessThan(at.pitch / 2);
      expect(at.side / 2).toBeLessThan(0.24 * at.row);
    }
  });
});

describe("nodeAt(layout, x, y)", () => {
  const at = flowLayout(460, 5, 4, 24);
  test("is the node whose middle it is, for every node", () => {
    for (const kind of KINDS)
      for (let pos = 0; pos < 5; pos++)
        for (let layer = 0; layer < 4; layer++) {
          const cell: Cell = [pos, layer, kind];
          expect(nodeAt(at, ...place(at, cell))).toEqual(cell);
        }
  });
  test("is null outside and among the embeddings", () => {
    expect(nodeAt(at, -1, 5)).toBeNull();
    expect(nodeAt(at, 5, at.height)).toBeNull();
    expect(nodeAt(at, at.width, 5)).toBeNull();
    expect(nodeAt(at, ...place(at, [2, -1, "hidden"]))).toBeNull();
  });
  test("is never a layer that is not there", () => {
    expect(nodeAt(at, at.width - 1, 1)?.[1]).toBe(3);
  });
});

describe("readFlow(info, rows, layers)", () => {
  const flow = readFlow(flowInfo(), 5, 4);
  test("finds a number by position, layer and kind", () => {
    expect(flow?.amount("clean", [2, 1, "mlp"])).toBeCloseTo(0.421);
    expect(flow?.amount("corrupted", [2, 1, "attn"])).toBeCloseTo(0.521);
    expect(flow?.amount("restored", [4, 3, "hidden"])).toBeCloseTo(0.0715);
  });
  test("is null where the numbers do not fit the tokens and layers", () => {
    expect(readFlow(flowInfo(), 4, 5)).toBeNull();
    expect(readFlow(flowInfo(), 5, 3)).toBeNull();
  });
  test("the embedding is the layer before the first: noise reaches it, a restoration does not", () => {
    expect(flow?.amount("corrupted", [0, -1, "hidden"])).toBeCloseTo(1.7);
    expect(flow?.amount("corrupted", [4, -1, "hidden"])).toBe(0);
    expect(flow?.amount("restored", [0, -1, "hidden"])).toBe(0);
  });
  test("the share is what the restoration undid, and null where nothing had moved", () => {
    expect(flow?.share([2, 1, "mlp"])).toBeCloseTo(0.5);
    expect(readFlow(flowInfo(UNMOVED), 5, 4)?.share([2, 1, "mlp"])).toBeNull();
  });
  test("a restored run is drawn on the scale of the corrupted one", () => {
    expect(flow?.scale("restored", "mlp")).toBe(flow?.scale("corrupted", "mlp"));
    expect(flow?.strength("restored", [2, 1, "mlp"])).toBeLessThan(
      flow?.strength("corrupted", [2, 1, "mlp"]) ?? 0,
    );
  });
  test("what a kind does not have is drawn as nothing", () => {
    const whole = flowInfo();
    const cut = (data: DataView) => new DataView(data.buffer, 0, 5 * 4 * 4);
    const [written, corrupted, restored, moved] = [
      whole.written,
      whole.corrupted,
      whole.restored,
      whole.moved,
    ].map(cut) as [DataView, DataView, DataView, DataView];
    const alone = readFlow({ ...whole, kinds: ["hidden"], written, corrupted, restored, moved }, 5, 4);
    expect(alone?.strength("clean", [2, 1, "mlp"])).toBe(0);
    expect(alone?.amount("clean", [2, 1, "mlp"])).toBeNaN();
  });
});

describe("ways(path, rows, layers, back)", () => {
  const back = ([, layer]: Cell) => (layer < 6 ? 0.2 : 0.7);
  test("lead from each state along its row, and over to the last token when half of that is back", () => {
    expect(ways([[2, 3, "mlp"]], 5, 8, back)).toEqual([
      [
        [2, 3, "mlp"],
        [2, 5, "hidden"],
        [4, 6, "hidden"],
        [4, 7, "hidden"],
      ],
    ]);
  });
  test("leave a row before a state of it that is overwritten", () => {
    const path: Cell[] = [
      [2, 1, "mlp"],
      [2, 4, "hidden"],
      [1, 1, "hidden"],
    ];
    const left = ways(path, 5, 8, back).map((way) => way[1]);
    expect(left).toEqual([
      [1, 5, "hidden"],
      [2, 3, "hidden"],
      [2, 5, "hidden"],
    ]);
  });
  test("never go back to an earlier token or layer", () => {
    const path: Cell[] = [
      [3, 1, "hidden"],
      [1, 2, "hidden"],
      [2, 2, "mlp"],
    ];
    for (const way of ways(path, 5, 8, back))
      way.slice(1).forEach((to, i) => {
        expect(to[0]).toBeGreaterThanOrEqual(way[i]?.[0] ?? 0);
        expect(to[1]).toBeGreaterThanOrEqual(way[i]?.[1] ?? 0);
      });
    expect(ways(path, 5, 8, back)).toHaveLength(3);
  });
  test("where the last token never comes half back, they reach it in the last layer", () => {
    const [way] = ways([[2, 4, "hidden"]], 5, 8, () => null);
    expect(way?.slice(-2)).toEqual([
      [4, 7, "hidden"],
      [4, 7, "hidden"],
    ]);
  });
  test("a state of the last layer goes nowhere", () => {
    expect(ways([[4, 7, "hidden"]], 5, 8, back)).toEqual([]);
  });
});

describe("road(points)", () => {
  test("is straight along a row and an S between rows", () => {
    expect(
      road([
        [0, 5],
        [10, 5],
        [20, 9],
      ]),
    ).toBe("M0 5H10C15 5 15 9 20 9");
    expect(road([])).toBe("");
  });
});
