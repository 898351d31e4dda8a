/** The widget model as signals: every trait one signal, every listener ended by the abort signal. */

import { batch, signal as makeSignal, type ReadonlySignal, type Signal } from "@preact/signals-core";

/** The part of anywidget's model that we use. */
export interface Model {
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

/** Of a widget with more traits, it is also a bridge of the fewer that a part of a view asks for: `out`. */
export class Bridge<out T extends object> {
  readonly #model: Model;
  readonly #abort: AbortSignal;
  readonly #signals = new Map<string, Signal<unknown>>();
  readonly #changed = new Set<string>();

  /** Follows each trait that is asked for until `abort` fires. Several changes at once become one update. */
  constructor(model: Model, abort: AbortSignal) {
    this.#model = model;
    this.#abort = abort;
  }

  /** The current value; inside a computed or an effect this also subscribes. */
  get<K extends keyof T & string>(key: K): T[K] {
    return this.signal(key).value;
  }

  /** Several at once, by their names. */
  pick<K extends keyof T & string>(keys: readonly K[]): Pick<T, K> {
    return Object.fromEntries(keys.map((key) => [key, this.get(key)])) as Pick<T, K>;
  }

  signal<K extends keyof T & string>(key: K): ReadonlySignal<T[K]> {
    const found = this.#signals.get(key) ?? this.#follow(key);
    return found as Signal<T[K]>;
  }

  #follow(key: string): Signal<unknown> {
    const made = makeSignal(this.#model.get(key));
    this.#signals.set(key, made);
    this.hear(`change:${key}`, () => this.#note(key));
    return made;
  }

  /** Calls `told` on an event of the model, until the view ends. */
  hear(event: string, told: () => void): void {
    if (this.#abort.aborted) return;
    this.#model.on(event, told);
    this.#abort.addEventListener("abort", () => this.#model.off(event, told), { once: true });
  }

  /** Sets traits here, at once, and sends them to Python unless told to wait. */
  set(patch: Partial<T>, { send = true } = {}): void {
    batch(() => {
      for (const [key, value] of Object.entries(patch)) {
        this.#model.set(key, value);
        const found = this.#signals.get(key);
        if (found) found.value = value;
      }
    });
    if (send) this.send();
  }

  /** Sends what was set. A recorded page has nobody to send to, and some hosts say so by throwing. */
  send(): void {
    try {
      this.#model.save_changes();
    } catch (error) {
      console.debug("rome_widgets: nobody to send to", error);
    }
  }

  #note(key: string): void {
    if (this.#changed.size === 0) queueMicrotask(() => this.#flush());
    this.#changed.add(key);
  }

  #flush(): void {
    const keys = [...this.#changed];
    this.#changed.clear();
    batch(() => {
      for (const key of keys) {
        const found = this.#signals.get(key);
        if (found) found.value = this.#model.get(key);
      }
    });
  }
}
