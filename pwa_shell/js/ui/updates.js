/**
 * The service worker as the page sees it: registered once the page rests; a new version is offered,
 * and taken when the person agrees and no tab is busy.
 */
import { t } from "./strings.js";
import { toast } from "./toast.js";

const LOOK_AGAIN_MS = 20 * 60e3;
const TAKEOVER_MS = 5000;

/**
 * @returns {Promise<ServiceWorkerRegistration|null>} null where the browser has no service worker
 *   for this page: without a secure context, or in some private windows
 */
export async function registerWorker() {
  if (!globalThis.isSecureContext || !navigator.serviceWorker) return null;
  await pageRests();
  const script = new URL("../../sw.js", import.meta.url).href;
  return (await navigator.serviceWorker.register(script, { updateViaCache: "none" })) ?? null;
}

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

export class Updates {
  #applying = false;

  /**
   * @param {ServiceWorkerRegistration} registration
   * @param {import("./busy_lock.js").BusyLock} lock
   */
  constructor(registration, lock) {
    Object.assign(this, { registration, lock });
    this.#watch(registration.installing);
    registration.addEventListener("updatefound", () => this.#watch(registration.installing));
    if (registration.waiting) this.#offer("updateReady");
    this.#followTakeover();
    this.#lookAgain();
  }

  /** @param {ServiceWorker|null} worker */
  #watch(worker) {
    worker?.addEventListener("statechange", () => {
      // The first version of all has nothing to wait for.
      if (worker.state === "installed" && this.registration.active) this.#offer("updateReady");
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

  /** An installed app can stay open for weeks, and browsers look only when a page is opened. */
  #lookAgain() {
    let last = Date.now();
    const look = () => {
      if (document.hidden || Date.now() - last < LOOK_AGAIN_MS) return;
      last = Date.now();
      this.registration.update().catch(() => {}); // offline
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
    const { waiting } = this.registration;
    if (!waiting) return;
    const taken = new Promise((resolve) =>
      navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }),
    );
    waiting.postMessage({ type: "SKIP_WAITING" });
    await Promise.race([taken, new Promise((resolve) => setTimeout(resolve, TAKEOVER_MS))]);
  }
}
