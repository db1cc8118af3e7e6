// The change feed: what a copy on this device has missed.

import { sleep } from "./transport.js";

/**
 * Yield the answers of the feed one after the other: with `wait` for ever, through outages;
 * without it until there is nothing more.
 */
export async function* followChanges(read, { since, wait, limit }, options = {}) {
  const forEver = wait !== undefined;
  const patience = forEver ? { retries: Infinity } : {};
  // An answer may take that much longer than another.
  if (forEver && options.timeout !== 0) patience.timeout = 1000 * wait + (options.timeout ?? 30_000);
  let reset = false;
  let hasMore = true;
  while (hasMore || forEver) {
    const query = { since, limit, wait: hasMore ? undefined : wait };
    let answer;
    try {
      answer = await read(query, { ...options, ...patience });
    } catch (error) {
      if (error.code !== "sync_reset") throw error;
      since = undefined;
      reset = true;
      hasMore = true;
      continue;
    }
    ({ next: since, has_more: hasMore } = answer.data);
    yield { ...answer.data, reset };
    reset = false;
    // There was no room to wait there, so the time is spent here.
    const pause = Number(answer.headers.get("Retry-After"));
    if (forEver && pause) await sleep(1000 * pause, options.signal);
  }
}
