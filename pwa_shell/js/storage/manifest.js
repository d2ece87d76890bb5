/**
 * What is known of a stored model, beside its files:
 *
 *     models/<id>/files/<name>       the original bytes
 *     models/<id>/manifest.json      {checksum, manifest: {version, counter, id, name, source: {kind, url, revision}, state,
 *     models/<id>/manifest-1.json     created, files: [{name, url, size, declared, etag, lastModified, chunk,
 *                                     sha256: [hex | null per chunk], written: bitmap in base64, expected: hex | null}]}}
 *
 * Two slots, written in turn: a kill during a save tears the older one, whose checksum then fails, and the other still says what
 * it said. A chunk's bit is set only in a save that begins after its bytes are flushed, so the window between flush and save
 * costs a chunk (it is fetched again) and never trust (a bit without its bytes).
 */
import { again, storageError } from "./errors.js";
import { sha256Hex } from "./sha256.js";

export const VERSION = 1;
export const CHUNK = 4 << 20;
export const ROOT = "models";
const SLOTS = ["manifest.json", "manifest-1.json"];

/** The folder of model `id`; ids and names may hold "/", which the path must not. */
export function modelPath(id) {
  return `${ROOT}/${segment(id)}`;
}

export function filePath(id, name) {
  return `${modelPath(id)}/files/${segment(name)}`;
}

