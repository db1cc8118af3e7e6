// Send requests, with timeouts and retries.

import { NetworkError, ProblemError } from "./errors.js";
import { onAbort, sleep } from "./abort.js";

const MAX_RETRY_AFTER_SECONDS = 60; // A longer `Retry-After` fails at once.
const INITIAL_BACKOFF_MS = 400; // Doubled with each attempt.
const MAX_BACKOFF_MS = 10_000;
const RETRYABLE_METHODS = new Set(["GET", "PUT", "PATCH", "DELETE"]);
// Statuses of the service or of a proxy during an outage; the request may have been executed.
const OUTAGE_STATUSES = new Set([502, 503, 504]);

export class Transport {
  base;
  #fetch;
  #retries;
  #timeout;

  constructor({ baseUrl = "", fetch, retries = 3, timeout = 30_000 }) {
    if (!URL.canParse(baseUrl, globalThis.location?.href)) {
      throw new TypeError('Pass the URL of the service: new TaskApi({ baseUrl: "https://…" }).');
    }
    this.base = String(baseUrl).replace(/\/+$/, "");
    // Looked up at each call, so that a later replacement of the global takes effect.
    this.#fetch = fetch ?? ((...args) => globalThis.fetch(...args));
    this.#retries = retries;
    this.#timeout = timeout;
  }

  /**
   * Send a request, with retries; return `{data, headers}`.
   *
   * If a response was lost, the request may have been executed, and its retry can be refused for
   * that reason. `request.recover(problem, mayBeDone)` then may return the result of the request.
   */
  async send(request, { signal, retries = this.#retries, timeout = this.#timeout } = {}) {
    const key = request.headers?.["Idempotency-Key"];
    const isIdempotent = key !== undefined || RETRYABLE_METHODS.has(request.method);
    for (let attempt = 0; ; attempt += 1) {
      let failure;
      try {
        return await this.#try(request, signal, timeout);
      } catch (error) {
        signal?.throwIfAborted();
        failure = error;
      }
      const result = failure.problem && request.recover?.(failure.problem, request.mayBeDone);
      if (result) return result;
      const isTooLong = failure.retryAfter > MAX_RETRY_AFTER_SECONDS;
      if (attempt >= retries || isTooLong || !isRetryable(failure, isIdempotent)) throw failure;
      request.mayBeDone ||= failure.status !== 429;
      await waitBeforeRetry(failure, attempt, signal);
    }
  }

  async #try(request, signal, timeout) {
    const { method, path, query, headers, body, credentials, keepalive, read = readJson } = request;
    signal?.throwIfAborted();
    const url = this.base + path + formatQuery(query);
    const controller = new AbortController();
    const init = { method, headers: new Headers(headers), body, credentials, keepalive };
    const abortOnTimeout = () => {
      controller.abort(new DOMException("The request timed out.", "TimeoutError"));
    };
    const timer = timeout ? setTimeout(abortOnTimeout, timeout) : undefined;
    const removeCallback = onAbort(signal, () => controller.abort(signal.reason));
    try {
      const response = await this.#fetch(url, { ...init, signal: controller.signal });
      if (!response.ok) throw await readProblem(response);
      return { data: await read(response), headers: response.headers };
    } catch (error) {
      throw error instanceof ProblemError ? error : new NetworkError(error);
    } finally {
      clearTimeout(timer);
      removeCallback();
    }
  }
}

/** Return whether the service is unreachable or busy, and the request itself is not at fault. */
export function isOutage(failure) {
  return isUnavailable(failure) || failure.status === 429;
}

function isUnavailable(failure) {
  return failure instanceof NetworkError || OUTAGE_STATUSES.has(failure.status);
}

function isRetryable(failure, isIdempotent) {
  if (isUnavailable(failure)) return isIdempotent;
  // A user at a login form must see the wait instead of a pending request.
  if (failure.status === 429) return failure.code !== "too_many_attempts";
  // The previous attempt, whose response was lost, is still in progress.
  return failure.code === "idempotency_key_in_use";
}

function formatQuery(query = {}) {
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  if (set.length === 0) return "";
  return `?${new URLSearchParams(
    set.map(([name, value]) => [name, value instanceof Date ? value.toISOString() : `${value}`]),
  )}`;
}

async function readJson(response) {
  const text = await response.text();
  return text ? JSON.parse(text) : undefined;
}

async function readProblem(response) {
  const problem = { ...makeFallbackProblem(response), ...parseProblem(await response.text()) };
  const retryAfter = response.headers.get("Retry-After");
  // The date form would depend on the device's clock.
  return new ProblemError(problem, {
    retryAfter: /^\d+$/.test(retryAfter) ? Number(retryAfter) : null,
  });
}

/** Make a problem for a response without a problem document, such as a proxy's. */
function makeFallbackProblem(response) {
  return {
    type: "about:blank",
    title: response.statusText,
    status: response.status,
    detail: `The request failed with status ${response.status}.`,
    code: `http_${response.status}`,
    request_id: response.headers.get("X-Request-ID"),
  };
}

function parseProblem(text) {
  try {
    const value = JSON.parse(text);
    return typeof value?.code === "string" ? value : {};
  } catch {
    return {};
  }
}

/**
 * Wait for the `Retry-After` of the failure; without one, use exponential backoff that ends early
 * when the device goes online.
 */
export function waitBeforeRetry(failure, attempt, signal) {
  if (failure.retryAfter) return sleep(1000 * failure.retryAfter, signal);
  return sleep(Math.min(INITIAL_BACKOFF_MS * 2 ** attempt, MAX_BACKOFF_MS), signal, "online");
}
