/**
 * The models of this browser: what the storage worker does for its callers (protocol.js lists the calls).
 *
 * A `spec` is {id, name, license, source: {kind: "site" | "hub" | "local", url, revision}, files: [{name, url, size, sha256}]};
 * size and sha256 may be absent. Failures are JirdErrors; a pause or cancel is a result, not a failure.
 */
import { jirdError } from "../errors.js";
import { chooseBackend } from "./backends.js";
import { withBuffer } from "./buffers.js";
import { checkFile, ChunkWriter, isChunk, readChunk } from "./chunks.js";
import { Download } from "./download.js";
import { corrupt, storageError } from "./errors.js";
import { importFiles } from "./import.js";
import { FileEntry, filePath, Manifest, modelPath, ROOT, storedIds } from "./manifest.js";
import { Progress } from "./progress.js";
import { estimate } from "./quota.js";
import { StoredFile } from "./reader.js";
import { isReplaced, Transfer } from "./transfer.js";
import { Turns } from "./turns.js";

/** Why a transfer was stopped: how is "pause" or "cancel". */
class Stop extends Error {
  constructor(how) {
    super(how);
    this.how = how;
  }
}

export class Library {
  #backend; #refused; #turns; #checked = new Map(); #open = new Map(); #token = null;

  /** Chooses the back end; `backends` names those to try, in order. `onChange`, `onActivity`: see Turns. */
  static async create({ backends, onChange, onActivity } = {}) {
    const { backend, refused } = await chooseBackend(backends);
    return new Library(backend, refused, onChange, onActivity);
  }

  constructor(backend, refused, onChange, onActivity) {
    this.#backend = backend;
    this.#refused = refused;
    this.#turns = new Turns(onChange, onActivity);
  }

  get backend() {
    return this.#backend;
  }

