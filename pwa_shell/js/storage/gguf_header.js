/**
 * Whether a GGUF file can be what it says: every length, count, type and offset of its header, and the place of every tensor, against
 * the file's size. The rules are those of pyengine/formats/gguf.py (a test compares the verdicts); read is the header, in windows.
 */
import { jirdError } from "../errors.js";

const WINDOW = 1 << 20;
const MAX_STRING = 1 << 28;
const MAX_DIMS = 4;
/** ggml type: [name, elements of a block, its bytes] of what Jird reads. */
const TYPES = {
  0: ["F32", 1, 4], 1: ["F16", 1, 2], 2: ["Q4_0", 32, 18], 3: ["Q4_1", 32, 20], 6: ["Q5_0", 32, 22], 7: ["Q5_1", 32, 24],
  8: ["Q8_0", 32, 34], 12: ["Q4_K", 256, 144], 13: ["Q5_K", 256, 176], 14: ["Q6_K", 256, 210], 24: ["I8", 1, 1],
  26: ["I32", 1, 4], 27: ["I64", 1, 8], 30: ["BF16", 1, 2],
};
const SCALARS = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 }; // bytes by value type
const STRING = 8, ARRAY = 9;

/** Fails with E_BAD_FILE, E_TRUNCATED, E_UNSUPPORTED_TENSOR, and E_BAD_REQUEST where the file cannot be read. */
export async function checkGguf(file, name = file.name) {
  const scan = new Scan(file, name);
  const { pairs, tensors } = await scan.counts();
  const keys = new Set();
  let alignment = 32;
  for (let i = 0; i < pairs; i++) {
    const key = scan.unique(keys, await scan.string("a metadata key"), "the key");
    const value = await scan.value(await scan.u32(key), key);
    if (key === "general.alignment") alignment = value;
  }
  const names = new Set(), infos = [];
  for (let i = 0; i < tensors; i++) {
    const info = await scan.tensor();
    scan.unique(names, info.name, "the tensor");
    infos.push(info);
  }
  if (!Number.isInteger(alignment) || !(alignment >= 1 && alignment <= 1 << 20) || alignment & (alignment - 1)) {
    scan.bad(`general.alignment is ${alignment}, wanted a power of two`);
  }
  if (!infos.length) scan.bad("it has no tensors");
  checkPlaces(scan, infos, alignment);
}

/** Each tensor lies inside the file and over no other. */
function checkPlaces(scan, infos, alignment) {
  const base = Math.ceil(scan.at / alignment) * alignment;
  const placed = infos.map(({ name, dims, type, offset }) => {
    if (!TYPES[type]) {
      const known = Object.values(TYPES).map(([label]) => label).join(", ");
      throw jirdError("E_UNSUPPORTED_TENSOR", { tensor: short(name), detail: `its ggml type is ${type}, wanted ${known}` });
    }
    const length = bytesOf(scan, name, dims, TYPES[type]);
    if (offset % alignment) scan.bad(`tensor ${short(name)} is at offset ${offset}, which ${alignment} does not divide`);
    if (!Number.isSafeInteger(offset)) scan.bad(`tensor ${short(name)} is at offset ${offset} of a file of ${scan.size} bytes`);
    const start = base + offset, end = start + length;
    if (end > scan.size) throw scan.truncated(start, end);
    return { name, start, end };
  });
  placed.sort((a, b) => a.start - b.start || a.end - b.end);
  for (let i = 1; i < placed.length; i++) {
    if (placed[i].start < placed[i - 1].end) {
      scan.bad(`tensors ${short(placed[i - 1].name)} and ${short(placed[i].name)} overlap at byte ${placed[i].start}`);
    }
  }
}

function bytesOf(scan, name, dims, [label, elements, bytes]) {
  let count = 1;
  for (const dim of dims) {
    count *= dim;
    if (!(count >= 1 && Number.isSafeInteger(count))) scan.bad(`tensor ${short(name)} has the shape ${dims.toReversed()}`);
  }
  if (dims[0] % elements) scan.bad(`tensor ${short(name)} has rows of ${dims[0]}, which ${label} blocks of ${elements} do not fill`);
  return (count / elements) * bytes;
}

/** A cursor `at` over the file, of which a window is in memory. */
class Scan {
  #file; #name; #from = 0; #view = new DataView(new ArrayBuffer(0)); #text = new TextDecoder("utf-8", { fatal: true });
  at = 0;

