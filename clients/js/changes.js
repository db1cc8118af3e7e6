// Follow the change feed, to keep a local copy up to date.

import { isOutage, waitBeforeRetry } from "./transport.js";
import { sleep } from "./abort.js";

/**
 * Yield the pages of the feed in order: with `wait` endlessly and through outages, without it until
 * there are no further changes.
 */
export async function* followChanges(read, { since, wait, limit }, options) {
  const { timeout = 30_000 } = options;
  const isEndless = wait > 0;
  let reset = false;
  let hasMore = true;
  let failures = 0;
  while (hasMore || isEndless) {
    const query = { since, limit, wait: hasMore ? undefined : wait };
    // A long poll takes up to `wait` seconds longer.
    const requestTimeout = timeout && query.wait ? timeout + 1000 * wait : timeout;
    let response;
    try {
      response = await read(query, { ...options, timeout: requestTimeout });
    } catch (error) {
      if (error.code === "sync_reset") {
        since = undefined;
        reset = true;
        hasMore = true;
      } else if (isEndless && isOutage(error)) {
        // This also covers an outage during a token refresh, which gives up earlier.
        await waitBeforeRetry(error, failures, options.signal);
        failures += 1;
      } else {
        throw error;
      }
      continue;
    }
    failures = 0;
    ({ next: since, has_more: hasMore } = response.data);
    yield { ...response.data, reset };
    reset = false;
    // The service had no slot for a long poll, so the client waits instead.
    const pause = Number(response.headers.get("Retry-After"));
    if (isEndless && pause) await sleep(1000 * pause, options.signal);
  }
}
