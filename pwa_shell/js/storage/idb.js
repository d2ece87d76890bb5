/** IndexedDB: two stores by [path, index], `parts` (bytes) and `lengths`, and `files` by path. Contract: backends.js. */
import { openParts } from "./parts.js";

const STORES = ["files", "lengths", "parts"];

export function createIdb(name = "jird-models") {
  return new Idb(name);
}

class Idb {
  name = "indexeddb";
  durable = true;
  #database; #opening = null;

  constructor(database) {
    this.#database = database;
  }

  open(path, options) {
    return openParts(this, path, options);
  }

  async remove(path) {
    await this.#run("readwrite", (tx) => {
      for (const below of [exactly(path), within(path)]) {
        tx.objectStore("files").delete(below.files);
        for (const name of ["lengths", "parts"]) tx.objectStore(name).delete(below.parts);
      }
    });
  }

  async list(prefix = "") {
    const paths = await this.#run("readonly", (tx) => tx.objectStore("files").getAllKeys());
    const found = [];
    for (const path of paths) {
      if (path.startsWith(prefix)) found.push({ path, size: (await this.open(path))?.size() ?? 0 });
    }
    return found;
  }

  async usage() {
    return (await this.list()).reduce((sum, file) => sum + file.size, 0);
  }

  // What PartFile asks of a store of parts.
  async lengths(path) {
    const range = exactly(path).parts;
    const [file, keys, values] = await this.#run("readonly", (tx) => [tx.objectStore("files").getKey(path),
      tx.objectStore("lengths").getAllKeys(range), tx.objectStore("lengths").getAll(range)]);
    return file === undefined ? null : new Map(keys.map(([, index], i) => [index, values[i]]));
  }

  async create(path) {
    await this.#run("readwrite", (tx) => tx.objectStore("files").put(1, path));
  }

  async get(path, index, from, to) {
    const part = await this.#run("readonly", (tx) => tx.objectStore("parts").get([path, index]));
    return part ? new Uint8Array(part, from, to - from) : null;
  }

  async put(path, index, bytes) {
    const copy = bytes.slice().buffer; // a view would be cloned with all of the buffer behind it
    await this.#run("readwrite", (tx) => {
      tx.objectStore("files").put(1, path);
      tx.objectStore("lengths").put(bytes.length, [path, index]);
      tx.objectStore("parts").put(copy, [path, index]);
    });
  }

  async drop(path, indexes) {
    await this.#run("readwrite", (tx) => {
      for (const index of indexes) {
        tx.objectStore("lengths").delete([path, index]);
        tx.objectStore("parts").delete([path, index]);
      }
    });
  }

  /** One transaction, durable when it resolves to its requests' results. A closed connection is opened again, once. */
  async #run(mode, work) {
    try {
      return await transact(await this.#connect(), mode, work);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error;
      this.#opening = null;
      return transact(await this.#connect(), mode, work);
    }
  }

  #connect() {
    this.#opening ??= connect(this.#database, () => (this.#opening = null));
    this.#opening.catch(() => (this.#opening = null));
    return this.#opening;
  }
}

function connect(name, onClose) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store));
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new DOMException(`${name} is blocked by another tab`, "InvalidStateError"));
    request.onsuccess = () => {
      request.result.onclose = onClose; // the person cleared the site's data
      request.result.onversionchange = () => (request.result.close(), onClose());
      resolve(request.result);
    };
  });
}

function transact(database, mode, work) {
  return new Promise((resolve, reject) => {
    const tx = database.transaction(STORES, mode, { durability: "strict" });
    const asked = work(tx);
    tx.oncomplete = () => resolve(Array.isArray(asked) ? asked.map((request) => request.result) : asked?.result);
    tx.onabort = () => reject(tx.error ?? new DOMException("the transaction was aborted", "AbortError"));
  });
}

const exactly = (path) => ({ files: IDBKeyRange.only(path), parts: IDBKeyRange.bound([path, 0], [path, Infinity]) });

/** Every key below the folder: "0" is the character after "/". */
const within = (path) => ({
  files: IDBKeyRange.bound(`${path}/`, `${path}0`, false, true),
  parts: IDBKeyRange.bound([`${path}/`], [`${path}0`], false, true),
});
