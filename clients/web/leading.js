// Of all visible tabs of a user one leads: it alone waits for changes, since whoever waits
// occupies the service, and tells the others.

import { locks } from "./waiting.js";

const QUIET = 60_000; // milliseconds without a word of the leader, until another one takes over
const LOOK = 10_000;

export class Leading {
  #name;
  #work;
  #heard = Date.now();
  #isAsking = false;
  #stopped = new AbortController();

  /** `work(signal)` is done as long as this tab leads; it gives the lead up where it ends. */
  constructor(name, work) {
    this.#name = name;
    this.#work = work;
    const { signal } = this.#stopped;
    document.addEventListener("visibilitychange", () => this.#ask(), { signal });
    this.#ask();
  }

  /** The leader has said something. */
  hear() {
    this.#heard = Date.now();
  }

  stop() {
    this.#stopped.abort();
  }

  async #ask() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    while (!document.hidden && !this.#stopped.signal.aborted) {
      // Where there are no locks each tab leads itself.
      if (locks) await this.#waitForLead();
      else await this.#work(this.#stopped.signal);
    }
    this.#isAsking = false;
  }

  async #waitForLead() {
    const waiting = new AbortController();
    const { signal } = this.#stopped;
    const look = () => {
      // A leader that was put to sleep by its browser does not give the lead up.
      if (document.hidden || signal.aborted || Date.now() - this.#heard > QUIET) waiting.abort();
    };
    this.hear();
    const timer = setInterval(look, LOOK);
    signal.addEventListener("abort", look);
    try {
      await this.#lead({ signal: waiting.signal }, () => clearInterval(timer));
      if (waiting.signal.aborted && !document.hidden && !signal.aborted) {
        await this.#lead({ steal: true });
      }
    } finally {
      clearInterval(timer);
      signal.removeEventListener("abort", look);
    }
  }

  async #lead(options, onLead) {
    const lost = new AbortController();
    try {
      await locks.request(this.#name, options, () => {
        onLead?.();
        return this.#work(AbortSignal.any([this.#stopped.signal, lost.signal]));
      });
    } catch (error) {
      if (error.name !== "AbortError") throw error; // Not waited for any more, or stolen.
    } finally {
      lost.abort();
    }
  }
}
