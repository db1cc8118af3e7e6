/** What outlives the page; there is none where a browser is told to store nothing. */
export const storage = permittedStorage();

/** What all tabs share; a page without TLS has none, nor has one that may store nothing. */
export const locks = storage && navigator.locks;

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

function permittedStorage() {
  try {
    return localStorage;
  } catch {
    return undefined; // Even to ask for it is forbidden.
  }
}
