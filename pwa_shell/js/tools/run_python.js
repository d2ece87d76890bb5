/**
 * Python for a model: a worker of its own for each run, ended with it. The worker has no network
 * and none of the app's storage (python_worker.js).
 */

const BOOT_MS = 60_000;
const RUN_MS = 10_000;
const URL_OF_WORKER = new URL("../../python_worker.js", import.meta.url);

/** Longer than a run may take, its start included. */
export const LIMIT_MS = BOOT_MS + RUN_MS + 5000;

/**
 * @param {string} code
 * @param {{signal?: AbortSignal, runMs?: number}} [options]
 * @returns {Promise<string>} what it printed, and its last value. Rejects with an Error that has
 *   Python's own text, or at the time limit.
 */
export function runPython(code, { signal, runMs = RUN_MS } = {}) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const worker = new Worker(URL_OF_WORKER, { type: "module", name: "jird-python" });
    let timer;
    const end = (settle, value) => {
      clearTimeout(timer);
      worker.terminate();
      signal?.removeEventListener("abort", abort);
      settle(value);
    };
    const abort = () => end(reject, signal.reason);
    const limit = (ms, what) => {
      clearTimeout(timer);
      const late = `${what} took longer than ${ms / 1000} s`;
      timer = setTimeout(() => end(reject, new Error(late)), ms);
    };
    signal?.addEventListener("abort", abort, { once: true });
    worker.onerror = (event) => {
      event.preventDefault(); // the model and the person hear of it
      end(reject, new Error(event.message || "Python could not start"));
    };
    worker.onmessage = ({ data }) => {
      if (data?.kind === "running") limit(runMs, "the program");
      else if (data?.kind === "result") end(resolve, String(data.text));
      else end(reject, new Error(String(data?.text)));
    };
    limit(BOOT_MS, "starting Python");
    worker.postMessage({ code: String(code) });
  });
}
