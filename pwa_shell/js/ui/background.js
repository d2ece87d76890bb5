/**
 * What the page does with the device around it: the screen stays on while the model loads or
 * answers, and a page that nobody looks at for a while gives the model's memory back.
 */

/** How long a hidden page keeps its model, in ms. */
const REST_AFTER = 10 * 60e3;
const APP = new URL("../../", import.meta.url).pathname;

/** Holds the screen on; the browser lets go of it whenever the page is hidden. */
class WakeLock {
  #wanted = false;
  /** @type {Promise<any>|null} */
  #held = null;

  constructor() {
    document.addEventListener("visibilitychange", () => this.#follow());
  }

  /** @param {boolean} wanted */
  set(wanted) {
    this.#wanted = wanted;
    this.#follow();
  }

  #follow() {
    const lock = /** @type {any} */ (navigator).wakeLock;
    if (this.#wanted && !document.hidden && !this.#held && lock) this.#take(lock);
    else if (!this.#wanted && this.#held) {
      this.#held.then((sentinel) => sentinel?.release()).catch(() => {});
      this.#held = null;
    }
  }

  #take(lock) {
    const held = lock.request("screen").catch(() => null); // refused, as where the battery is low
    this.#held = held;
    held.then((sentinel) => {
      const over = () => this.#held === held && (this.#held = null);
      if (sentinel) sentinel.addEventListener("release", over);
      else over();
    });
  }
}

/** @returns {Promise<boolean>} whether a tab of the app answers, an API request of another included */
async function anyBusy() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return held.some(({ name }) => name === `jird-busy:${APP}`);
}

/** @param {import("./engine_session.js").EngineSession} session */
export function setUpBackground(session) {
  const root = document.documentElement;
  const lock = new WakeLock();
  const busy = () => root.hasAttribute("data-busy") || session.state === "loading";
  const follow = () => lock.set(busy());
  new MutationObserver(follow).observe(root, { attributeFilter: ["data-busy"] });
  session.on("state", follow);
  follow();

  let timer = 0;
  const rest = async () => {
    if (!document.hidden) return;
    if (busy() || (await anyBusy())) timer = window.setTimeout(rest, REST_AFTER);
    else await session.rest();
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = window.setTimeout(rest, REST_AFTER);
    else if (session.resting) session.ensure().catch(() => {}); // the session shows the failure
  });
}
