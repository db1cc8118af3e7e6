// Keep the store in sync with the service, and send the writes of the outbox.

import { LeaderElection } from "./leader.js";
import { locks, waitFor } from "./platform.js";
import { classifyRefusal, hasSameFields, isBasedOn, isNoChange, send } from "./writes.js";

const LONG_POLL_SECONDS = 25; // The service's maximum.
const FEED_PAGE_SIZE = 1000;
const PREVIEW_SIZE = 200;
const RETRY_PAUSE_MS = 1000; // Before a failed write is sent again.
const TAKEOVER_DELAY_MS = 5000;
const MAX_ATTEMPTS = 5; // For a write that gets status 500 from a reachable service.

/** Dispatches `refused` and `conflict` with the write and the error, and `stuck`. */
export class Sync extends EventTarget {
  /** Whether the last attempt to send failed. */
  isStuck = false;
  #api;
  #store;
  #outbox;
  #connection;
  #name;
  #channel;
  #election;
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
    this.#channel.onmessage = ({ data }) => this.#onMessage(data);
    const { signal } = this.#stopped;
    addEventListener("storage", (event) => this.#onStorage(event), { signal });
    connection.addEventListener("up", () => this.#catchUp(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#catchUp(), { signal });
    this.#preview();
    this.#catchUp();
    this.#election = new LeaderElection(this.#name, (lead) => ignoreOutage(this.#listen(lead), lead));
    ignoreOutage(this.#send(signal), signal);
  }

  /** Apply a write of the user to the list at once, and queue it for sending. */
  write(write) {
    const { id, kind } = write;
    const last = this.#outbox.of(id).at(-1);
    // Of several moves of a task only the last one is sent.
    if (kind === "move" && last?.kind === "move" && !last.tries) this.#outbox.remove(last.key);
    const next = kind === "edit" ? this.#merge(write) : write;
    if (next) this.#outbox.add(next);
    this.#store.show(id);
    this.#wake();
  }

  /** Merge an edit into the previous unsent one; return the edit to add, or null. */
  #merge(write) {
    const last = this.#outbox.of(write.id).findLast((other) => hasSameFields(other, write));
    if (last?.conflict && !isBasedOn(write, last.conflict)) {
      // The user has continued typing during a conflict.
      this.#outbox.change(last.key, { changes: write.changes });
      return null;
    }
    if (!last || last.conflict || last.tries) return write;
    // A new write instead of a changed one: another tab may be sending the previous one.
    this.#outbox.remove(last.key);
    const merged = { ...write, before: last.before, base: last.base };
    return isNoChange(merged) ? null : merged;
  }

  /** Cancel a write that was never sent; return false if it may have reached the service. */
  cancel(kind, id) {
    const write = this.#outbox.of(id).find((other) => other.kind === kind && !other.tries);
    if (!write) return false;
    this.#outbox.remove(write.key);
    this.#store.show(id);
    return true;
  }

  /** Resolve a conflict: send the write based on the other version (`keep`), or discard it. */
  resolveConflict(key, { keep }) {
    const write = this.#outbox.writes.find((other) => other.key === key);
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
    // Makes the other tabs send a request, and so notice the end of the session.
    this.#channel.postMessage("changed");
    this.#stopped.abort();
    this.#election.stop();
    this.#channel.close();
  }

  /** Show the first tasks before the feed has delivered all. */
  async #preview() {
    const query = { sort: "order", limit: PREVIEW_SIZE };
    const { tasks } = await this.#api
      .listTasks(query, { signal: this.#stopped.signal })
      .catch(() => ({ tasks: [] }));
    if (!this.#store.isComplete && !this.#since) this.#store.putTasks(...tasks);
  }

  /** Follow the feed while this tab is the leader and visible. */
  async #listen(signal) {
    while (!document.hidden) {
      await this.#connection.waitUntilUp(signal);
      await this.#copying; // Avoids reading changes twice.
      const interrupted = AbortSignal.any([signal, this.#connection.outageSignal]);
      try {
        for await (const page of this.#changes({ wait: LONG_POLL_SECONDS }, interrupted)) {
          this.#follow(page);
          this.#channel.postMessage(page.changes.length ? "changed" : "here");
          if (document.hidden) return;
        }
      } catch (error) {
        signal.throwIfAborted();
        if (!isOutage(error, interrupted)) throw error;
      }
    }
  }

  /** Read all present changes, after the reading in progress. */
  #catchUp() {
    const signal = AbortSignal.any([this.#stopped.signal, this.#connection.outageSignal]);
    this.#copying = this.#copying.then(() => ignoreOutage(this.#copy(signal), signal));
  }

  async #copy(signal) {
    for await (const page of this.#changes({}, signal)) this.#follow(page);
    if (this.#outbox.reload()) this.#store.showWrites();
  }

  #changes(query, signal) {
    return this.#api.changes({ since: this.#since, limit: FEED_PAGE_SIZE, ...query }, { signal });
  }

  #follow(page) {
    this.#store.follow(page, this.#since === undefined);
    this.#since = page.next;
  }

  /** Send pending writes whenever the service is reachable. */
  async #send(signal) {
    for (;;) {
      await this.#connection.waitUntilUp(signal);
      // One tab sends at a time, which keeps the order of the writes.
      const pause = await withLock(`${this.#name}.outbox`, signal, () => this.#sendAll(signal));
      this.isStuck = pause > 0;
      this.dispatchEvent(new Event("stuck"));
      await waitFor(signal, (resolve) => {
        this.#wake = resolve;
        if (pause) setTimeout(resolve, pause);
        else if (this.#outbox.next) resolve();
      });
    }
  }

  /** Send all pending writes; return the pause in ms before a retry, or 0. */
  async #sendAll(signal) {
    if (this.#outbox.reload()) this.#store.showWrites();
    for (let write = this.#outbox.next; write; write = this.#outbox.next) {
      const tries = (write.tries ?? 0) + 1;
      this.#outbox.change(write.key, { tries });
      const interrupted = AbortSignal.any([signal, this.#connection.outageSignal]);
      try {
        this.#complete(write, await send(this.#api, write, interrupted));
      } catch (error) {
        signal.throwIfAborted();
        if (error.status === 401) throw error;
        if (isOutage(error, interrupted)) return RETRY_PAUSE_MS;
        if (error.status >= 500 && tries < MAX_ATTEMPTS) return RETRY_PAUSE_MS * tries;
        this.#handleFailure(write, error);
      }
      this.#channel.postMessage("changed");
    }
    return 0;
  }

  #handleFailure(write, error) {
    const outcome = classifyRefusal(write, error);
    if (outcome.done) this.#complete(write, outcome.done);
    else if (outcome.again) this.#outbox.change(write.key, outcome.again);
    else if (outcome.conflict) {
      const later = this.#outbox.of(write.id).filter((other) => hasSameFields(other, write));
      const { changes } = later.at(-1) ?? write;
      for (const { key } of later) if (key !== write.key) this.#outbox.remove(key);
      this.#outbox.change(write.key, { changes, conflict: outcome.conflict });
      this.#store.putTasks(outcome.conflict);
      this.#store.show(write.id);
      this.#dispatch("conflict", write, error);
    } else {
      this.#refuse(write, error);
    }
  }

  #complete(write, { tasks = [], isGone = false }) {
    this.#outbox.remove(write.key);
    this.#store.putTasks(...tasks);
    if (isGone) this.#store.drop(write.id);
    // Later edits of the same task are now based on the new version.
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
    // Later writes of a task that was not created cannot succeed.
    if (write.kind === "create") {
      for (const later of this.#outbox.of(write.id)) this.#outbox.remove(later.key);
    }
    if (error.status === 404) this.#store.drop(write.id);
    this.#store.show(write.id);
    this.#dispatch("refused", write, error);
  }

  #dispatch(type, write, error) {
    this.dispatchEvent(new CustomEvent(type, { detail: { write, error } }));
  }

  #onMessage(message) {
    this.#election.noteLeader();
    if (message === "changed") this.#catchUp();
  }

  #onStorage(event) {
    if (!this.#outbox.concerns(event)) return;
    // Another tab sent the write. The list keeps it until the new version is read, or the old one
    // would flash up.
    if (event.newValue === null) {
      this.#catchUp();
    } else {
      if (this.#outbox.reload()) this.#store.showWrites();
      // The tab that added the write sends it, unless it is closed first.
      setTimeout(() => this.#wake(), TAKEOVER_DELAY_MS);
    }
  }
}

/** Run `work` in one tab at a time. */
function withLock(name, signal, work) {
  return locks ? locks.request(name, { signal }, work) : work();
}

/** Await `work`, ignoring aborts, outages and the end of the session, which have own events. */
async function ignoreOutage(work, signal) {
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
    error.code === "idempotency_key_in_use" // A previous attempt is still in progress.
  );
}
