// One request, tried as often as it makes sense.

import { NetworkError, ProblemError } from "./errors.js";
import { onAbort, sleep } from "./waiting.js";

const LONGEST_WAIT = 60; // seconds; whoever is to wait longer is told so
const FIRST_BACK_OFF = 400; // milliseconds, doubled each time
const LONGEST_BACK_OFF = 10_000;
const SAFE_TO_REPEAT = new Set(["GET", "PUT", "PATCH", "DELETE"]);
// What a service or a proxy before it says while something is away; it may have been done.
const AWAY = new Set([502, 503, 504]);

export class Transport {
  base;
  #fetch;
  #retries;
  #timeout;

  constructor({ baseUrl = "", fetch, retries = 3, timeout = 30_000 }) {
    if (!URL.canParse(baseUrl, globalThis.location?.href)) {
      throw new TypeError('Say where the service is: new TaskApi({ baseUrl: "https://…" }).');
    }
    this.base = String(baseUrl).replace(/\/+$/, "");
    // Looked up when it is called, so that what replaces it later is used.
    this.#fetch = fetch ?? ((...said) => globalThis.fetch(...said));
    this.#retries = retries;
    this.#timeout = timeout;
  }

  /**
   * Send a request until it is answered; return `{data, headers}`.
   *
   * Where an answer was lost, the request may have been done, and what is sent again is refused
   * for that. So `request.done` is asked what it makes of a refusal, and of whether the request
   * may have been done before: what it returns, if anything, is the answer.
   */
  async send(request, { signal, retries = this.#retries, timeout = this.#timeout } = {}) {
    const key = request.headers?.["Idempotency-Key"];
    const repeatable = key !== undefined || SAFE_TO_REPEAT.has(request.method);
    for (let attempt = 0; ; attempt += 1) {
      let failure;
      try {
        return await this.#try(request, signal, timeout);
      } catch (error) {
        signal?.throwIfAborted();
        failure = error;
      }
      const done = failure.problem && request.done?.(failure.problem, request.mayBeDone);
      if (done) return done;
      const isTooLong = failure.retryAfter > LONGEST_WAIT;
      if (attempt >= retries || isTooLong || !mayRepeat(failure, repeatable)) throw failure;
      request.mayBeDone ||= failure.status !== 429;
      await pauseAfter(failure, attempt, signal);
    }
  }

  async #try(request, signal, timeout) {
    const { method, path, query, headers, body, credentials, keepalive, read = readJson } = request;
    signal?.throwIfAborted();
    const url = this.base + path + written(query);
    const controller = new AbortController();
    const init = { method, headers: new Headers(headers), body, credentials, keepalive };
    const late = () => controller.abort(new DOMException("No answer in time.", "TimeoutError"));
    const timer = timeout ? setTimeout(late, timeout) : undefined;
    const forget = onAbort(signal, () => controller.abort(signal.reason));
    try {
      const response = await this.#fetch(url, { ...init, signal: controller.signal });
      if (!response.ok) throw await readProblem(response);
      return { data: await read(response), headers: response.headers };
    } catch (error) {
      throw error instanceof ProblemError ? error : new NetworkError(error);
    } finally {
      clearTimeout(timer);
      forget();
    }
  }
}

/** Whether it is the service that is away or busy, and not the request that is wrong. */
export function isOutage(failure) {
  return failure instanceof NetworkError || AWAY.has(failure.status) || failure.status === 429;
}

function mayRepeat(failure, repeatable) {
  if (failure instanceof NetworkError || AWAY.has(failure.status)) return repeatable;
  // Whoever types a password is to be told to wait, and not to be kept waiting.
  if (failure.status === 429) return failure.code !== "too_many_attempts";
  // The try before, whose answer was lost, is still being worked on.
  return failure.code === "idempotency_key_in_use";
}

function written(query = {}) {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  if (said.length === 0) return "";
  return `?${new URLSearchParams(
    said.map(([name, value]) => [name, value instanceof Date ? value.toISOString() : `${value}`]),
  )}`;
}

async function readJson(response) {
  const text = await response.text();
  return text ? JSON.parse(text) : undefined;
}

async function readProblem(response) {
  const problem = { ...general(response), ...parsed(await response.text()) };
  const retryAfter = response.headers.get("Retry-After");
  // As a date it would mean what this device's clock makes of it.
  return new ProblemError(problem, {
    retryAfter: /^\d+$/.test(retryAfter) ? Number(retryAfter) : null,
  });
}

/** What a proxy answers is no problem document of ours. */
function general(response) {
  return {
    type: "about:blank",
    title: response.statusText,
    status: response.status,
    detail: `The request was answered with the status ${response.status}.`,
    code: `http_${response.status}`,
    request_id: response.headers.get("X-Request-ID"),
  };
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value?.code === "string" ? value : {};
  } catch {
    return {};
  }
}

/**
 * Wait for as long as the service has said; otherwise longer each time, and at most until this
 * device is online again.
 */
export function pauseAfter(failure, attempt, signal) {
  if (failure.retryAfter) return sleep(1000 * failure.retryAfter, signal);
  return sleep(Math.min(FIRST_BACK_OFF * 2 ** attempt, LONGEST_BACK_OFF), signal, "online");
}
