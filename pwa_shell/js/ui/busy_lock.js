/**
 * Keeps one tab from changing the app under another: a tab that answers or loads a model holds a
 * shared Web Lock, and whoever reloads the app takes it alone.
 */
const RETRY_MS = 400;

export class BusyLock {
  #name;
  #release = null;

  /** @param {string} name the same in all tabs of the app */
  constructor(name) {
    this.#name = name;
  }

  /** @param {boolean} busy whether this tab must not be disturbed now */
  set(busy) {
    if (busy === Boolean(this.#release)) return;
    if (busy) {
      const held = new Promise((resolve) => (this.#release = resolve));
      navigator.locks.request(this.#name, { mode: "shared" }, () => held);
    } else {
      this.#release();
      this.#release = null;
    }
  }

  /**
   * Run when no tab is busy. It asks again and again rather than queue: a queued request would hold
   * up those of tabs that get busy meanwhile, so that they would look idle.
   * @param {() => any} run holds the lock until it settles
   * @param {() => void} [onWait] called once if it cannot run at once
   */
  async alone(run, onWait) {
    const attempt = async (lock) => Boolean(lock && !this.#release && (await run(), true));
    while (!(await navigator.locks.request(this.#name, { ifAvailable: true }, attempt))) {
      onWait?.();
      onWait = undefined;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
