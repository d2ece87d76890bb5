/** Progress of one model's transfer: counted exactly, told at most every `EVERY_MS`, and told as it is when nothing more comes. */
const EVERY_MS = 125;
const SPAN_MS = 4000; // what the rate is an average of

export class Progress {
  #tell; #stage = null; #told = -Infinity; #marks = []; #fetched = 0; #state; #later = null;

  /** `tell({id, stage, bytes_done, bytes_total, rate, eta_s, fetched})`; stage is one of "download", "verify", "import". */
  constructor(id, tell) {
    this.#tell = tell;
    this.#state = { id, stage: null, bytes_done: 0, bytes_total: 0, rate: 0, eta_s: null, fetched: 0 };
  }

  get last() {
    return this.#state;
  }

  /** Bytes that came over the wire, verified or not: they make the rate. */
  fetched(count) {
    this.#fetched += count;
    const now = performance.now(); // monotonic: the wall clock may jump
    if (now - (this.#marks.at(-1)?.at ?? -Infinity) > 50) this.#marks.push({ at: now, bytes: this.#fetched });
    while (this.#marks.length > 2 && now - this.#marks[0].at > SPAN_MS) this.#marks.shift();
    if (this.#stage) this.at(this.#stage, this.#state.bytes_done, this.#state.bytes_total, false);
  }

  /** `done` of `total` bytes of `stage` are safe. The first, the last and each new stage are always told. */
  at(stage, done, total, moved = true) {
    const now = performance.now();
    const fresh = stage !== this.#stage;
    if (fresh && this.#stage !== null) this.#marks = [];
    this.#stage = stage;
    const rate = this.#rate(now);
    const eta_s = rate > 0 && total ? Math.max(0, total - done) / rate : null;
    this.#state = { ...this.#state, stage, bytes_done: done, bytes_total: total ?? 0, rate, eta_s, fetched: this.#fetched };
    const rest = this.#told + EVERY_MS - now;
    if (fresh || (moved && done === total) || rest <= 0) this.#say();
    else this.#later ??= setTimeout(() => this.#say(), rest);
  }

  /** Nothing is told from now on. */
  end() {
    clearTimeout(this.#later);
    this.#tell = () => {};
  }

  #say() {
    clearTimeout(this.#later);
    this.#later = null;
    this.#told = performance.now();
    this.#tell(this.#state);
  }

  #rate(now) {
    const first = this.#marks[0];
    return first && now - first.at > 100 ? ((this.#fetched - first.bytes) / (now - first.at)) * 1000 : 0;
  }
}
