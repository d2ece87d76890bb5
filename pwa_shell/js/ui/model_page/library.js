/**
 * The stored models as the page knows them: the storage worker's list, what is under way in any
 * tab, and what went wrong. The page's storage worker is used from the first look at the Models page
 * until that is left with nothing under way.
 */
import { StorageClient } from "../../storage/client.js";
import { leaveStorage, useStorage } from "../../storage/shared.js";
import { Emitter } from "../dom.js";
import { isAbort, toProblem } from "../problem.js";
import { tokenFor } from "./hub_access.js";

const REFRESH_AFTER_MS = 120;

/** @typedef {import("../problem.js").Problem} Problem */

/**
 * Emits `change` (anything to show is new), `activity` (id: only its progress is), `done`
 * ({id, name, what, bytes}) and `asked` (whether the browser keeps the data).
 */
export class ModelsLibrary extends Emitter {
  /** @type {any[]|null} rows of the storage worker's `list`; null before the first answer */
  rows = null;
  info = null;
  /** @type {{kind: string, name: string, bytes: number|null}[]} */
  foreign = [];
  /** @type {Problem|null} why nothing can be listed */
  problem = null;
  /** What is under way, by model. @type {Map<string, any>} */
  activity = new Map();
  /** The last failure, by model. @type {Map<string, Problem>} */
  problems = new Map();
  /** Result of the last check, by model. @type {Map<string, any>} */
  checks = new Map();
  #client = null;
  #own = new Map();
  #wanted = false;
  #asked = false;
  #timer = 0;

  /** Begin, or go on, to show what is stored. */
  async open() {
    this.#wanted = true;
    if (!this.#client) {
      this.#client = useStorage();
      this.#client.onChanged = () => this.#refreshSoon();
      this.#client.onActivity = (state) => this.#hear(state);
    }
    await this.refresh();
  }

  /** The page is left: the worker goes too, unless it works. */
  close() {
    this.#wanted = false;
    this.#endIfIdle();
  }

  /** Whether this tab works on a model, or on `id`. */
  works(id) {
    return id === undefined ? this.#own.size > 0 : this.#own.has(id);
  }

  async refresh() {
    const client = this.#client;
    if (!client) return;
    try {
      const calls = ["list", "info", "foreign"].map((method) => client.call(method));
      const [rows, info, foreign] = await Promise.all(calls);
      Object.assign(this, { rows, info, foreign, problem: null });
      for (const id of this.activity.keys())
        if (!this.works(id) && !rows.find((row) => row.id === id)?.busy) this.activity.delete(id);
    } catch (error) {
      if (client !== this.#client) return; // it was ended meanwhile
      this.problem = toProblem(error);
    }
    this.emit("change");
  }

  /** @param {any} spec of js/storage/library.js, or {id} to go on */
  download(spec) {
    this.#askToKeepOnce();
    return this.#run(spec, "download", { spec, token: tokenFor(spec) });
  }

  /** @param {{id: string, name: string, files: {name: string, file: File}[]}} chosen */
  import(chosen) {
    this.#askToKeepOnce();
    return this.#run(chosen, "import", chosen);
  }

  pause(id) {
    return this.#client.call("pause", { id });
  }

  /** Ends a transfer in any tab and deletes what it brought; ends a check of this tab. */
  async cancel(id) {
    if (this.activity.get(id)?.stage === "verify" && this.works(id)) this.#own.get(id).abort();
    else await this.#client.call("cancel", { id });
  }

  /** Check a model, and fetch again what is damaged where there is somewhere to fetch it from. */
  async verify(row) {
    const { id, bytes, files, source } = row;
    this.checks.delete(id);
    const found = await this.#run(row, "verify", { id });
    if (!found) return;
    const check = { bytes, files: files.length, bad: found.bad.length, repaired: false };
    this.checks.set(id, check);
    if (!found.ok && source?.kind !== "local")
      check.repaired = (await this.download({ id }))?.state === "complete";
    await this.refresh();
  }

  async delete(row) {
    const { id, name } = row;
    await this.#run(row, "delete", { id });
    if (this.problems.has(id)) return;
    this.emit("done", { id, name, what: "deleted", bytes: storedBytes(row) });
  }

  /** A hub name or an address -> spec. Rejects with a JirdError. */
  resolve(params, signal) {
    return this.#client.call("resolve", params, { signal });
  }

  async clearForeign(item) {
    this.foreign = await this.#client.call("clear_foreign", { items: [item] });
    await this.refresh();
  }

  /** Ask the browser not to clear this site's data; the answer is emitted. */
  async askToKeep() {
    this.#asked = true;
    const persisted = await StorageClient.persist().catch(() => null);
    if (this.info) this.info.persisted = persisted ?? this.info.persisted;
    this.emit("asked", persisted === true);
    this.emit("change");
  }

  #askToKeepOnce() {
    if (!this.#asked && this.info?.persisted === false) this.askToKeep();
  }

  /** @returns {Promise<any>} the result, or undefined after a failure, which `problems` tells */
  async #run({ id, name = id }, method, params) {
    if (this.works(id)) return;
    const ending = new AbortController();
    this.#own.set(id, ending);
    this.problems.delete(id);
    if (method !== "verify" && method !== "delete") this.#hear({ id, name, stage: "waiting" });
    try {
      const result = await this.#client.call(method, params, { signal: ending.signal });
      if (result.state === "complete")
        this.emit("done", { id, name: result.name, what: "complete" });
      return result;
    } catch (error) {
      if (!isAbort(error)) this.problems.set(id, toProblem(error));
    } finally {
      this.#own.delete(id);
      this.activity.delete(id);
      await this.refresh();
      this.#endIfIdle();
    }
  }

  #hear(state) {
    const known = this.activity.get(state.id);
    this.activity.set(state.id, { ...known, ...state });
    const listed = this.rows?.some((row) => row.id === state.id);
    if (!listed) this.#refreshSoon(); // another tab has begun it
    this.emit(known && listed ? "activity" : "change", state.id);
  }

  #refreshSoon() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.refresh();
    }, REFRESH_AFTER_MS);
  }

  #endIfIdle() {
    if (this.#wanted || this.works() || !this.#client) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#client.onChanged = this.#client.onActivity = () => {};
    this.#client = null;
    this.activity.clear();
    leaveStorage();
  }
}

/** What deleting a row of `list` frees. */
export function storedBytes(row) {
  return row.state === "broken" ? row.bytes : row.bytes_done;
}
