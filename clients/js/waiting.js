// Waiting that can be given up.

const callbacks = new WeakMap();

/**
 * Call back when `signal` is aborted, until the function that is returned is called. However many
 * wait, the signal has one listener: Node warns of more than ten.
 */
export function onAbort(signal, callback) {
  if (!signal) return () => {};
  let waiting = callbacks.get(signal);
  if (!waiting) {
    waiting = new Set();
    callbacks.set(signal, waiting);
    signal.addEventListener("abort", () => waiting.forEach((call) => call()), { once: true });
  }
  waiting.add(callback);
  return () => waiting.delete(callback);
}

/** What `promise` comes to, or a rejection as soon as `signal` is aborted. */
export async function abortable(promise, signal) {
  if (!signal) return promise;
  promise.catch(() => {}); // Where it is not waited for any more, its failure is nobody's.
  signal.throwIfAborted();
  let forget;
  const aborted = new Promise((_, reject) => {
    forget = onAbort(signal, () => reject(signal.reason));
  });
  return Promise.race([promise, aborted]).finally(forget);
}

/**
 * Wait, and up to a quarter longer, so that not all come back at the same moment; reject as soon
 * as `signal` is aborted. An event of the page may end it.
 */
export async function sleep(milliseconds, signal, event) {
  const spread = milliseconds * (1 + Math.random() / 4);
  let timer;
  let wake;
  const slept = new Promise((resolve) => {
    wake = resolve;
    timer = setTimeout(wake, spread);
    if (event) globalThis.addEventListener?.(event, wake);
  });
  try {
    await abortable(slept, signal);
  } finally {
    clearTimeout(timer);
    if (event) globalThis.removeEventListener?.(event, wake);
  }
}
