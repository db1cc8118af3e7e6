// The queue of the user's writes that the service has not confirmed yet, in their order.
//
// Each write has its own key in localStorage until it is confirmed, so it outlives the page, and
// concurrent tabs cannot overwrite each other's writes. The key is also the write's
// Idempotency-Key: sent twice, it has one effect.

import { newId } from "../js/taskapi.js";
import { storage } from "./platform.js";

export class Outbox {
  #prefix;
  #writes = new Map();

  constructor(userId) {
    this.#prefix = `taskapi.outbox.${userId}.`;
    this.reload();
  }

  /** All writes, oldest first. */
  get writes() {
    return [...this.#writes.values()];
  }

  /** The number of writes to send, without those in conflict. */
  get pendingCount() {
    return this.writes.filter((write) => !write.conflict).length;
  }

  /** The next write to send. */
  get next() {
    return this.writes.find((write) => !write.conflict);
  }

  of(id) {
    return this.writes.filter((write) => write.id === id);
  }

  add(write) {
    // A counter instead of a timestamp, because the clock may be set back.
    const number = (this.writes.at(-1)?.number ?? 0) + 1;
    const added = { key: newId(), number, ...write };
    this.#writes.set(added.key, added);
    this.#persist(added);
    return added;
  }

  /** Change a pending write; return it, or undefined if it is no longer pending. */
  change(key, changes) {
    const write = this.#writes.get(key);
    if (!write) return undefined;
    const changed = { ...write, ...changes };
    this.#writes.set(key, changed);
    this.#persist(changed);
    return changed;
  }

  remove(key) {
    this.#writes.delete(key);
    try {
      storage.removeItem(this.#prefix + key);
    } catch {
      // Without storage there is nothing to remove.
    }
  }

  clear() {
    for (const write of this.writes) this.remove(write.key);
  }

  /** Reload the writes, which other tabs add and send; return whether they have changed. */
  reload() {
    let keys;
    try {
      keys = Object.keys(storage).filter((key) => key.startsWith(this.#prefix));
    } catch {
      return false;
    }
    const before = this.#summarise();
    const stored = keys.map((key) => JSON.parse(storage.getItem(key))).filter(Boolean);
    const unstored = this.writes.filter((write) => write.isUnstored);
    const all = [...stored, ...unstored].sort(compareNumbers);
    this.#writes = new Map(all.map((write) => [write.key, write]));
    return this.#summarise() !== before;
  }

  /** Return whether a storage event concerns these writes. */
  concerns(event) {
    return event.key?.startsWith(this.#prefix) ?? true;
  }

  #summarise() {
    return this.writes.map((write) => write.key + Boolean(write.conflict)).join();
  }

  #persist(write) {
    try {
      storage.setItem(this.#prefix + write.key, JSON.stringify(write));
    } catch {
      // The storage is full or denied; the write is still sent while this page is open.
      write.isUnstored = true;
    }
  }
}

/** Compare writes by number, then by key: two tabs may have assigned the same number. */
function compareNumbers(one, other) {
  return one.number - other.number || (one.key < other.key ? -1 : 1);
}
