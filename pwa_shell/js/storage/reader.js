/**
 * Readers of a stored model, with the interface of js/http_source.js: {name, size, read(offset, length), close()}.
 *
 * The first read that touches a chunk reads the whole chunk and compares its digest; a bad one is fetched again alone through
 * `repair(entry, index)`, or the read fails with E_CORRUPT_SHARD. Later reads take just their bytes.
 */
import { jirdError } from "../errors.js";
import { giveBuffer, Places, takeBuffer } from "./buffers.js";
import { isChunk, readChunk } from "./chunks.js";
import { corrupt, storageError } from "./errors.js";
import { filePath } from "./manifest.js";

const KEPT = 2;      // checked chunks kept for the next read, which often begins in the same chunk
const AT_ONCE = 4;   // chunks in memory while they are checked

const places = new Places(AT_ONCE); // of this worker, whatever the number of readers

export class StoredFile {
  #backend; #id; #entry; #checked; #repair; #file = null; #kept = new Map(); #closed = false;

  /** `checked`: set of chunk numbers that were found good in this session, shared by the readers of a file. */
  constructor({ backend, id, entry, checked, repair }) {
    this.name = entry.name;
    this.size = entry.size;
    /** Changes with any byte: the digests that the reads are checked against. */
    this.identity = entry.sha256.join(" ");
    this.#backend = backend;
    this.#id = id;
    this.#entry = entry;
    this.#checked = checked;
    this.#repair = repair;
  }

  /** Exactly `length` bytes at `offset`, in a buffer of their own. */
  async read(offset, length) {
    if (this.#closed) throw corrupt(this.name, "it was closed or deleted while it was read");
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size)) {
      throw jirdError("E_TRUNCATED", { file: this.name, start: offset, end: offset + length, size: this.size });
    }
    const bytes = new Uint8Array(length), { chunk } = this.#entry;
    for (let done = 0; done < length;) {
      const index = Math.floor((offset + done) / chunk), from = (offset + done) % chunk;
      const count = Math.min(chunk - from, length - done);
      await this.#copy(index, from, bytes.subarray(done, done + count));
      done += count;
    }
    return bytes;
  }

  async close() {
    this.#closed = true;
    for (const index of [...this.#kept.keys()]) this.#drop(index);
    await (await this.#file?.catch(() => null))?.close();
  }

  async #copy(index, from, target) {
    const kept = this.#kept.get(index) ?? (this.#checked.has(index) ? null : this.#keep(index));
    if (kept) return this.#use(kept, (bytes) => target.set(bytes.subarray(from, from + target.length)));
    const count = await this.#guard(async () => (await this.#opened()).readInto(target, index * this.#entry.chunk + from));
    if (count === target.length) return;
    this.#checked.delete(index); // cut or removed since it was checked
    await this.#copy(index, from, target);
  }

  /** Reads and checks a chunk, which stays for the next reads; the oldest goes. */
  #keep(index) {
    const kept = { bytes: this.#check(index), users: 0, dropped: false };
    this.#kept.set(index, kept);
    kept.bytes.catch(() => this.#kept.delete(index));
    while (this.#kept.size > KEPT) this.#drop(this.#kept.keys().next().value);
    return kept;
  }

  #drop(index) {
    const kept = this.#kept.get(index);
    this.#kept.delete(index);
    kept.dropped = true;
    if (kept.users === 0) kept.bytes.then(giveBuffer, () => {});
  }

  /** A buffer that someone still waits for or copies from must not be given back. */
  async #use(kept, copy) {
    kept.users++;
    try {
      copy(await kept.bytes);
    } finally {
      if (--kept.users === 0 && kept.dropped) kept.bytes.then(giveBuffer, () => {});
    }
  }

  /** The whole chunk, checked, and repaired at most once. */
  async #check(index) {
    const release = await places.take(), buffer = takeBuffer(this.#entry.length(index));
    try {
      if (!(await this.#good(index, buffer))) {
        await this.#repair(this.#entry, index);
        await this.#reopen();
        if (!(await this.#good(index, buffer))) throw corrupt(this.name, `chunk ${index} is bad again after its repair`);
      }
      this.#checked.add(index);
      return buffer;
    } catch (error) {
      giveBuffer(buffer);
      throw error;
    } finally {
      release();
    }
  }

  async #good(index, buffer) {
    const file = await this.#opened().catch(() => null);
    const bytes = file && (await readChunk(file, this.#entry, index, buffer).catch(() => null));
    return Boolean(bytes) && isChunk(this.#entry, index, bytes);
  }

  #opened() {
    this.#file ??= this.#backend.open(filePath(this.#id, this.name), { readonly: true }).then((file) => {
      if (!file) throw new DOMException(`${this.name} is gone`, "NotFoundError");
      return file;
    });
    this.#file.catch(() => (this.#file = null));
    return this.#file;
  }

  async #reopen() {
    await (await this.#file?.catch(() => null))?.close();
    this.#file = null;
  }

  async #guard(work) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof DOMException) return 0; // checked again, and repaired where it can be
      throw storageError(error, this.name);
    }
  }
}