/** A name as one path segment: "/" and what file systems dislike are percent-encoded, dots at the start too. */
function segment(name) {
  return encodeURIComponent(name).replace(/[*'()!~]/g, percent).replace(/^\.+/, (dots) => "%2E".repeat(dots.length));
}

const percent = (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;

/** One file's row. `size` null: not yet known; then `written` grows with what comes. */
export class FileEntry {
  constructor(row) {
    const { name, url = null, size = null, etag = null, lastModified = null, chunk = CHUNK, sha256 = [], expected = null } = row;
    // A declared size was published beside the file: another one at the source is a fault, not news.
    const declared = row.declared ?? size !== null;
    Object.assign(this, { name, url, size, declared, etag, lastModified, chunk, sha256, expected });
    this.bits = row.written ? Uint8Array.from(atob(row.written), (c) => c.charCodeAt(0)) : new Uint8Array(0);
  }

  /** Chunks of the file; 0 while its size is not known. */
  get chunks() {
    return Math.ceil((this.size ?? 0) / this.chunk);
  }

  get complete() {
    return this.size !== null && this.missing().next().done;
  }

  /** Bytes of the chunks that are written. */
  get bytesWritten() {
    let bytes = 0;
    for (let i = 0; i < this.sha256.length; i++) if (this.has(i)) bytes += this.length(i);
    return bytes;
  }

  length(index) {
    return this.size === null ? this.chunk : Math.min(this.chunk, this.size - index * this.chunk);
  }

  has(index) {
    return ((this.bits[index >> 3] ?? 0) >> (index & 7) & 1) === 1;
  }

  mark(index, digest) {
    if (index >> 3 >= this.bits.length) {
      const bits = new Uint8Array(Math.max((index >> 3) + 1, Math.ceil(this.chunks / 8)));
      bits.set(this.bits);
      this.bits = bits;
    }
    while (this.sha256.length <= index) this.sha256.push(null);
    this.bits[index >> 3] |= 1 << (index & 7);
    this.sha256[index] = digest;
  }

  /** Forgets that a chunk is there; its digest stays, so that what is fetched instead is known to be the same. */
  unmark(index) {
    if (index >> 3 < this.bits.length) this.bits[index >> 3] &= ~(1 << (index & 7));
  }

  *missing() {
    for (let i = 0; i < this.chunks; i++) if (!this.has(i)) yield i;
  }

  /** Starts over: another version lies at the source, of which nothing here is part. */
  reset({ size = null, etag = null, lastModified = null } = {}) {
    Object.assign(this, { size, etag, lastModified, sha256: [], bits: new Uint8Array(0) });
  }

  toJSON() {
    const { bits, ...row } = this;
    return { ...row, written: btoa(String.fromCharCode(...bits)) };
  }
}

export class Manifest {
  #saving = null; #again = null;

  constructor({ id, name = id, source, files, created = Date.now(), state = "partial", counter = 0, license = null }) {
    Object.assign(this, { id, name, license, source, created, state, counter });
    this.files = files.map((row) => (row instanceof FileEntry ? row : new FileEntry(row)));
  }

  /** The newest whole manifest of model `id`, or null. A version that is not ours counts as none. */
  static async load(backend, id) {
    let best = null;
    for (const slot of SLOTS) {
      const found = await readSlot(backend, `${modelPath(id)}/${slot}`);
      if (found?.version === VERSION && found.id === id && found.counter >= (best?.counter ?? 0)) best = found;
    }
    return best && new Manifest(best);
  }

  file(name) {
    return this.files.find((file) => file.name === name) ?? null;
  }

  get complete() {
    return this.files.length > 0 && this.files.every((file) => file.complete);
  }

  /** Sum of the sizes, or null while one is unknown. */
  get size() {
    return this.files.reduce((sum, file) => (sum === null || file.size === null ? null : sum + file.size), 0);
  }

  get bytesWritten() {
    return this.files.reduce((sum, file) => sum + file.bytesWritten, 0);
  }

  /** Resolves when what is true now is durable. Saves run one at a time; those asked for meanwhile share the next. */
  save(backend) {
    if (!this.#saving) return (this.#saving = this.#write(backend).finally(() => (this.#saving = null)));
    const after = this.#saving.catch(() => {});
    return (this.#again ??= after.then(() => {
      this.#again = null;
      return this.save(backend);
    }));
  }

  async #write(backend) {
    const counter = this.counter + 1;
    const manifest = { version: VERSION, ...this, counter };
    const body = JSON.stringify(manifest);
    const checksum = await sha256Hex(new TextEncoder().encode(body));
    const path = `${modelPath(this.id)}/${SLOTS[counter % SLOTS.length]}`;
    try {
      await writeWhole(backend, path, new TextEncoder().encode(`{"checksum":"${checksum}","manifest":${body}}`));
    } catch (error) {
      throw storageError(error, path);
    }
    this.counter = counter;
  }
}

/** Ids of the models that have a manifest. */
export async function storedIds(backend) {
  const ids = new Set();
  for (const { path } of await backend.list(`${ROOT}/`)) {
    const [, id, name] = path.split("/");
    if (SLOTS.includes(name)) ids.add(decodeURIComponent(id));
  }
  return [...ids].sort();
}

async function writeWhole(backend, path, bytes) {
  const file = await backend.open(path, { create: true });
  try {
    await again(async () => {
      await file.truncate(bytes.length);
      await file.write(bytes, 0);
      await file.flush();
    });
  } finally {
    await file.close();
  }
}

/** The manifest of a slot, or null where none is whole: absent, torn, or being written by another tab. */
async function readSlot(backend, path) {
  try {
    const file = await backend.open(path, { readonly: true });
    if (!file) return null;
    const bytes = new Uint8Array(await file.size());
    const count = await file.readInto(bytes, 0);
    await file.close();
    const { checksum, manifest } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, count)));
    const body = new TextEncoder().encode(JSON.stringify(manifest));
    return checksum === (await sha256Hex(body)) && wellFormed(manifest) ? manifest : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException) return null;
    throw error;
  }
}

const text = (value) => typeof value === "string";
const count = (value) => Number.isSafeInteger(value) && value >= 0;
const hex = (value) => value == null || (text(value) && /^[0-9a-f]{64}$/.test(value));

/** Whether each field is of its type: the checksum tells what is torn, not who wrote it. */
function wellFormed(manifest) {
  return text(manifest?.id) && text(manifest.name ?? "") && count(manifest.counter) && text(manifest.state ?? "")
    && typeof (manifest.source ?? null) === "object" && Array.isArray(manifest.files) && manifest.files.every(wellFormedFile);
}

function wellFormedFile(row) {
  return text(row?.name) && row.name !== "" && text(row.url ?? "") && (row.size == null || count(row.size))
    && count(row.chunk ?? CHUNK) && row.chunk !== 0 && Array.isArray(row.sha256 ?? []) && (row.sha256 ?? []).every(hex)
    && (row.sha256 ?? []).length * (row.chunk ?? CHUNK) <= Number.MAX_SAFE_INTEGER
    && hex(row.expected) && text(row.written ?? "") && /^[A-Za-z0-9+/]*={0,2}$/.test(row.written ?? "")
    && (row.written ?? "").length % 4 === 0;
}
