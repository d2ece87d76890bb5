/**
 * Work that can wait, done in slices: each job is a generator that yields wherever it may be
 * interrupted. A slice stops at its budget, so no job can hold the main thread, whatever its size.
 */
const SLICE_MS = 8;

const whenIdle = globalThis.requestIdleCallback
  ? (fn) => requestIdleCallback(fn, { timeout: 300 })
  : (fn) => setTimeout(fn, 16); // Safari has no idle callback; a frame later is near enough

export class IdleQueue {
  /** @type {Generator[]} */
  #jobs = [];
  #scheduled = false;

  /** @param {Generator} job @param {{front?: boolean}} [options] */
  add(job, { front = false } = {}) {
    if (front) this.#jobs.unshift(job);
    else this.#jobs.push(job);
    this.#schedule();
  }

  /** Drop everything that has not run yet. */
  clear() {
    this.#jobs = [];
  }

  get size() {
    return this.#jobs.length;
  }

  #schedule() {
    if (this.#scheduled || !this.#jobs.length) return;
    this.#scheduled = true;
    whenIdle(() => {
      this.#scheduled = false;
      this.slice();
      this.#schedule();
    });
  }

  /** Do one slice now, for what should be there in this frame already. */
  slice() {
    const end = performance.now() + SLICE_MS;
    while (this.#jobs.length && performance.now() < end) {
      const job = this.#jobs[0];
      if (job.next().done) this.#jobs = this.#jobs.filter((other) => other !== job);
    }
  }
}
