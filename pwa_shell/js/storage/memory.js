/** The back end of last resort: nothing outlives the worker, which `info()` says. Contract: backends.js. */
import { openParts } from "./parts.js";

export function createMemory() {
  return new Memory();
}

class Memory {
  name = "memory";
  durable = false;
  #files = new Map(); // path -> Map(index -> bytes)

  open(path, options) {
    return openParts(this, path, options);
  }

  async remove(path) {
    for (const name of [...this.#files.keys()]) {
      if (name === path || name.startsWith(`${path}/`)) this.#files.delete(name);
    }
  }

  async list(prefix = "") {
    const found = [];
    for (const path of this.#files.keys()) {
      if (path.startsWith(prefix)) found.push({ path, size: (await this.open(path)).size() });
    }
    return found;
  }

  async usage() {
    return (await this.list()).reduce((sum, file) => sum + file.size, 0);
  }

  // What PartFile asks of a store of parts.
  async lengths(path) {
    const parts = this.#files.get(path);
    return parts ? new Map([...parts].map(([index, bytes]) => [index, bytes.length])) : null;
  }

  async create(path) {
    this.#files.set(path, new Map());
  }

  async get(path, index, from, to) {
    return this.#files.get(path)?.get(index)?.subarray(from, to) ?? null;
  }

  async put(path, index, bytes) {
    if (!this.#files.has(path)) await this.create(path); // removed while it was open
    this.#files.get(path).set(index, bytes.slice());
  }

  async drop(path, indexes) {
    indexes.forEach((index) => this.#files.get(path)?.delete(index));
  }
}