  constructor(file, name) {
    [this.#file, this.#name, this.size] = [file, name, file.size];
  }

  bad(detail) {
    throw jirdError("E_BAD_FILE", { file: this.#name, format: "GGUF", detail });
  }

  truncated(start, end) {
    return jirdError("E_TRUNCATED", { file: this.#name, start, end, size: this.size });
  }

  /** {pairs, tensors}: how many the header says it has. */
  async counts() {
    const magic = String.fromCharCode(...new Uint8Array(await bytesAt(this.#file, 0, 4)));
    if (magic !== "GGUF") this.bad("it does not begin with GGUF");
    this.at = 4;
    const version = await this.u32("the version");
    if (version !== 2 && version !== 3) this.bad(`version ${version} is not known, 2 and 3 are`);
    const tensors = await this.u64("the count of tensors"), pairs = await this.u64("the count of pairs");
    // the shortest pair has 13 bytes, the shortest tensor entry 32
    if (pairs * 13 + tensors * 32 > this.size - this.at) {
      this.bad(`${pairs} metadata pairs and ${tensors} tensors do not fit in ${this.size} bytes`);
    }
    return { pairs, tensors };
  }

  /** `value`, which must be new to the set. */
  unique(seen, value, what) {
    if (seen.has(value)) this.bad(`${what} ${short(value)} appears twice`);
    seen.add(value);
    return value;
  }

  /** {name, dims (fastest first), type, offset in the data}. */
  async tensor() {
    const name = await this.string("a tensor name"), count = await this.u32(name);
    if (!(count >= 1 && count <= MAX_DIMS)) this.bad(`tensor ${short(name)} has ${count} dimensions, wanted 1 to ${MAX_DIMS}`);
    const dims = [];
    while (dims.length < count) dims.push(await this.u64(name));
    return { name, dims, type: await this.u32(name), offset: await this.u64(name) };
  }

  /** Steps over a metadata value of key `what`; -> it, where it is a number of whole bytes. */
  async value(type, what) {
    if (type === STRING) return void (await this.string(what));
    if (type === ARRAY) return this.#array(what);
    if (!SCALARS[type]) this.bad(`metadata ${short(what)} has value type ${type}, wanted 0 to 12`);
    const start = await this.#take(SCALARS[type], what);
    if (type === 10 || type === 11) return Number(this.#view.getBigInt64(start, true));
    const read = { 0: "Uint8", 1: "Int8", 2: "Uint16", 3: "Int16", 4: "Uint32", 5: "Int32" }[type];
    return read ? this.#view[`get${read}`](start, true) : NaN; // no other type can be an alignment
  }

  async #array(what) {
    const type = await this.u32(what), count = await this.u64(what);
    if (type !== STRING && !SCALARS[type]) {
      this.bad(`metadata ${short(what)} is an array of value type ${type}, wanted a number or a string`);
    }
    this.#room(count * (SCALARS[type] ?? 8), what);
    if (type !== STRING) this.at += count * SCALARS[type];
    else for (let i = 0; i < count; i++) if (!this.#quickString()) await this.string(what);
  }

  /** Steps over a string that lies in the window: a vocabulary has 100,000 and more. -> whether it does. */
  #quickString() {
    const start = this.at - this.#from, held = this.#view.byteLength;
    if (start + 8 > held) return false;
    const length = this.#view.getUint32(start, true);
    if (this.#view.getUint32(start + 4, true) || start + 8 + length > held) return false;
    this.#decode(start + 8, length, "a metadata string");
    this.at += 8 + length;
    return true;
  }

  async string(what) {
    const length = await this.u64(what);
    return this.#decode(await this.#take(length, what), length, what);
  }

  #decode(start, length, what) {
    try {
      return this.#text.decode(new Uint8Array(this.#view.buffer, start, length));
    } catch {
      return this.bad(`${short(what)} at byte ${this.#from + start} is not UTF-8`);
    }
  }

  async u32(what) {
    const start = await this.#take(4, what); // which may bring another window
    return this.#view.getUint32(start, true);
  }

  /** A number beyond 2^53 loses digits, but stays too large for any file. */
  async u64(what) {
    const start = await this.#take(8, what);
    return Number(this.#view.getBigUint64(start, true));
  }

  /** Fails unless `length` bytes follow. */
  #room(length, what) {
    const end = this.at + length;
    if (length > MAX_STRING && end > this.size) {
      this.bad(`${short(what)} at byte ${this.at} claims ${length} bytes of a file of ${this.size}`);
    }
    if (end > this.size) throw this.truncated(this.at, end);
  }

  /** Steps over `length` bytes, which are in the window then; -> where they begin in it. */
  async #take(length, what) {
    this.#room(length, what);
    if (length > MAX_STRING) this.bad(`${short(what)} is ${length} bytes long`);
    if (this.at < this.#from || this.at + length > this.#from + this.#view.byteLength) {
      this.#view = new DataView(await bytesAt(this.#file, this.at, this.at + Math.max(length, WINDOW)));
      this.#from = this.at;
    }
    const start = this.at - this.#from;
    this.at += length;
    return start;
  }
}

const short = (text) => (text.length <= 80 ? text : `${text.slice(0, 77)}...`);

/** Bytes of a local file; one that was moved or changed since it was chosen cannot be read. */
export async function bytesAt(file, start, end) {
  try {
    return await file.slice(start, end).arrayBuffer();
  } catch (error) {
    throw jirdError("E_BAD_REQUEST", { param: "file", got: `${file.name} (${error.name})`, wanted: "a file that can be read" });
  }
}
