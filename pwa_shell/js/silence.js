/**
 * Notices that something which is waited for says nothing. A timer that comes late means that this page slept, or its thread
 * was busy, and what it waits for may not have had its time either: then the wait begins again.
 */
const LATE_MS = 1000;

export class Silence {
  #most; #tell; #waiting = 0; #timer = null;

  /** `tell()` is called after `most` ms in which something is waited for and nothing is heard. */
  constructor(most, tell) {
    this.#most = most;
    this.#tell = tell;
  }

  /** One thing more is waited for. */
  begin() {
    if (this.#waiting++ === 0) this.#arm();
  }

  /** It came, or is not waited for any longer. */
  end() {
    this.#waiting -= 1;
    this.heard();
  }

  /** Whatever was heard: the time begins anew. */
  heard() {
    clearTimeout(this.#timer);
    if (this.#waiting > 0) this.#arm();
  }

  #arm() {
    const due = performance.now() + this.#most;
    this.#timer = setTimeout(() => (performance.now() > due + LATE_MS ? this.#arm() : this.#tell()), this.#most);
  }
}

/** `promise`, or a rejection with `error()` once it has been silent for `most` ms. */
export function answered(promise, most, error) {
  return new Promise((resolve, reject) => {
    const silence = new Silence(most, () => reject(error()));
    silence.begin();
    promise.then(resolve, reject).finally(() => silence.end());
  });
}

/** Asks a worker now and then whether its thread still runs, as long as it owes something. */
export class Pulse {
  #timer; #silence; #asked = false;

  /** Every `askMs` while `owes()`; `hung()` once `silentMs` went by after a question without any message. */
  constructor(worker, { askMs, silentMs }, owes, hung) {
    this.#silence = new Silence(silentMs, hung);
    this.#timer = setInterval(() => {
      if (this.#asked || !owes()) return;
      this.#asked = true;
      this.#silence.begin();
      worker.postMessage({ ping: 1 });
    }, askMs);
  }

  /** Any message came. */
  heard() {
    if (this.#asked) this.#silence.end();
    this.#asked = false;
  }

  stop() {
    clearInterval(this.#timer);
    this.heard();
  }
}
