// What the user has done and the service does not know yet, in the order in which it was done.
//
// Each write lies in localStorage under a key of its own until it is done, so it outlives the
// page, and tabs that write at the same time cannot overwrite each other's. The key is also
// what the write is called on its way (Idempotency-Key): sent twice, it is done once.

import { newId } from "../js/taskapi.js";
import { storage } from "./waiting.js";

export class Outbox {
  #prefix;
  #writes = new Map();

  constructor(userId) {
    this.#prefix = `taskapi.outbox.${userId}.`;
    this.reload();
  }

  /** All writes, the oldest first. */
  get writes() {
    return [...this.#writes.values()];
  }

  /** How many are to be sent; one that waits for the user's word is not. */
  get waiting() {
    return this.writes.filter((write) => !write.conflict).length;
  }

  /** The next to be sent. */
  get next() {
    return this.writes.find((write) => !write.conflict);
  }

  of(id) {
    return this.writes.filter((write) => write.id === id);
  }

  add(write) {
    // Counted, since a clock may be set back.
    const number = (this.writes.at(-1)?.number ?? 0) + 1;
    const named = { key: newId(), number, ...write };
    this.#writes.set(named.key, named);
    this.#keep(named);
    return named;
  }

  /** Change a write that waits; returns it, or undefined where it is done meanwhile. */
  change(key, changes) {
    const write = this.#writes.get(key);
    if (!write) return undefined;
    const changed = { ...write, ...changes };
    this.#writes.set(key, changed);
    this.#keep(changed);
    return changed;
  }

  remove(key) {
    this.#writes.delete(key);
    try {
      storage.removeItem(this.#prefix + key);
    } catch {
      // Where nothing can be stored there is nothing to remove.
    }
  }

  clear() {
    for (const write of this.writes) this.remove(write.key);
  }

  /** Read again what lies there: other tabs add to it, and send. Whether it is something else. */
  reload() {
    let keys;
    try {
      keys = Object.keys(storage).filter((key) => key.startsWith(this.#prefix));
    } catch {
      return false;
    }
    const before = this.#summary();
    const stored = keys.map((key) => JSON.parse(storage.getItem(key))).filter(Boolean);
    const loose = this.writes.filter((write) => write.isLoose);
    const all = [...stored, ...loose].sort(byNumber);
    this.#writes = new Map(all.map((write) => [write.key, write]));
    return this.#summary() !== before;
  }

  /** Whether an event of the storage is about these writes. */
  owns(event) {
    return event.key?.startsWith(this.#prefix) ?? true;
  }

  #summary() {
    return this.writes.map((write) => write.key + Boolean(write.conflict)).join();
  }

  #keep(write) {
    try {
      storage.setItem(this.#prefix + write.key, JSON.stringify(write));
    } catch {
      // It is full or forbidden; the write is sent all the same, while this page is open.
      write.isLoose = true;
    }
  }
}

/** Two tabs may have counted to the same number. */
function byNumber(one, other) {
  return one.number - other.number || (one.key < other.key ? -1 : 1);
}
