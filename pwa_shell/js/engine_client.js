/**
 * One engine for an origin's app, whatever the number of tabs: the tab that holds the Web Lock owns
 * the worker, the others relay their messages to it over a BroadcastChannel. `Hub.request` hides
 * which of both this tab is.
 */
import { jirdError, JirdError } from "./errors.js";
import { LEFT, noteLeft, noteLoading, takeLeft, watchEnd } from "./page_end.js";
import { event, isEvent, request as message } from "./protocol.js";
import { Pulse } from "./silence.js";
import { lendStorage } from "./storage/shared.js";

const UNLOAD_WAIT_MS = 2000;
const PATIENCE = { askMs: 10_000, silentMs: 50_000 }; // Python computes for seconds in one go, never so long

const ownerGone = () => jirdError("E_DEVICE_LOST", {
  reason: "the tab that ran the engine was closed",
});

/**
 * A tab's link to the engine. `scope` names the app, so that two apps on one origin do not meet.
 */
export class Hub {
  #workerURL; #name; #patience; #tab = null; #count = 0;
  #role = null;                 // null | "owner" | "client"
  #joining = null; #release = null; #releaseTab = null; #channel = null; #worker = null;
  #pending = new Map();         // id -> {resolve, reject, onEvent, message, acked}
  #relayed = new Map();         // id -> tab it is answered to (owner)
  #guests = new Set();          // tabs that use this tab's engine (owner)
  #loads = new Set();           // ids of the loads that the worker has (owner)
  #pulse = null; #takeBack = null; #unhurried = false;
  #handles = 0;

  /** `patience`: how often a worker that owes something is asked for a sign, and how long it may give none. */
  constructor(workerURL, scope, patience = PATIENCE) {
    this.#workerURL = workerURL;
    this.#name = `jird-engine:${scope}`;
    this.#patience = patience;
    watchEnd(() => this.#loads.size > 0);
  }

  /** What this tab is now: "owner", "client" or null. */
  get role() {
    return this.#role;
  }

  /** Counts of what is alive, for tests: nothing of it may grow. */
  get live() {
    const worker = this.#worker ? 1 : 0;
    return { pending: this.#pending.size, relayed: this.#relayed.size, guests: this.#guests.size,
      handles: this.#handles, worker };
  }

  /** One more user of the engine in this tab; each needs one `drop`. */
  use() {
    this.#handles++;
  }

  /** One user less; after the last, the engine is unloaded unless another tab uses it. */
  async drop() {
    if (--this.#handles > 0) return;
    await this.#leaveIfIdle();
  }

  /**
   * Sends one message; resolves with its `result` data. `onEvent(name, data)` hears of progress and
   * chunks. Samples that come with either are its data's `audio`, a Float32Array.
   */
  async request(method, params, { onEvent, signal, audio } = {}) {
    signal?.throwIfAborted();
    message("check", method, params); // a bad request must not start an engine
    await this.#join();
    signal?.throwIfAborted();
    const id = `${this.#tab}:${++this.#count}`;
    const text = message(id, method, params, audio);
    return new Promise((resolve, reject) => {
      const abort = () => {
        if (!this.#pending.has(id)) return;
        this.#settle(id, "reject", signal.reason);
        this.#send(message(`${id}:cancel`, "cancel", { target: id }));
      };
      signal?.addEventListener("abort", abort, { once: true });
      const done = () => signal?.removeEventListener("abort", abort);
      this.#pending.set(id, { resolve, reject, onEvent, done, message: text, acked: false });
      this.#send(text);
    });
  }

  /** Finds this tab's role: owner of the lock, or client of the tab that holds it. */
  async #join() {
    if (this.#role) return;
    await (this.#joining ??= this.#claim().finally(() => (this.#joining = null)));
  }

  async #claim() {
    if (!globalThis.isSecureContext) {
      throw jirdError("E_INSECURE_CONTEXT", { url: String(globalThis.location) });
    }
    // New each time: the old one's lock may still be on its way to the owner.
    this.#tab = crypto.randomUUID();
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#heard(data);
    await this.#holdTabLock();
    if (await this.#lock({ ifAvailable: true })) return;
    this.#role = "client";
    const waiting = new AbortController();
    this.#release = () => waiting.abort();
    this.#lock({ signal: waiting.signal }).catch(() => {}); // granted when the owner is gone
  }

  /**
   * Asks for the engine's lock; resolves to whether it was granted. It is held until `#release()`.
   */
  #lock(options) {
    return new Promise((resolve, reject) => {
      navigator.locks.request(this.#name, options, (lock) => {
        resolve(!!lock);
        return lock ? this.#own() : undefined;
      }).catch(reject);
    });
  }

  #own() {
    this.#role = "owner";
    const held = new Promise((resolve) => (this.#release = resolve));
    for (const [id, entry] of this.#pending) {
      // The tab that ran it is gone. A load starts again here; half an answer cannot.
      if (entry.acked && entry.message.method !== "load") {
        this.#settle(id, "reject", ownerGone());
      } else {
        this.#toWorker(entry.message);
      }
    }
    this.#channel.postMessage({ kind: "owner" });
    return held;
  }

  /** A lock of this tab's own: whoever is granted it knows that this tab is gone. */
  #holdTabLock() {
    return new Promise((resolve) => {
      navigator.locks.request(`${this.#name}:${this.#tab}`, () => {
        resolve();
        return new Promise((release) => (this.#releaseTab = release));
      });
    });
  }

  #send(text) {
    if (this.#role === "owner") this.#toWorker(text);
    else this.#channel?.postMessage({ kind: "call", tab: this.#tab, message: text });
  }

  #toWorker(text) {
    if (!this.#worker) this.#startWorker();
    if (text.method === "load") {
      this.#loads.add(text.id);
      this.#unhurried = text.params.device === "reference"; // numpy computes without a pause
      noteLoading();
    }
    this.#worker.postMessage(text);
  }

  #startWorker() {
    const name = `jird-engine${takeLeft() ? LEFT : ""}`;
    this.#worker = new Worker(this.#workerURL, { type: "module", name });
    this.#takeBack = lendStorage(this.#worker);
    this.#worker.onmessage = ({ data }) => {
      this.#pulse?.heard();
      if (isEvent(data)) this.#answer(data);
    };
    this.#worker.onerror = (error) => {
      const detail = error.message || "the engine's worker could not start";
      this.#lost(jirdError("E_INTERNAL", { detail }));
    };
    const owes = () => !this.#unhurried && this.#pending.size + this.#relayed.size > 0;
    this.#pulse = new Pulse(this.#worker, this.#patience, owes, () => {
      noteLeft(); // nobody ended the page
      const { askMs, silentMs } = this.#patience;
      this.#lost(jirdError("E_NO_ANSWER", { what: "The engine's worker", seconds: (askMs + silentMs) / 1000 }));
    });
  }

