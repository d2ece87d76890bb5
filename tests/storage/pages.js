/** What the storage tests do in a page. Answers are plain JSON; failures come as {error: {code, next_step, facts}}. */
import { StorageClient } from "/js/storage/client.js";

let storage = null;

/** Starts a storage worker: `script` is the app's own or one of patches.js. */
export function start(script = "/storage_worker.js", backend = "") {
  storage?.terminate();
  storage = StorageClient.start(new URL(backend ? `${script}?backend=${backend}` : script, location.href));
  return call("info");
}

export async function call(method, params = {}, options = {}) {
  try {
    return { result: await storage.call(method, params, options) };
  } catch (error) {
    if (!error.code?.startsWith?.("E_")) return { error: { code: error.name, message: error.message } };
    return { error: error.toJSON() };
  }
}

/** A download with what its progress said: {result | error, stages, first, last, events}. */
export async function download(spec, extra = {}) {
  const events = [];
  const onProgress = (state) => events.push({ ...state, at: performance.now() });
  const answer = await call("download", { spec, ...extra }, { onProgress });
  return { ...answer, stages: [...new Set(events.map(({ stage }) => stage))], events };
}

/** Begins a download whose answer `settled` holds later; `progress` is its last state. */
export const running = { settled: null, progress: null };
export function begin(spec, extra = {}) {
  Object.assign(running, { settled: null, progress: null });
  const onProgress = (state) => (running.progress = state);
  call("download", { spec, ...extra }, { onProgress }).then((answer) => (running.settled = answer));
}

/** {file name: sha256} of a whole model, read through the readers in pieces of an awkward size. */
export async function digests(id, piece = 3_000_017) {
  try {
    const model = await storage.openModel(id);
    const found = {};
    for (const [name, source] of model.files) {
      const all = new Uint8Array(source.size);
      for (let at = 0; at < source.size; at += piece) all.set(await source.read(at, Math.min(piece, source.size - at)), at);
      found[name] = hex(await crypto.subtle.digest("SHA-256", all));
    }
    await model.close();
    return found;
  } catch (error) {
    return { error: error.toJSON?.() ?? String(error) };
  }
}

/** Reads a whole model as the engine does: slices of 4 MB from an odd place, four at once. Milliseconds. */
export async function load(id) {
  const start = performance.now(), model = await storage.openModel(id), SLICE = 4 << 20;
  for (const source of model.files.values()) {
    let next = 769;
    const one = async () => {
      while (next < source.size) {
        const at = next;
        next += SLICE;
        await source.read(at, Math.min(SLICE, source.size - at));
      }
    };
    await Promise.all([one(), one(), one(), one()]);
  }
  await model.close();
  return performance.now() - start;
}

export function files(list) {
  return list.map(({ name, size, seed }) => ({ name, file: new File([bytes(size, seed)], name) }));
}

/** The same bytes as `pattern` of the Python side. */
export function bytes(size, seed) {
  const out = new Uint8Array(size);
  let state = seed >>> 0;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = state >>> 24;
  }
  return out;
}

/** Changes files of the private file system behind the worker's back. `change`: "flip" (at), "truncate" (to), "remove". */
export async function damage(path, change, at = 0) {
  const segments = path.split("/");
  let folder = await navigator.storage.getDirectory();
  for (const name of segments.slice(0, -1)) folder = await folder.getDirectoryHandle(name);
  if (change === "remove") return folder.removeEntry(segments.at(-1), { recursive: true });
  const handle = await folder.getFileHandle(segments.at(-1));
  const old = new Uint8Array(await (await handle.getFile()).slice(at, at + 1).arrayBuffer());
  const stream = await handle.createWritable({ keepExistingData: true });
  if (change === "flip") await stream.write({ type: "write", position: at, data: new Uint8Array([old[0] ^ 1]) });
  else await stream.truncate(at);
  await stream.close();
}

export async function clearAll() {
  const root = await navigator.storage.getDirectory();
  for await (const name of root.keys()) await root.removeEntry(name, { recursive: true });
}

const hex = (digest) => Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");

globalThis.lab = { start, call, download, begin, running, digests, load, files, damage, clearAll, client: () => storage };
