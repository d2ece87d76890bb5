/**
 * A file kept as parts of 4 MB: what OPFS createWritable, IndexedDB and memory have in common. Each part is written whole and
 * atomically, so a file of any size never needs a second copy of itself, which is what createWritable would make.
 *
 * A part store has, all async and by path: `lengths(path) -> Map(index -> bytes) | null`, `create(path)`,
 * `get(path, index, from, to) -> Uint8Array | null`, `put(path, index, bytes)` (durable once it resolves; the bytes are copied),
 * `drop(path, indexes)`.
 */
const PART = 4 << 20;

/** Opens `path` of a part store by the contract of backends.js. */
export async function openParts(store, path, { create = false, readonly = false } = {}) {
  let lengths = await store.lengths(path);
  if (!lengths && create && !readonly) {
    await store.create(path);
    lengths = new Map();
  }
  return lengths && new PartFile(store, path, lengths);
}

class PartFile {
  #store; #path; #lengths;

  constructor(store, path, lengths) {
    this.#store = store;
    this.#path = path;
    this.#lengths = lengths;
  }

  size() {
    let end = 0;
    for (const [index, length] of this.#lengths) end = Math.max(end, index * PART + length);
    return end;
  }

  async readInto(buffer, at) {
    const wanted = Math.max(0, Math.min(buffer.length, this.size() - at));
    for (let done = 0; done < wanted;) {
      const index = Math.floor((at + done) / PART), from = (at + done) % PART;
      const count = Math.min(PART - from, wanted - done);
      const target = buffer.subarray(done, done + count).fill(0); // what was never written reads as zeros
      const stored = this.#lengths.get(index) ?? 0;
      if (stored > from) target.set(await this.#part(index, from, Math.min(stored, from + count)));
      done += count;
    }
    return wanted;
  }

  async write(bytes, at) {
    for (let done = 0; done < bytes.length;) {
      const index = Math.floor((at + done) / PART), from = (at + done) % PART;
      const count = Math.min(PART - from, bytes.length - done);
      await this.#put(index, from, bytes.subarray(done, done + count));
      done += count;
    }
  }

  /** Every part is durable when its write resolves. */
  flush() {}

  async truncate(size) {
    const last = Math.floor(Math.max(0, size - 1) / PART), length = size - last * PART;
    const gone = [...this.#lengths.keys()].filter((index) => size === 0 || index > last);
    if (gone.length) await this.#store.drop(this.#path, gone);
    gone.forEach((index) => this.#lengths.delete(index));
    const stored = this.#lengths.get(last) ?? 0;
    if (size === 0 || stored === length) return;
    const part = new Uint8Array(length);
    if (stored) part.set(await this.#part(last, 0, Math.min(stored, length)));
    await this.#store.put(this.#path, last, part);
    this.#lengths.set(last, length);
  }

  close() {}

  async #put(index, from, bytes) {
    const stored = this.#lengths.get(index) ?? 0;
    let part = bytes;
    if (from > 0 || bytes.length < stored) {
      part = new Uint8Array(Math.max(stored, from + bytes.length));
      if (stored) part.set(await this.#part(index, 0, stored));
      part.set(bytes, from);
    }
    await this.#store.put(this.#path, index, part);
    this.#lengths.set(index, part.length);
  }

  async #part(index, from, to) {
    const bytes = await this.#store.get(this.#path, index, from, to);
    if (bytes?.length !== to - from) {
      throw new DOMException(`part ${index} of ${this.#path} is gone`, "NotFoundError");
    }
    return bytes;
  }
}
