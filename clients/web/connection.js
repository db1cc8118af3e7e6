// Whether the service answers. Every request that the page makes says something about it; while
// it does not answer, it is asked again and again whether it is back.

import { until } from "./waiting.js";

const AWAY = new Set([502, 503, 504]);
const FIRST_PAUSE = 500; // milliseconds
const LONGEST_PAUSE = 5000;

/** Tells `up` and `down`. */
export class Connection extends EventTarget {
  isUp = true;
  #health;
  #cut = new AbortController();
  #wake = () => {};

  constructor(baseUrl) {
    super();
    this.#health = `${baseUrl}/health`;
    addEventListener("offline", () => this.#lose());
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
  }

  /** Aborted as soon as the service is away: nobody has to wait for their own time-out. */
  get cut() {
    return this.#cut.signal;
  }

  /** As the browser's, for whoever makes requests. */
  fetch = async (...request) => {
    let response;
    try {
      response = await fetch(...request);
    } catch (error) {
      if (error.name !== "AbortError") this.#lose();
      throw error;
    }
    if (AWAY.has(response.status)) this.#lose();
    else this.#find();
    return response;
  };

  /** Wait until the service answers; rejects as soon as `signal` is aborted. */
  async whenUp(signal) {
    signal.throwIfAborted();
    if (this.isUp) return;
    await until(signal, (resolve) => this.addEventListener("up", resolve, { once: true }));
  }

  #lose() {
    if (!this.isUp) return;
    this.isUp = false;
    this.#cut.abort(new DOMException("The service is away.", "NetworkError"));
    this.dispatchEvent(new Event("down"));
    this.#seek();
  }

  #find() {
    if (this.isUp) return;
    this.isUp = true;
    this.#cut = new AbortController();
    this.#wake();
    this.dispatchEvent(new Event("up"));
  }

  async #seek() {
    for (let pause = FIRST_PAUSE; !this.isUp; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, pause * (1 + Math.random() / 4));
      });
      if (this.isUp) return;
      // What it answers, `fetch` hears.
      await this.fetch(this.#health, { cache: "no-store" }).catch(() => {});
    }
  }
}
