/** localStorage, or undefined if the browser denies it. */
export const storage = findStorage();

/** The Web Locks that all tabs share; undefined without TLS or without storage. */
export const locks = storage && navigator.locks;

/** Wait until `start(resolve)` resolves; reject as soon as `signal` is aborted. */
export function waitFor(signal, start) {
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

function findStorage() {
  try {
    return localStorage;
  } catch {
    return undefined; // Reading the property throws if storage is denied.
  }
}
