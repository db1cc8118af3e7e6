// Promises and pauses that an AbortSignal ends.

const callbacks = new WeakMap();

/**
 * Call `callback` when `signal` is aborted; return a function that removes the callback. All
 * callbacks share one listener, because Node warns about more than ten.
 */
export function onAbort(signal, callback) {
  if (!signal) return () => {};
  let registered = callbacks.get(signal);
  if (!registered) {
    registered = new Set();
    callbacks.set(signal, registered);
    signal.addEventListener("abort", () => registered.forEach((call) => call()), { once: true });
  }
  registered.add(callback);
  return () => registered.delete(callback);
}

/** Resolve to the result of `promise`, or reject as soon as `signal` is aborted. */
export async function abortable(promise, signal) {
  if (!signal) return promise;
  promise.catch(() => {}); // A rejection after the abort must not count as unhandled.
  signal.throwIfAborted();
  let removeCallback;
  const aborted = new Promise((_, reject) => {
    removeCallback = onAbort(signal, () => reject(signal.reason));
  });
  return Promise.race([promise, aborted]).finally(removeCallback);
}

/**
 * Wait for `milliseconds` plus up to 25 % jitter, so that clients do not retry in step. Reject as
 * soon as `signal` is aborted; resolve early at `event` of the global object.
 */
export async function sleep(milliseconds, signal, event) {
  const delay = milliseconds * (1 + Math.random() / 4);
  let timer;
  let wake;
  const elapsed = new Promise((resolve) => {
    wake = resolve;
    timer = setTimeout(wake, delay);
    if (event) globalThis.addEventListener?.(event, wake);
  });
  try {
    await abortable(elapsed, signal);
  } finally {
    clearTimeout(timer);
    if (event) globalThis.removeEventListener?.(event, wake);
  }
}
