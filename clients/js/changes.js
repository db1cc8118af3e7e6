// The change feed: what a copy on this device has missed.

import { isOutage, pauseAfter } from "./transport.js";
import { sleep } from "./waiting.js";

/**
 * Yield the answers of the feed one after the other: with `wait` for ever, through outages;
 * without it until there is nothing more.
 */
export async function* followChanges(read, { since, wait, limit }, options) {
  const { timeout = 30_000 } = options;
  const forEver = wait > 0;
  let reset = false;
  let hasMore = true;
  let failures = 0;
  while (hasMore || forEver) {
    const query = { since, limit, wait: hasMore ? undefined : wait };
    // An answer that is waited for may take so much longer.
    const patience = timeout && query.wait ? timeout + 1000 * wait : timeout;
    let answer;
    try {
      answer = await read(query, { ...options, timeout: patience });
    } catch (error) {
      if (error.code === "sync_reset") {
        since = undefined;
        reset = true;
        hasMore = true;
      } else if (forEver && isOutage(error)) {
        // Also while the session is refreshed, which has its own, shorter patience.
        await pauseAfter(error, failures, options.signal);
        failures += 1;
      } else {
        throw error;
      }
      continue;
    }
    failures = 0;
    ({ next: since, has_more: hasMore } = answer.data);
    yield { ...answer.data, reset };
    reset = false;
    // There was no room to wait there, so the time is spent here.
    const pause = Number(answer.headers.get("Retry-After"));
    if (forEver && pause) await sleep(1000 * pause, options.signal);
  }
}
