/** Answers that come piece by piece, and signals that follow several others. */

/**
 * The chunks of the request that `send(onEvent, signal)` begins, as a stream; a refused request
 * rejects here rather than in the loop.
 *
 * @param {(onEvent: Function, signal: AbortSignal) => Promise<any>} send
 * @param {AbortSignal} [signal]
 * @param {object} [options]
 * @param {(data: any) => any} [options.take] a chunk's data -> what is yielded, undefined for nothing
 * @param {(name: string, data: any) => void} [options.onOther] hears of the other events
 * @param {boolean} [options.abrupt] after an abort nothing is yielded, not even what has come
 */
export async function streamOf(send, signal, { take = (data) => data, onOther, abrupt = false } = {}) {
  const over = () => signal?.aborted || stream.controller.signal.aborted;
  const stream = new Stream(() => abrupt && over());
  const linked = anySignal([stream.controller.signal, signal]);
  const onEvent = (name, data) => (name === "chunk" ? stream.push(take(data)) : onOther?.(name, data));
  linked.signal.addEventListener("abort", () => stream.end());
  send(onEvent, linked.signal)
    .then(() => stream.end(), (error) => stream.end(linked.signal.aborted ? null : error))
    .finally(linked.release);
  await stream.started;
  return stream;
}

/** To be read once. Leaving the loop, or `controller.abort()`, cancels the request. */
class Stream {
  controller = new AbortController();
  #pieces = []; #ended = false; #error = null; #wake = null; #dropped;
  #start = withResolvers();

  constructor(dropped) {
    this.#dropped = dropped;
  }

  get started() {
    return this.#start.promise;
  }

  push(piece) {
    if (this.#ended || piece === undefined) return;
    this.#pieces.push(piece);
    this.#start.resolve();
    this.#wake?.();
  }

  end(error = null) {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    if (error) this.#start.reject(error);
    else this.#start.resolve();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        while (this.#pieces.length && !this.#dropped()) yield this.#pieces.shift();
        if (this.#ended) break;
        await new Promise((resolve) => (this.#wake = resolve));
        this.#wake = null;
      }
      if (this.#error) throw this.#error;
    } finally {
      this.controller.abort(); // does nothing after the end
    }
  }
}

function withResolvers() {
  let resolve, reject;
  const promise = new Promise((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
}

/** A signal that follows any of `signals`; `release` takes the listeners off again. */
export function anySignal(signals) {
  const controller = new AbortController();
  const given = signals.filter(Boolean);
  const abort = ({ target }) => controller.abort(target.reason);
  for (const signal of given) {
    if (signal.aborted) controller.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  }
  const release = () => given.forEach((signal) => signal.removeEventListener("abort", abort));
  return { signal: controller.signal, release };
}
