/**
 * The private file system by sync access handles: the dependable way to write gigabytes, in a dedicated worker only.
 * A writer holds its file alone. Readers go by `getFile()`, which takes no lock, so that readers in several tabs share.
 */
import * as opfs from "./opfs_dir.js";
import { busyRetry } from "./errors.js";
import { readBlob } from "./streams.js";

const OWN = ["models", "jird"]; // the folders that this back end may hold

export function createOpfsSync() {
  return { name: "opfs-sync", durable: true, open, remove: opfs.remove, list, usage };
}

async function open(path, { create = false, readonly = false } = {}) {
  const handle = await opfs.file(path, create && !readonly);
  if (!handle) return null;
  return readonly ? new SharedReader(handle) : new Writer(path, await exclusive(handle, path));
}

/** A sync handle; one that another tab holds is asked for again for about 3 s, then E_BUSY. */
function exclusive(handle, path) {
  return busyRetry(path, () => handle.createSyncAccessHandle());
}

async function list(prefix = "") {
  const found = [];
  for (const name of OWN) {
    const root = await opfs.folder([name]);
    if (!root) continue;
    for await (const [path, handle] of opfs.walk(root, name)) {
      const file = path.startsWith(prefix) && (await opfs.orNull(handle.getFile()));
      if (file) found.push({ path, size: file.size });
    }
  }
  return found;
}

async function usage() {
  return (await list()).reduce((sum, file) => sum + file.size, 0);
}

class Writer {
  #path; #handle;

  constructor(path, handle) {
    this.#path = path;
    this.#handle = handle;
  }

  size() {
    return this.#step((handle) => handle.getSize());
  }

  readInto(buffer, at) {
    return this.#step((handle) => handle.read(buffer, { at }));
  }

  async write(bytes, at) {
    const written = await this.#once((handle) => handle.write(bytes, { at }));
    // A full disk may show as a short count instead of an exception.
    if (written !== bytes.length) throw new DOMException(`wrote ${written} of ${bytes.length} bytes`, "QuotaExceededError");
  }

  flush() {
    return this.#once((handle) => handle.flush());
  }

  truncate(size) {
    return this.#step((handle) => handle.truncate(size));
  }

  close() {
    this.#handle.close();
  }

  /** Runs one step; a handle that the browser dropped meanwhile (InvalidStateError) is opened again, once. */
  async #step(step) {
    try {
      return step(this.#handle);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error;
      await this.#reopen();
      return step(this.#handle);
    }
  }

  /** As `#step`, but not run again: what was written through a lost handle must be written again first. */
  async #once(step) {
    try {
      return step(this.#handle);
    } catch (error) {
      if (error.name === "InvalidStateError") await this.#reopen();
      throw error;
    }
  }

  async #reopen() {
    this.#handle.close();
    const handle = await opfs.file(this.#path); // not created: a file that is gone must not come back empty
    if (!handle) throw new DOMException(`${this.#path} is gone`, "NotFoundError");
    this.#handle = await exclusive(handle, this.#path);
  }
}

class SharedReader {
  #handle; #file = null;

  constructor(handle) {
    this.#handle = handle;
  }

  async size() {
    return (await this.#handle.getFile()).size;
  }

  async readInto(buffer, at) {
    try {
      return await this.#read(buffer, at);
    } catch (error) {
      if (error.name !== "NotReadableError") throw error;
      this.#file = null; // the file was written to since: the snapshot is stale
      return this.#read(buffer, at);
    }
  }

  close() {
    this.#file = null;
  }

  async #read(buffer, at) {
    this.#file ??= await this.#handle.getFile();
    return readBlob(this.#file.slice(at, at + buffer.length), buffer);
  }
}
