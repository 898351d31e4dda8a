/**
 * Values that know who reads them: what is drawn follows what it was drawn from. No DOM.
 *
 * A computed value is worked out when it is read and kept until something it was made from changes; an
 * effect runs again, once per batch. In 500 bytes what the library we had before did in 1700: the limit
 * on the bundle leaves no room for what we do not use of it.
 */

export interface ReadonlySignal<T> {
  /** Read in a computed or an effect, this also subscribes. */
  readonly value: T;
  /** The value without subscribing. */
  peek(): T;
}
export interface Signal<T> extends ReadonlySignal<T> {
  value: T;
}

interface Reader {
  /** The readers of everything that was read, itself among them. */
  read: Set<Set<Reader>>;
  /** Something that was read has changed, or may have. */
  stale(): void;
}

/** Runs of effects after one change, above which they go round in a circle. */
const MOST_RUNS = 1000;

let reading: Reader | null = null;
let depth = 0;
const due = new Set<() => void>();

function subscribe(readers: Set<Reader>): void {
  if (!reading) return;
  readers.add(reading);
  reading.read.add(readers);
}

function forget(reader: Reader): void {
  for (const readers of reader.read) readers.delete(reader);
  reader.read.clear();
}

/** Calls with `reader` subscribed to what is read, and to nothing else any more. */
function follow<T>(reader: Reader, call: () => T): T {
  const outer = reading;
  forget(reader);
  reading = reader;
  try {
    return call();
  } finally {
    reading = outer;
  }
}

const tell = (readers: Set<Reader>): void => {
  for (const reader of [...readers]) reader.stale();
};

/** Several changes, after which each effect runs at most once; the first error is thrown when all have run. */
export function batch(change: () => void): void {
  const errors: unknown[] = [];
  const attempt = (call: () => void) => {
    try {
      call();
    } catch (error) {
      errors.push(error);
    }
  };
  depth++;
  attempt(change);
  if (depth === 1) {
    let runs = 0;
    for (const effect of due) {
      due.delete(effect);
      if (++runs < MOST_RUNS) attempt(effect);
      else errors.push(new Error("Effects that change what they read never come to rest."));
    }
  }
  depth--;
  if (errors.length > 0) throw errors[0];
}

export function signal<T>(value: T): Signal<T> {
  const readers = new Set<Reader>();
  return {
    get value() {
      subscribe(readers);
      return value;
    },
    set value(next) {
      if (next === value) return;
      value = next;
      batch(() => tell(readers));
    },
    peek: () => value,
  };
}

export function computed<T>(work: () => T): ReadonlySignal<T> {
  const readers = new Set<Reader>();
  let outcome: () => T;
  let fresh = false;
  const reader: Reader = {
    read: new Set(),
    stale: () => {
      if (!fresh) return;
      fresh = false;
      tell(readers);
    },
  };
  const peek = () => {
    if (!fresh) {
      fresh = true;
      try {
        const value = follow(reader, work);
        outcome = () => value;
      } catch (error) {
        outcome = () => {
          throw error; // To whoever reads it, until something it was made from changes.
        };
      }
    }
    return outcome();
  };
  return {
    get value() {
      subscribe(readers);
      return peek();
    },
    peek,
  };
}

/** Runs now, or when the batch it is made in ends, and whenever something that it read has changed, until what is returned is called. */
export function effect(run: () => void): () => void {
  const again = () => follow(reader, run);
  const reader: Reader = { read: new Set(), stale: () => due.add(again) };
  batch(reader.stale);
  return () => {
    due.delete(again);
    forget(reader);
  };
}
