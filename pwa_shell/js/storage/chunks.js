/** Writing, checking and reading a file's chunks. A chunk is 4 MB; nothing here holds more than one. */
import { giveBuffer, takeBuffer } from "./buffers.js";
import { again, storageError } from "./errors.js";
import { hashAside } from "./hasher.js";
import { filePath } from "./manifest.js";
import { sha256Hex, Sha256 } from "./sha256.js";

/**
 * The open files of one model while it is written; closed by `close()`.
 *
 * Hashing runs beside writing, and chunks that are written while a commit runs share the next one:
 * one flush of each file, then one save of the manifest. So four ranges pay for about one.
 */
export class ChunkWriter {
  #backend; #manifest; #slots; #files = new Map(); #queues = new Map();
  #loose = new Map(); #written = []; #committing = null; #next = null;

  constructor(backend, manifest) {
    this.#backend = backend;
    this.#manifest = manifest;
    this.#slots = new OpenSlots(backend);
  }

  /**
   * Writes a chunk, flushes it, marks it and saves the manifest. `current()` is asked once no other write of the file runs, and
   * before the mark: false means that the bytes are of a version that was dropped meanwhile. Returns whether it was marked.
   */
  async put(entry, index, bytes, current = () => true) {
    const digest = hashAside(bytes);
    digest.catch(() => {}); // thrown below
    const written = await this.exclusively(entry, async () => {
      if (!current()) return false;
      await this.#write(entry, index * entry.chunk, bytes);
      return true;
    });
    if (!written) return false;
    const chunk = { entry, index, digest: await digest, current, marked: false };
    this.#written.push(chunk);
    await this.#commit();
    return chunk.marked;
  }

  /** Resolves when what is written now is flushed, marked and saved. Commits run one at a time and share. */
  #commit() {
    if (!this.#committing) return (this.#committing = this.#runCommit().finally(() => (this.#committing = null)));
    const after = this.#committing.catch(() => {});
    return (this.#next ??= after.then(() => {
      this.#next = null;
      return this.#commit();
    }));
  }

  async #runCommit() {
    const chunks = this.#written.splice(0);
    for (const entry of new Set(chunks.map(({ entry }) => entry))) {
      const mine = chunks.filter((chunk) => chunk.entry === entry);
      await this.exclusively(entry, async () => {
        await this.#flush(entry);
        for (const chunk of mine) {
          if (!chunk.current()) continue;
          entry.mark(chunk.index, chunk.digest);
          chunk.marked = true;
        }
      });
    }
    await this.#manifest.save(this.#slots);
  }

  /** Starts a file over, once no write of it runs. */
  async reset(entry, version) {
    await this.exclusively(entry, async () => {
      entry.reset(version);
      this.#loose.delete(entry.name);
      await this.#manifest.save(this.#slots); // before the bytes go: no bit may outlive its bytes
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
    await Promise.allSettled([...this.#queues.values(), this.#committing, this.#next]);
    for (const file of this.#files.values()) await (await file.catch(() => null))?.close();
    this.#files.clear();
    await this.#slots.close();
  }

  async #write(entry, at, bytes) {
    const file = await this.#open(entry), loose = this.#loose.get(entry.name) ?? [];
    this.#loose.set(entry.name, [...loose, { at, bytes }]);
    await this.#surviving(entry, file, () => file.write(bytes, at));
  }

  async #flush(entry) {
    if (!this.#loose.has(entry.name)) return; // an earlier commit's flush took it along
    const file = await this.#open(entry);
    await this.#surviving(entry, file, () => file.flush());
    this.#loose.delete(entry.name);
  }

  /** Runs one step; where the browser dropped the handle, all that was not flushed is written again, piece by piece. */
  async #surviving(entry, file, step) {
    try {
      await step();
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error;
      for (const { at, bytes } of this.#loose.get(entry.name)) {
        await again(async () => {
          await file.write(bytes, at);
          await file.flush();
        });
      }
      this.#loose.delete(entry.name);
    }
  }

  #open(entry) {
    if (!this.#files.has(entry.name)) {
      this.#files.set(entry.name, this.#backend.open(filePath(this.#manifest.id, entry.name), { create: true }));
    }
    return this.#files.get(entry.name);
  }
}

/** The manifest's two slots, kept open between saves: opening a file costs more than writing it. `open` is a back end's. */
class OpenSlots {
  #backend; #files = new Map();

  constructor(backend) {
    this.#backend = backend;
  }

  async open(path, options) {
    if (!this.#files.has(path)) this.#files.set(path, await this.#backend.open(path, options));
    const file = this.#files.get(path);
    return {
      write: (bytes, at) => file.write(bytes, at), truncate: (size) => file.truncate(size),
      flush: () => file.flush(), close() {},
    };
  }

  async close() {
    for (const file of this.#files.values()) await file.close();
    this.#files.clear();
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
  const bad = [], whole = entry.expected ? new Sha256() : null, buffer = takeBuffer(entry.chunk);
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
    giveBuffer(buffer);
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
