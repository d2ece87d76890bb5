/** Writing, checking and reading a file's chunks. A chunk is 4 MB; nothing here holds more than one. */
import { again, storageError } from "./errors.js";
import { filePath } from "./manifest.js";
import { sha256Hex, Sha256 } from "./sha256.js";

/** The open data files of one model while it is written; closed by `close()`. */
export class ChunkWriter {
  #backend; #manifest; #files = new Map(); #queues = new Map();

  constructor(backend, manifest) {
    this.#backend = backend;
    this.#manifest = manifest;
  }

  /**
   * Writes a chunk, flushes it, marks it and saves the manifest. `current()` is asked once no other write of the file runs: false
   * means that the bytes are of a version that was dropped meanwhile, and nothing is written. Returns whether it was.
   */
  async put(entry, index, bytes, current = () => true) {
    const digest = await sha256Hex(bytes);
    const written = await this.exclusively(entry, async () => {
      if (!current()) return false;
      await this.#write(entry, index * entry.chunk, bytes);
      entry.mark(index, digest);
      return true;
    });
    if (written) await this.#manifest.save(this.#backend);
    return written;
  }

  /** Starts a file over, once no write of it runs. */
  async reset(entry, version) {
    await this.exclusively(entry, async () => {
      entry.reset(version);
      await this.#manifest.save(this.#backend); // before the bytes go: no bit may outlive its bytes
      await (await this.#open(entry)).truncate(0);
    });
  }

  /** Makes sure that the file is there, and no longer than it should be. */
  async settle(entry) {
    await this.exclusively(entry, async () => {
      const file = await this.#open(entry);
      await again(async () => {
        if ((await file.size()) > entry.size) await file.truncate(entry.size);
        await file.flush();
      });
    });
  }

  /** Runs `work` when nothing else works on this file. */
  exclusively(entry, work) {
    const before = this.#queues.get(entry.name) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(work).catch((error) => {
      throw storageError(error, entry.name);
    });
    this.#queues.set(entry.name, mine);
    return mine;
  }

  async close() {
    await Promise.allSettled(this.#queues.values());
    for (const file of this.#files.values()) await (await file.catch(() => null))?.close();
    this.#files.clear();
  }

  async #write(entry, at, bytes) {
    const file = await this.#open(entry);
    await again(async () => {
      await file.write(bytes, at);
      await file.flush();
    });
  }

  #open(entry) {
    if (!this.#files.has(entry.name)) {
      this.#files.set(entry.name, this.#backend.open(filePath(this.#manifest.id, entry.name), { create: true }));
    }
    return this.#files.get(entry.name);
  }
}

/** Reads chunk `index` of an open file into `buffer`; the view of it, shorter where the file ends too early. */
export async function readChunk(file, entry, index, buffer) {
  const wanted = entry.length(index);
  const count = await file.readInto(buffer.subarray(0, wanted), index * entry.chunk);
  return buffer.subarray(0, count);
}

/** Whether `bytes` are chunk `index` as the manifest knows it. */
export async function isChunk(entry, index, bytes) {
  return bytes.length === entry.length(index) && (await sha256Hex(bytes)) === entry.sha256[index];
}

/**
 * Reads a file back and compares each chunk's digest, and the whole file's where the source published one.
 * {bad: [chunk], whole: true | false | null (not compared)}. `onBytes(count)` hears of progress; `signal` ends it.
 */
export async function checkFile(backend, id, entry, { signal, onBytes } = {}) {
  const file = await backend.open(filePath(id, entry.name), { readonly: true });
  const bad = [], whole = entry.expected ? new Sha256() : null;
  const buffer = new Uint8Array(Math.min(entry.chunk, entry.size));
  try {
    for (let index = 0; index < entry.chunks; index++) {
      signal?.throwIfAborted();
      const bytes = file ? await tryRead(file, entry, index, buffer) : buffer.subarray(0, 0);
      if (!entry.has(index) || !(await isChunk(entry, index, bytes))) bad.push(index);
      else if (bad.length === 0) whole?.update(bytes);
      onBytes?.(entry.length(index));
    }
    if (file && (await file.size()) !== entry.size && bad.length === 0) bad.push(Math.max(0, entry.chunks - 1));
    if (!file && entry.size === 0) bad.push(0);
  } finally {
    await file?.close();
  }
  return { bad, whole: whole && bad.length === 0 ? whole.hex() === entry.expected : null };
}

/** What cannot be read is as bad as what reads wrong. */
async function tryRead(file, entry, index, buffer) {
  try {
    return await readChunk(file, entry, index, buffer);
  } catch (error) {
    if (error instanceof DOMException) return buffer.subarray(0, 0);
    throw error;
  }
}
