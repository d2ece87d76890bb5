/**
 * Whether this site can be reached. `navigator.onLine` is sure only when it is false: true may be a
 * network without this server, so the site itself is asked where there is reason to.
 */
import { Emitter } from "./dom.js";

const ANSWER_MS = 5000;
const ASK_AGAIN_MS = 30_000;

/** Emits `change` (boolean: online). */
export class Connection extends Emitter {
  online = navigator.onLine;
  #timer = 0;

  constructor() {
    super();
    addEventListener("offline", () => this.#set(false));
    addEventListener("online", () => this.check());
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
  }

  /** @returns {Promise<boolean>} whether the site answers now */
  async check() {
    clearTimeout(this.#timer);
    const online = navigator.onLine && (await this.#answers());
    this.#set(online);
    if (!online) this.#timer = setTimeout(() => document.hidden || this.check(), ASK_AGAIN_MS);
    return online;
  }

  /** The service worker answers no HEAD request, so this one reaches the server or fails. */
  async #answers() {
    const address = location.origin + location.pathname;
    const request = { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) };
    return fetch(address, /** @type {RequestInit} */ (request)).then(
      () => true,
      () => false,
    );
  }

  #set(online) {
    if (online === this.online) return;
    this.online = online;
    this.emit("change", online);
  }
}
