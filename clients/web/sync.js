// Keeps the store like the service's tasks, and sends what waits in the outbox.

import { Leading } from "./leading.js";
import { changesSameFields, isBasedOn, isUndone, judge, send } from "./sending.js";
import { locks, until } from "./waiting.js";

const WAIT = 25; // seconds; the longest that the service lets anybody wait for a change
const PAGE = 1000;
const PREVIEW = 200;
const PAUSE = 1000; // milliseconds, until what failed is sent again
const TAKEOVER = 5000;
const TRIES = 5; // of a write at which the service fails, though it is there

/** Tells `refused` and `conflict`, with the write and what the service said; and `stuck`. */
export class Sync extends EventTarget {
  /** Whether what was to be sent last could not be. */
  isStuck = false;
  #api;
  #store;
  #outbox;
  #connection;
  #name;
  #channel;
  #leading;
  #since;
  #copying = Promise.resolve();
  #stopped = new AbortController();
  #wake = () => {};

  constructor({ api, user, store, outbox, connection }) {
    super();
    this.#api = api;
    this.#store = store;
    this.#outbox = outbox;
    this.#connection = connection;
    this.#name = `taskapi.${user.id}`;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const { signal } = this.#stopped;
    addEventListener("storage", (event) => this.#onStorage(event), { signal });
    connection.addEventListener("up", () => this.#catchUp(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#catchUp(), { signal });
    this.#preview();
    this.#catchUp();
    this.#leading = new Leading(this.#name, (lead) => orEnd(this.#listen(lead), lead));
    orEnd(this.#send(signal), signal);
  }

  /** Do what the user wants: show it at once, and have it sent. */
  write(write) {
    const { id, kind } = write;
    const last = this.#outbox.of(id).at(-1);
    // Where somebody moves a task step by step, only the place where it ends is worth sending.
    if (kind === "move" && last?.kind === "move" && !last.tries) this.#outbox.remove(last.key);
    const next = kind === "edit" ? this.#merge(write) : write;
    if (next) this.#outbox.add(next);
    this.#store.show(id);
    this.#wake();
  }

  /** Take an edit together with the one before it; returns what is still to be added. */
  #merge(write) {
    const last = this.#outbox.of(write.id).findLast((one) => changesSameFields(one, write));
    if (last?.conflict && !isBasedOn(write, last.conflict)) {
      // The user has typed on since.
      this.#outbox.change(last.key, { changes: write.changes });
      return null;
    }
    if (!last || last.conflict || last.tries) return write;
    // A new one instead of a change: another tab may be sending the old one.
    this.#outbox.remove(last.key);
    const merged = { ...write, before: last.before, base: last.base };
    return isUndone(merged) ? null : merged;
  }

  /** Take back a write of which the service has not heard; false where it may have. */
  takeBack(kind, id) {
    const write = this.#outbox.of(id).find((one) => one.kind === kind && !one.tries);
    if (!write) return false;
    this.#outbox.remove(write.key);
    this.#store.show(id);
    return true;
  }

  /** Decide what becomes of a write that contradicts another one: it goes on, or it goes. */
  settle(key, { keep }) {
    const write = this.#outbox.writes.find((one) => one.key === key);
    if (!write) return;
    this.#outbox.remove(key);
    if (keep) {
      const { conflict, id, kind, changes } = write;
      this.write({ kind, id, changes, before: conflict, base: conflict.version });
    } else {
      this.#store.show(write.id);
    }
  }

  stop() {
    // Where the session is over, the other tabs are to find out.
    this.#channel.postMessage("changed");
    this.#stopped.abort();
    this.#leading.stop();
    this.#channel.close();
  }

  /** Show the first tasks before all the others are here. */
  async #preview() {
    const query = { sort: "order", limit: PREVIEW };
    const { tasks } = await this.#api
      .listTasks(query, { signal: this.#stopped.signal })
      .catch(() => ({ tasks: [] }));
    if (!this.#store.isComplete && !this.#since) this.#store.take(...tasks);
  }

  /** Follow the feed for as long as this tab leads and is seen. */
  async #listen(signal) {
    while (!document.hidden) {
      await this.#connection.whenUp(signal);
      await this.#copying; // So that nothing is read twice.
      const cut = AbortSignal.any([signal, this.#connection.cut]);
      try {
        for await (const answer of this.#changes({ wait: WAIT }, cut)) {
          this.#follow(answer);
          this.#channel.postMessage(answer.changes.length ? "changed" : "here");
          if (document.hidden) return;
        }
      } catch (error) {
        signal.throwIfAborted();
        if (!isOutage(error, cut)) throw error;
      }
    }
  }

  /** Read what there is now, one reading after the other. */
  #catchUp() {
    const signal = AbortSignal.any([this.#stopped.signal, this.#connection.cut]);
    this.#copying = this.#copying.then(() => orEnd(this.#copy(signal), signal));
  }

  async #copy(signal) {
    for await (const answer of this.#changes({}, signal)) this.#follow(answer);
    if (this.#outbox.reload()) this.#store.showWrites();
  }

  #changes(query, signal) {
    return this.#api.changes({ since: this.#since, limit: PAGE, ...query }, { signal });
  }

  #follow(answer) {
    this.#store.follow(answer, this.#since === undefined);
    this.#since = answer.next;
  }

  /** Send what waits, whenever something does and the service is there. */
  async #send(signal) {
    for (;;) {
      await this.#connection.whenUp(signal);
      // One tab at a time, so that all is sent in the order in which it was written.
      const pause = await inTurn(`${this.#name}.outbox`, signal, () => this.#empty(signal));
      this.isStuck = pause > 0;
      this.dispatchEvent(new Event("stuck"));
      await until(signal, (resolve) => {
        this.#wake = resolve;
        if (pause) setTimeout(resolve, pause);
        else if (this.#outbox.next) resolve();
      });
    }
  }

  /** Send until nothing waits; returns a pause where it has to be tried again. */
  async #empty(signal) {
    if (this.#outbox.reload()) this.#store.showWrites();
    for (let write = this.#outbox.next; write; write = this.#outbox.next) {
      const tries = (write.tries ?? 0) + 1;
      this.#outbox.change(write.key, { tries });
      const cut = AbortSignal.any([signal, this.#connection.cut]);
      try {
        this.#done(write, await send(this.#api, write, cut));
      } catch (error) {
        signal.throwIfAborted();
        if (error.status === 401) throw error;
        if (isOutage(error, cut)) return PAUSE;
        if (error.status >= 500 && tries < TRIES) return PAUSE * tries;
        this.#failed(write, error);
      }
      this.#channel.postMessage("changed");
    }
    return 0;
  }

  #failed(write, error) {
    const verdict = judge(write, error);
    if (verdict.done) this.#done(write, verdict.done);
    else if (verdict.again) this.#outbox.change(write.key, verdict.again);
    else if (verdict.conflict) {
      const later = this.#outbox.of(write.id).filter((one) => changesSameFields(one, write));
      const { changes } = later.at(-1) ?? write;
      for (const { key } of later) if (key !== write.key) this.#outbox.remove(key);
      this.#outbox.change(write.key, { changes, conflict: verdict.conflict });
      this.#store.take(verdict.conflict);
      this.#store.show(write.id);
      this.#tell("conflict", write, error);
    } else {
      this.#refuse(write, error);
    }
  }

  #done(write, { tasks = [], isGone = false }) {
    this.#outbox.remove(write.key);
    this.#store.take(...tasks);
    if (isGone) this.#store.drop(write.id);
    // What was edited on top of this write is based on what has become of it.
    const [task] = tasks;
    for (const later of this.#outbox.of(write.id)) {
      if (later.kind === "edit" && task && isBasedOn(later, task)) {
        this.#outbox.change(later.key, { base: task.version });
      }
    }
    this.#store.show(write.id);
  }

  #refuse(write, error) {
    this.#outbox.remove(write.key);
    // A task that was never made cannot be changed either.
    if (write.kind === "create") {
      for (const later of this.#outbox.of(write.id)) this.#outbox.remove(later.key);
    }
    if (error.status === 404) this.#store.drop(write.id);
    this.#store.show(write.id);
    this.#tell("refused", write, error);
  }

  #tell(type, write, error) {
    this.dispatchEvent(new CustomEvent(type, { detail: { write, error } }));
  }

  #hear(message) {
    this.#leading.hear();
    if (message === "changed") this.#catchUp();
  }

  #onStorage(event) {
    if (!this.#outbox.owns(event)) return;
    // What was sent goes when it is known what has become of it, or the old would flash up.
    if (event.newValue === null) {
      this.#catchUp();
    } else {
      if (this.#outbox.reload()) this.#store.showWrites();
      // Another tab sends it, unless it is closed before.
      setTimeout(() => this.#wake(), TAKEOVER);
    }
  }
}

/** Do some work, one tab after the other. */
function inTurn(name, signal, work) {
  return locks ? locks.request(name, { signal }, work) : work();
}

/** Wait for work which may be stopped, or end with the session: of that the client tells. */
async function orEnd(work, signal) {
  try {
    await work;
  } catch (error) {
    if (!isOutage(error, signal) && error.status !== 401) throw error;
  }
}

function isOutage(error, signal) {
  return (
    signal.aborted ||
    error.name === "NetworkError" ||
    [429, 502, 503, 504].includes(error.status) ||
    error.code === "idempotency_key_in_use" // A try before is still being worked on.
  );
}
