// Elect one of the user's visible tabs to follow the change feed and notify the others, because
// each long poll holds a thread of the service.

import { locks } from "./platform.js";

const LEADER_SILENCE_MS = 60_000; // Another tab takes over from a leader silent for longer.
const CHECK_INTERVAL_MS = 10_000;

export class LeaderElection {
  #name;
  #work;
  #lastHeardAt = Date.now();
  #isRunning = false;
  #stopped = new AbortController();

  /** Run `work(signal)` while this tab is the leader; its end gives up the leadership. */
  constructor(name, work) {
    this.#name = name;
    this.#work = work;
    const { signal } = this.#stopped;
    document.addEventListener("visibilitychange", () => this.#run(), { signal });
    this.#run();
  }

  /** Record a sign of life of the leader. */
  noteLeader() {
    this.#lastHeardAt = Date.now();
  }

  stop() {
    this.#stopped.abort();
  }

  async #run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (!document.hidden && !this.#stopped.signal.aborted) {
      // Without locks each tab follows the feed itself.
      if (locks) await this.#acquireLock();
      else await this.#work(this.#stopped.signal);
    }
    this.#isRunning = false;
  }

  async #acquireLock() {
    const attempt = new AbortController();
    const { signal } = this.#stopped;
    const check = () => {
      // A tab that the browser has suspended keeps its lock.
      const isSilent = Date.now() - this.#lastHeardAt > LEADER_SILENCE_MS;
      if (document.hidden || signal.aborted || isSilent) attempt.abort();
    };
    this.noteLeader();
    const timer = setInterval(check, CHECK_INTERVAL_MS);
    signal.addEventListener("abort", check);
    try {
      await this.#requestLock({ signal: attempt.signal }, () => clearInterval(timer));
      if (attempt.signal.aborted && !document.hidden && !signal.aborted) {
        await this.#requestLock({ steal: true });
      }
    } finally {
      clearInterval(timer);
      signal.removeEventListener("abort", check);
    }
  }

  async #requestLock(options, onAcquired) {
    const lost = new AbortController();
    try {
      await locks.request(this.#name, options, () => {
        onAcquired?.();
        return this.#work(AbortSignal.any([this.#stopped.signal, lost.signal]));
      });
    } catch (error) {
      if (error.name !== "AbortError") throw error; // The attempt was aborted, or the lock stolen.
    } finally {
      lost.abort();
    }
  }
}
