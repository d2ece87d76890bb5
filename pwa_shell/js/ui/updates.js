/**
 * The service worker as the page sees it: registered once the page rests; a new version is offered,
 * and taken when the person agrees and no tab is busy.
 */
import { t } from "./strings.js";
import { toast } from "./toast.js";

const LOOK_AGAIN_MS = 20 * 60e3;
const TAKEOVER_MS = 5000;
const TRY_AGAIN_MS = [2e3, 10e3, 60e3, 300e3]; // after installs that failed, the last for good

/** The precache must not compete with what the page shows first. */
async function pageRests() {
  if (document.readyState !== "complete") {
    await new Promise((resolve) => addEventListener("load", resolve, { once: true }));
  }
  await new Promise((resolve) =>
    globalThis.requestIdleCallback
      ? requestIdleCallback(resolve, { timeout: 3000 })
      : setTimeout(resolve, 300),
  );
}

/** @param {ServiceWorker} worker of a first version @returns {Promise<boolean>} false if it failed */
function activated(worker) {
  return new Promise((resolve) => {
    const look = () => {
      if (worker.state === "activated" || worker.state === "redundant")
        resolve(worker.state === "activated");
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

/** @param {number} ms */
function waitOrOnline(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
    addEventListener("online", resolve, { once: true });
  });
}

export class Updates {
  /** @type {ServiceWorkerRegistration|null} */
  #registration = null;
  #applying = false;
  /** The last try to store the app failed; the next one is to come. */
  failed = false;

  /**
   * @param {import("./busy_lock.js").BusyLock} lock
   * @param {() => void} onChange hears that the app is stored, or that a try failed
   */
  constructor(lock, onChange) {
    Object.assign(this, { lock, onChange });
  }

  /** The app is stored: it starts without a network. */
  get stored() {
    return Boolean(this.#registration?.active);
  }

  /**
   * Store the app once the page rests, and follow its versions. A first install that fails, as one
   * lost connection out of hundreds does it, is tried again.
   *
   * @returns {Promise<void>} when it is stored, or where the browser has no service worker for this
   *   page: without a secure context, or in some private windows
   */
  async start() {
    if (!globalThis.isSecureContext || !navigator.serviceWorker) return;
    await pageRests();
    for (let tries = 0; !(await this.#install()); tries++) {
      this.failed = true;
      this.onChange();
      await waitOrOnline(TRY_AGAIN_MS[Math.min(tries, TRY_AGAIN_MS.length - 1)]);
    }
    this.failed = false;
    this.onChange();
    const registration = this.#registration;
    if (!registration) return;
    this.#watch(registration.installing);
    registration.addEventListener("updatefound", () => this.#watch(registration.installing));
    if (registration.waiting) this.#offer("updateReady");
    this.#followTakeover();
    this.#lookAgain(registration);
  }

  /** @returns {Promise<boolean>} false when no version is stored and another try may help */
  async #install() {
    try {
      const script = new URL("../../sw.js", import.meta.url).href;
      const options = { updateViaCache: /** @type {const} */ ("none") };
      this.#registration = (await navigator.serviceWorker.register(script, options)) ?? null;
    } catch {
      return false; // sw.js itself did not come
    }
    const { active, waiting, installing } = this.#registration ?? {}; // null where it is blocked
    const first = active ? null : installing ?? waiting;
    return !first || activated(first);
  }

  /** @param {ServiceWorker|null} worker */
  #watch(worker) {
    worker?.addEventListener("statechange", () => {
      // The first version of all has nothing to wait for.
      if (worker.state === "installed" && this.stored) this.#offer("updateReady");
    });
  }

  /** Another tab took the new version: this one still runs the old one's modules. */
  #followTakeover() {
    let controlled = Boolean(navigator.serviceWorker.controller);
    navigator.serviceWorker.addEventListener("controllerchange", () => {
      if (controlled && !this.#applying) {
        this.#offer("updatedElsewhere");
        document.addEventListener("visibilitychange", () => document.hidden && this.apply());
        if (document.hidden) this.apply();
      }
      controlled = true;
    });
  }

  /**
   * An installed app can stay open for weeks, and browsers look only when a page is opened.
   *
   * @param {ServiceWorkerRegistration} registration
   */
  #lookAgain(registration) {
    let last = Date.now();
    const look = () => {
      if (document.hidden || Date.now() - last < LOOK_AGAIN_MS) return;
      last = Date.now();
      registration.update().catch(() => {}); // offline
    };
    document.addEventListener("visibilitychange", look);
    setInterval(look, LOOK_AGAIN_MS);
  }

  /** @param {"updateReady"|"updatedElsewhere"} text */
  async #offer(text) {
    await this.lock.alone(() => {});
    toast(t(text), { label: t("reload"), run: () => this.apply() }, { lasting: true });
  }

  /** Take the waiting version, if there is one, and reload: when no tab is busy. */
  async apply() {
    if (this.#applying) return;
    this.#applying = true;
    await this.lock.alone(
      async () => {
        await this.#takeOver();
        location.reload();
        await new Promise(() => {}); // the lock goes with the page
      },
      () => document.hidden || toast(t("updateLater")),
    );
  }

  async #takeOver() {
    const waiting = this.#registration?.waiting;
    if (!waiting) return;
    const taken = new Promise((resolve) =>
      navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }),
    );
    waiting.postMessage({ type: "SKIP_WAITING" });
    await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, TAKEOVER_MS))]);
  }
}
