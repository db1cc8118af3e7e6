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