  /** {backend, durable, refused: [{name, reason}], models_bytes, usage, quota, persisted, details} */
  async info() {
    const { name, durable } = this.#backend;
    return { backend: name, durable, refused: this.#refused, models_bytes: await this.#backend.usage(), ...(await estimate()) };
  }

  /** Every model, whole or not: [{id, name, license, source, state, busy, bytes, bytes_done, created, files}]. */
  async list() {
    const found = new Map((await storedIds(this.#backend)).map((id) => [id, null]));
    const sizes = new Map();
    for (const { path, size } of await this.#backend.list(`${ROOT}/`)) {
      const id = decodeURIComponent(path.split("/")[1]);
      sizes.set(id, (sizes.get(id) ?? 0) + size);
    }
    const rows = [];
    for (const id of [...new Set([...found.keys(), ...sizes.keys()])].sort()) {
      const manifest = await Manifest.load(this.#backend, id);
      const busy = await this.#turns.busy(id);
      if (busy) this.#turns.ask(id);
      rows.push({ ...(manifest ? summary(manifest) : broken(id, sizes.get(id))), busy });
    }
    return rows;
  }

  /** Downloads what `spec` names, or what is missing of model `spec.id`; the model's row, "complete", "paused" or "cancelled". */
  async download(spec, { onProgress = () => {}, signal, changed = [], token, options } = {}) {
    if (token) this.#token = token;
    const ending = new AbortController();
    const stop = (how) => ending.abort(new Stop(how));
    signal?.addEventListener("abort", () => stop("pause"), { once: true });
    const work = async (tell, takeover) => {
      const manifest = await this.#prepare(spec, takeover, changed);
      if (!manifest) return { id: spec.id, state: "cancelled" };
      if (takeover && manifest.state === "paused") return summary(manifest);
      // Whole and as `spec` says: readers check each chunk, verify() all of them.
      if (manifest.state === "complete" && manifest.complete) return summary(manifest);
      const lost = manifest.files.find((entry) => !entry.url && !entry.complete);
      if (lost) throw importAgain(lost.name, "parts of it are missing");
      this.#forget(spec.id);
      const shared = { backend: this.#backend, manifest, progress: new Progress(spec.id, tell), signal: ending.signal };
      const download = new Download({ ...shared, token: this.#token, options });
      return this.#finish(shared, () => download.run());
    };
    return this.#turns.shared(spec.id, work, { onProgress, signal: ending.signal, stop }).catch((error) => {
      if (error instanceof Stop) return { id: spec.id, state: error.how === "cancel" ? "cancelled" : "paused" };
      throw storageError(error, spec.id);
    });
  }

  /** Names of a whole model's files that are others at their source now; none where it cannot be asked. */
  async changed(id, { signal } = {}) {
    const { files } = await this.#stored(id);
    const others = await Promise.all(files.map((entry) => isReplaced(entry, this.#token, signal)));
    return files.filter((_, i) => others[i]).map(({ name }) => name);
  }

  /** Stores local files: spec.files is [{name, file: File}]. */
  async import({ id, name, files }, { onProgress = () => {}, signal } = {}) {
    const ending = new AbortController();
    const stop = (how) => ending.abort(new Stop(how));
    signal?.addEventListener("abort", () => stop("cancel"), { once: true });
    const work = async (tell) => {
      await this.#backend.remove(modelPath(id));
      this.#forget(id);
      const rows = files.map((row) => ({ name: row.name, size: row.file.size }));
      const manifest = new Manifest({ id, name, source: { kind: "local", url: null, revision: null }, files: rows });
      const shared = { backend: this.#backend, manifest, progress: new Progress(id, tell), signal: ending.signal };
      return this.#finish(shared, () => importFiles({ ...shared, files }));
    };
    return this.#turns.shared(id, work, { onProgress, signal: ending.signal, stop });
  }

  /** Ends a transfer of this or another tab; what is verified stays. */
  pause(id) {
    this.#turns.stop(id, "pause");
  }

  /** Ends a transfer and removes what it brought. */
  async cancel(id) {
    this.#turns.stop(id, "cancel");
    await this.#turns.alone(id, async () => {
      if ((await Manifest.load(this.#backend, id))?.state !== "complete") await this.#backend.remove(modelPath(id));
    });
  }

  /** Reads all of a model back. {id, ok, bad: [{file, chunk}]}; a bad chunk is marked missing, so that a download brings it. */
  async verify(id, { onProgress = () => {}, signal } = {}) {
    return this.#turns.alone(id, async (tell) => {
      const manifest = await this.#stored(id);
      const progress = new Progress(id, (state) => (onProgress(state), tell(state)));
      const total = manifest.size, bad = [];
      let done = 0;
      const onBytes = (count) => progress.at("verify", (done += count), total);
      try {
        for (const entry of manifest.files) {
          const found = await checkFile(this.#backend, id, entry, { signal, onBytes });
          if (found.whole === false) entry.reset({ size: entry.size });
          found.bad.forEach((index) => entry.unmark(index));
          bad.push(...(found.whole === false ? [null] : found.bad).map((chunk) => ({ file: entry.name, chunk })));
        }
      } finally {
        progress.end();
      }
      if (bad.length) {
        this.#forget(id);
        manifest.state = "damaged";
        await manifest.save(this.#backend);
      }
      return { id, ok: bad.length === 0, bad };
    }, { signal });
  }

  /** Removes a model; readers that are open on it end, and a transfer of it in any tab. */
  async delete(id) {
    this.#turns.stop(id, "cancel");
    await this.#turns.alone(id, async () => {
      this.#forget(id);
      await this.#backend.remove(modelPath(id));
    });
  }

  /** Readers of a whole model: [{name, size, read(offset, length), close()}]. Fails with E_NOT_STORED. */
  async openModel(id) {
    const manifest = await this.#stored(id);
    const { state, bytes, bytes_done } = summary(manifest);
    if (state !== "complete") {
      const detail = `${bytes_done} of ${bytes || "an unknown number of"} bytes are here`;
      throw jirdError("E_NOT_STORED", { model: id, detail });
    }
    if (!this.#checked.has(id)) this.#checked.set(id, new Map());
    const checked = this.#checked.get(id);
    return manifest.files.map((entry) => {
      if (!checked.has(entry.name)) checked.set(entry.name, new Set());
      const repair = (row, index) => this.#repair(id, row, index);
      const reader = new StoredFile({ backend: this.#backend, id, entry, checked: checked.get(entry.name), repair });
      if (!this.#open.has(id)) this.#open.set(id, new Set());
      this.#open.get(id).add(reader);
      return reader;
    });
  }

  async #stored(id) {
    const manifest = await Manifest.load(this.#backend, id);
    if (!manifest) throw jirdError("E_NOT_STORED", { model: id, detail: "nothing of it is here" });
    return manifest;
  }

  /** The manifest to work on: what is stored, as far as it is what `spec` names. */
  async #prepare(spec, takeover, changed) {
    const stored = await Manifest.load(this.#backend, spec.id);
    if (!spec.files) {
      if (!stored) throw jirdError("E_NOT_STORED", { model: spec.id, detail: "nothing of it is here" });
      return stored;
    }
    if (takeover && !stored) return null; // the tab that had it removed it
    const files = spec.files.map((row) => reuse(changed.includes(row.name) ? null : stored?.file(row.name), row));
    for (const entry of stored?.files ?? []) {
      if (!files.includes(entry)) await this.#backend.remove(filePath(spec.id, entry.name));
    }
    return new Manifest({ ...spec, files, created: stored?.created, state: stored?.state, counter: stored?.counter });
  }

  /** Runs a transfer and leaves the manifest telling how it ended. */
  async #finish({ manifest, progress, signal }, run) {
    try {
      if (manifest.state !== "complete" || !manifest.complete) manifest.state = "partial";
      await run().finally(() => progress.end());
    } catch (error) {
      if (!(signal.reason instanceof Stop)) throw error;
      if (signal.reason.how === "cancel") {
        await this.#backend.remove(modelPath(manifest.id));
        return { id: manifest.id, state: "cancelled" };
      }
      manifest.state = "paused";
      await manifest.save(this.#backend);
    }
    return summary(manifest);
  }

  /** Fetches one chunk again, as the bytes that its digest names and no others. */
  async #repair(id, row, index) {
    if (!row.url) throw importAgain(row.name, `chunk ${index} is bad on disk`);
    const length = row.length(index);
    const anew = (buffer) => this.#fetchAgain(id, row, index, buffer.subarray(0, length));
    await this.#turns.alone(id, () => withBuffer(length, anew));
  }

  async #fetchAgain(id, row, index, buffer) {
    const manifest = await this.#stored(id), entry = manifest.file(row.name);
    if (entry?.sha256[index] !== row.sha256[index]) throw corrupt(row.name, "it was replaced while it was read");
    if (await this.#isGood(id, entry, index, buffer)) return; // another tab repaired it
    await this.#fetchChunk(entry, index, buffer);
    const writer = new ChunkWriter(this.#backend, manifest);
    try {
      await writer.put(entry, index, buffer);
      if (index === entry.chunks - 1) await writer.settle(entry);
    } finally {
      await writer.close();
    }
  }

  async #isGood(id, entry, index, buffer) {
    const file = await this.#backend.open(filePath(id, entry.name), { readonly: true });
    if (!file) return false;
    try {
      return await isChunk(entry, index, await readChunk(file, entry, index, buffer));
    } finally {
      await file.close();
    }
  }

  async #fetchChunk(entry, index, buffer) {
    const transfer = new Transfer({ signal: new AbortController().signal, token: this.#token, options: { tries: 2 } });
    const answer = await transfer.fill(entry, index * entry.chunk, buffer.length, buffer).catch((error) => {
      if (error.code !== "E_NETWORK") throw error;
      throw corrupt(entry.name, `chunk ${index} is bad on disk and could not be fetched again (${error.facts.detail})`);
    });
    answer.watch?.abort();
    if (answer.kind === "bytes" && (await isChunk(entry, index, buffer))) return;
    throw corrupt(entry.name, `chunk ${index} is bad on disk and the source has another version`);
  }

  /** Ends readers and trust in what they had checked. */
  #forget(id) {
    for (const reader of this.#open.get(id) ?? []) reader.close();
    this.#open.delete(id);
    this.#checked.delete(id);
  }
}

/** E_CORRUPT_SHARD for a file that no address can give again. */
function importAgain(name, detail) {
  const error = corrupt(name, detail);
  error.next_step = "It came from a file of yours: import that again.";
  return error;
}

/** The stored entry where it is the same file by the published digest, else by its address; a new one otherwise. */
function reuse(entry, row) {
  const expected = row.sha256 ?? null;
  const sameSize = entry && (row.size == null || entry.size === null || entry.size === row.size);
  const same = sameSize && (expected && entry.expected ? expected === entry.expected : entry.url === row.url);
  if (!same) return new FileEntry({ name: row.name, url: row.url, size: row.size ?? null, expected });
  return Object.assign(entry, { url: row.url, expected: expected ?? entry.expected });
}

function summary(manifest) {
  const { id, name, license, source, created } = manifest;
  const state = manifest.state === "complete" && !manifest.complete ? "partial" : manifest.state;
  const files = manifest.files.map((file) => ({ name: file.name, bytes: file.size, bytes_done: file.bytesWritten }));
  return { id, name, license, source, created, state, bytes: manifest.size ?? 0, bytes_done: manifest.bytesWritten, files };
}

/** Files without a readable manifest: nothing can be said of them but their size, so they can only be deleted. */
function broken(id, bytes) {
  return { id, name: id, license: null, source: null, created: null, state: "broken", bytes, bytes_done: 0, files: [] };
}
