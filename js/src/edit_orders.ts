/** Orders to change the model: each is sent until Python acks its id, so none is lost; Python does each once. */

import type { Bridge } from "./bridge.js";
import type { EditTraits, Order } from "./types.js";

const AGAIN = 3000;

export type EditOrders = ReturnType<typeof editOrders>;

/** `connected` says whether there is a Python to take them. */
export function editOrders(bridge: Bridge<EditTraits>, connected: () => boolean, abort: AbortSignal) {
  const tag = Math.random().toString(36).slice(2);
  let count = 0;

  /** Orders that have not ended: a trait is overwritten by its next value, so each value holds them all. */
  const open = (): Order[] => bridge.get("_orders").filter(({ id }) => !bridge.get("_acks").includes(id));

  const timer = setInterval(() => {
    // A changed value, or hosts that compare values would not send it.
    if (open().length > 0) bridge.set({ _orders: open().map((order) => ({ ...order, sent: ++count })) });
  }, AGAIN);
  abort.addEventListener("abort", () => clearInterval(timer), { once: true });

  return {
    open,
    connected,
    /** This edit cannot be ordered about: an order for it, or for all, is under way, or there is nobody. */
    waits: (edit: string): boolean =>
      !connected() ||
      open().some((each) => each.edit === edit || [each.op, each.first].includes("revert_all")),
    give: (op: Order["op"], more: object = {}) =>
      bridge.set({ _orders: [...open(), { ...more, id: `${tag}-${++count}`, op }] }),
  };
}
