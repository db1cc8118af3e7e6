// Track whether the service is reachable, by the result of every request of the page. During an
// outage, poll /health.

import { waitFor } from "./platform.js";

const OUTAGE_STATUSES = new Set([502, 503, 504]);
const INITIAL_PAUSE_MS = 500;
const MAX_PAUSE_MS = 5000;

/** Dispatches `up` and `down`. */
export class Connection extends EventTarget {
  isUp = true;
  #healthUrl;
  #outage = new AbortController();
  #wake = () => {};

  constructor(baseUrl) {
    super();
    this.#healthUrl = `${baseUrl}/health`;
    addEventListener("offline", () => this.#markDown());
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
  }

  /** A signal aborted at the start of an outage, so that no request waits for its timeout. */
  get outageSignal() {
    return this.#outage.signal;
  }

  /** `fetch` that tracks the results. */
  fetch = async (...request) => {
    let response;
    try {
      response = await fetch(...request);
    } catch (error) {
      if (error.name !== "AbortError") this.#markDown();
      throw error;
    }
    if (OUTAGE_STATUSES.has(response.status)) this.#markDown();
    else this.#markUp();
    return response;
  };

  /** Wait until the service is reachable; reject as soon as `signal` is aborted. */
  async waitUntilUp(signal) {
    signal.throwIfAborted();
    if (this.isUp) return;
    await waitFor(signal, (resolve) => this.addEventListener("up", resolve, { once: true }));
  }

  #markDown() {
    if (!this.isUp) return;
    this.isUp = false;
    this.#outage.abort(new DOMException("The service is unreachable.", "NetworkError"));
    this.dispatchEvent(new Event("down"));
    this.#poll();
  }

  #markUp() {
    if (this.isUp) return;
    this.isUp = true;
    this.#outage = new AbortController();
    this.#wake();
    this.dispatchEvent(new Event("up"));
  }

  async #poll() {
    for (let pause = INITIAL_PAUSE_MS; !this.isUp; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, pause * (1 + Math.random() / 4));
      });
      if (this.isUp) return;
      // `fetch` evaluates the response.
      await this.fetch(this.#healthUrl, { cache: "no-store" }).catch(() => {});
    }
  }
}