  #endWorker() {
    if (this.#loads.size > 0) noteLeft();
    this.#loads.clear();
    this.#pulse?.stop();
    this.#worker?.terminate();
    this.#takeBack?.();
    this.#worker = this.#pulse = this.#takeBack = null;
  }

  #heard(data) {
    const mine = data.tab === this.#tab;
    if (data.kind === "call" && this.#role === "owner") this.#serve(data);
    else if (data.kind === "ack" && mine) this.#acked(data.id);
    else if (data.kind === "event" && mine && isEvent(data.message)) this.#deliver(data.message);
    else if (data.kind === "owner" && this.#role === "client") this.#newOwner();
  }

  #serve({ tab, message: call }) {
    this.#channel.postMessage({ kind: "ack", tab, id: call.id });
    if (call.method === "load" && !this.#guests.has(tab)) this.#welcome(tab);
    if (call.method === "unload") {
      this.#goodbye(tab);
      this.#channel.postMessage({ kind: "event", tab, message: event(call.id, "result", {}) });
      return;
    }
    this.#relayed.set(call.id, tab);
    this.#toWorker(call);
  }

  #welcome(tab) {
    this.#guests.add(tab);
    // Granted when the tab is gone.
    navigator.locks.request(`${this.#name}:${tab}`, () => this.#goodbye(tab));
  }

  #goodbye(tab) {
    if (!this.#guests.delete(tab)) return;
    for (const [id, owner] of this.#relayed) {
      if (owner !== tab) continue;
      this.#relayed.delete(id);
      this.#worker?.postMessage(message(`${id}:cancel`, "cancel", { target: id }));
    }
    this.#leaveIfIdle();
  }

  #acked(id) {
    const entry = this.#pending.get(id);
    if (entry) entry.acked = true;
  }

  /**
   * Another tab took the lock before this one: what the old owner had taken is lost, the rest is
   * asked again.
   */
  #newOwner() {
    for (const [id, entry] of this.#pending) {
      if (!entry.acked || entry.message.method === "load") this.#send(entry.message);
      else this.#settle(id, "reject", ownerGone());
    }
  }

  #answer(reply) {
    if (reply.event === "result" || reply.event === "error") this.#loads.delete(reply.id);
    const tab = this.#relayed.get(reply.id);
    if (tab === undefined) return this.#deliver(reply);
    if (reply.event === "result" || reply.event === "error") this.#relayed.delete(reply.id);
    this.#channel.postMessage({ kind: "event", tab, message: reply });
  }

  #deliver({ id, event: name, data, audio }) {
    const entry = this.#pending.get(id);
    if (!entry) return;
    if (audio) data.audio = audio;
    if (name === "result") this.#settle(id, "resolve", data);
    else if (name === "error") this.#settle(id, "reject", new JirdError(data));
    else entry.onEvent?.(name, data);
  }

  #settle(id, how, value) {
    const entry = this.#pending.get(id);
    if (!this.#pending.delete(id)) return;
    entry.done();
    entry[how](value);
  }

  /**
   * The worker itself failed (its script, the browser ended it, it hangs): everything under way fails, the next call starts
   * anew.
   */
  #lost(failure) {
    this.#loads.clear(); // a mark that a crash leaves behind stays
    this.#endWorker();
    for (const id of [...this.#relayed.keys()]) this.#answer(event(id, "error", failure.toJSON()));
    for (const id of [...this.#pending.keys()]) this.#settle(id, "reject", failure);
  }

  async #leaveIfIdle() {
    if (this.#handles > 0 || this.#guests.size > 0 || this.#role === null) return;
    if (this.#role === "client") {
      this.#send(message(`${this.#tab}:bye`, "unload"));
    } else if (this.#worker) {
      // A worker that hangs is ended all the same.
      const timeout = AbortSignal.timeout(UNLOAD_WAIT_MS);
      await this.request("unload", {}, { signal: timeout }).catch(() => {});
      // Someone came meanwhile: their load starts it again.
      if (this.#handles > 0 || this.#guests.size > 0) return;
      this.#endWorker();
    }
    this.#role = null;
    this.#release?.();
    this.#releaseTab?.();
    this.#channel?.close();
    this.#channel = this.#release = this.#releaseTab = null;
  }
}
