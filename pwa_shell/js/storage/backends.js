/**
 * The back ends and their contract, which tests/storage/contract.js runs on each of them:
 *
 *     open(path, {create, readonly}) -> file | null        parents are made with the file; null: not there
 *       file.size()                   bytes
 *       file.readInto(buffer, at)     bytes read, fewer only at the end of the file
 *       file.write(bytes, at)         all of them, or throws; a gap before `at` reads as zeros
 *       file.flush()                  what was written survives a power cut once it resolves
 *       file.truncate(size)           shorter, or longer with zeros
 *       file.close()                  one writer holds a file at a time; readers share
 *     remove(path)                    the file, or all below the folder; what is not there is no error
 *     list(prefix) -> [{path, size}]  usage() -> bytes
 *
 * write and flush fail with InvalidStateError where the browser dropped the handle, which is then open again: what was written since
 * the last flush must be written again. Every call may return a promise. Paths are "/"-separated without "." and "..". Failures are DOMExceptions or E_BUSY.
 */
import { again } from "./errors.js";
import { createIdb } from "./idb.js";
import { createMemory } from "./memory.js";
import { createOpfsAsync } from "./opfs_async.js";
import { createOpfsSync } from "./opfs_sync.js";

export const BACKENDS = {
  "opfs-sync": createOpfsSync, "opfs-async": createOpfsAsync, indexeddb: createIdb, memory: createMemory,
};

/** The first back end that really writes here, and why those before it do not: {backend, refused: [{name, reason}]}. */
export async function chooseBackend(names = Object.keys(BACKENDS)) {
  const refused = [];
  for (const name of names) {
    const backend = BACKENDS[name]();
    try {
      await tryOut(backend);
      return { backend, refused };
    } catch (error) {
      refused.push({ name, reason: `${error.name}: ${error.message}` });
    }
  }
  // Every store may be full or forbidden; only memory never refuses.
  return { backend: createMemory(), refused };
}

/** Writes, reads back and removes a small file: a browser may offer an API and refuse its use. */
async function tryOut(backend) {
  const path = `jird/probe-${crypto.randomUUID()}`;
  const wrote = crypto.getRandomValues(new Uint8Array(1021)), read = new Uint8Array(1021);
  try {
    const file = await backend.open(path, { create: true });
    try {
      await again(async () => {
        await file.write(wrote, 0);
        await file.flush();
      });
      await file.readInto(read, 0);
    } finally {
      await file.close();
    }
  } finally {
    await backend.remove(path).catch(() => {});
  }
  if (!wrote.every((byte, i) => byte === read[i])) throw new Error("it does not read what was written");
}
