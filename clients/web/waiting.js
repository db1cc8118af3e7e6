/** What all tabs share; a page without TLS has none, nor has one that may store nothing. */
export const locks = mayStore() ? navigator.locks : undefined;

/** Wait until `start(resolve)` resolves; reject as soon as `signal` is aborted. */
export function until(signal, start) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    start(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
  });
}

function mayStore() {
  try {
    return Boolean(localStorage);
  } catch {
    return false;
  }
}
