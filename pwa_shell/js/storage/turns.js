/**
 * One writer per model among all tabs. The one that holds the Web Lock works and tells the others over a BroadcastChannel; who
 * asks for the same model meanwhile hears its progress and gets its end, or takes over when its tab is gone.
 *
 * Locks and channel are named after the storage folder, which every copy of Jird on this origin shares.
 */
import { JirdError } from "../errors.js";
import { busy } from "./errors.js";

const NAME = "jird-storage";
const GRACE_MS = 150; // a granted lock may overtake the holder's last words

export class Turns {
  #channel = new BroadcastChannel(NAME); #own = new Map(); #heard = new Map(); #onChange; #onActivity;

  /** `onChange()` hears that what is stored changed, `onActivity(state)` the progress of any model, both of any tab. */
  constructor(onChange = () => {}, onActivity = () => {}) {
    this.#onChange = onChange;
    this.#onActivity = onActivity;
    this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** Runs `work(tell)` as the only writer of model `id`, once nobody else is; what it tells is activity. */
  async alone(id, work, { signal } = {}) {
    const tell = (state) => this.#tell({ kind: "progress", id, state });
    const result = await navigator.locks.request(lockName(id), { signal }, () => work(tell));
    this.#tell({ kind: "changed" });
    return result;
  }

  /**
   * The result of `work(tell, takeover)` for model `id`, here or in the tab that already does it. `tell(state)` reaches every
   * tab that waits for this model, this one through `onProgress`. `stop(how)` is called when another tab asks to stop.
   */
  async shared(id, work, { onProgress, signal, stop }) {
    const run = (takeover) => this.#run(id, work, { onProgress, stop, takeover });
    const first = await navigator.locks.request(lockName(id), { ifAvailable: true }, async (lock) => (
      lock ? { value: await run(false) } : null));
    if (first) return first.value;
    return this.#attach(id, run, { onProgress, signal });
  }

  /** Asks whoever works on `id`, here or in another tab, to stop: how is "pause" or "cancel". */
  stop(id, how) {
    this.#own.get(id)?.stop(how);
    this.#tell({ kind: "stop", id, how });
  }

  /** Whether any tab works on `id`. */
  async busy(id) {
    const { held } = await navigator.locks.query();
    return held.some((lock) => lock.name === lockName(id));
  }

  close() {
    this.#channel.close();
  }

  async #run(id, work, { onProgress, stop, takeover }) {
    const own = { stop, last: null };
    this.#own.set(id, own);
    const tell = (state) => {
      own.last = state;
      onProgress(state);
      this.#tell({ kind: "progress", id, state });
    };
    try {
      const result = await work(tell, takeover);
      this.#tell({ kind: "ended", id, result });
      return result;
    } catch (error) {
      this.#tell({ kind: "ended", id, error: error instanceof JirdError ? error.toJSON() : null });
      throw error;
    } finally {
      this.#own.delete(id);
      this.#tell({ kind: "changed" });
    }
  }

  async #attach(id, run, { onProgress, signal }) {
    const waiting = new AbortController();
    const listener = { onProgress, ended: null };
    const ended = new Promise((resolve) => (listener.ended = resolve));
    if (!this.#heard.has(id)) this.#heard.set(id, new Set());
    this.#heard.get(id).add(listener);
    this.ask(id);
    const both = AbortSignal.any([signal, waiting.signal]);
    const gone = navigator.locks.request(lockName(id), { signal: both }, async () => {
      const told = await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, GRACE_MS))]);
      return told ? told : { result: await run(true) };
    });
    try {
      const { result, error } = await Promise.race([ended, gone]);
      if (error !== undefined) throw error ? new JirdError(error) : busy(id);
      return result;
    } finally {
      this.#heard.get(id).delete(listener);
      gone.catch(() => {});
      waiting.abort();
    }
  }

  #hear({ kind, id, state, how, ...end }) {
    const listeners = this.#heard.get(id) ?? [];
    if (kind === "changed") this.#onChange();
    else if (kind === "stop") this.#own.get(id)?.stop(how);
    else if (kind === "ask") this.#answer(id);
    else if (kind === "progress") {
      for (const { onProgress } of listeners) onProgress(state);
      this.#onActivity(state);
    } else if (kind === "ended") for (const { ended } of listeners) ended(end);
  }

  /** Asks who works on `id`, in any tab, to say how far it is. */
  ask(id) {
    this.#answer(id);
    this.#tell({ kind: "ask", id });
  }

  #answer(id) {
    const state = this.#own.get(id)?.last;
    if (state) this.#tell({ kind: "progress", id, state });
  }

  /** To the other tabs, and to who listens in this worker: a channel does not hear itself. */
  #tell(message) {
    this.#channel.postMessage(message);
    if (["progress", "ended", "changed"].includes(message.kind)) this.#hear(message);
  }
}

const lockName = (id) => `jird-model:${id}`;
