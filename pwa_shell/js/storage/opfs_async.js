/**
 * The private file system by createWritable, where sync handles are refused. A file `a/b` is the folder `model-parts/a/b.parts`
 * with one small file per 4 MB: createWritable copies the whole file it changes, so a large one must not be a single file.
 */
import * as opfs from "./opfs_dir.js";
import { busyRetry } from "./errors.js";
import { openParts } from "./parts.js";

const ROOT = "model-parts";
const SUFFIX = ".parts";

export function createOpfsAsync() {
  const store = { lengths, create, get, put, drop };
  return {
    name: "opfs-async", durable: true, list, remove, usage,
    open: (path, options) => openParts(store, path, options),
  };
}

const folderOf = (path, make) => opfs.folder([ROOT, ...path.split("/").slice(0, -1), path.split("/").at(-1) + SUFFIX], make);

async function lengths(path) {
  const parts = await folderOf(path);
  if (!parts) return null;
  const found = new Map();
  for await (const [name, handle] of parts.entries()) {
    if (/^\d+$/.test(name)) found.set(Number(name), (await handle.getFile()).size);
  }
  return found;
}

async function create(path) {
  await folderOf(path, true);
}

async function get(path, index, from, to) {
  const parts = await folderOf(path);
  const handle = parts && (await opfs.orNull(parts.getFileHandle(String(index))));
  if (!handle) return null;
  return new Uint8Array(await (await handle.getFile()).slice(from, to).arrayBuffer());
}

async function put(path, index, bytes) {
  const parts = await folderOf(path, true);
  const handle = await parts.getFileHandle(String(index), { create: true });
  // The browser swaps the new part in at close(): a kill before leaves the old one.
  const stream = await busyRetry(path, () => handle.createWritable());
  try {
    await stream.write(bytes);
    await stream.close();
  } catch (error) {
    await stream.abort().catch(() => {});
    throw error;
  }
}

async function drop(path, indexes) {
  const parts = await folderOf(path);
  for (const index of parts ? indexes : []) await opfs.orNull(parts.removeEntry(String(index)));
}

async function remove(path) {
  await opfs.remove(`${ROOT}/${path}${SUFFIX}`);
  await opfs.remove(`${ROOT}/${path}`);
}

async function list(prefix = "") {
  const sizes = new Map();
  const root = await opfs.folder([ROOT]);
  if (root) await collect(root, "", sizes);
  return [...sizes].filter(([path]) => path.startsWith(prefix)).map(([path, size]) => ({ path, size }));
}

async function collect(folder, path, sizes) {
  for await (const [name, entry] of folder.entries()) {
    if (entry.kind !== "directory") continue;
    const below = path ? `${path}/${name}` : name;
    if (name.endsWith(SUFFIX)) {
      const file = below.slice(0, -SUFFIX.length);
      sizes.set(file, (await openParts({ lengths }, file))?.size() ?? 0);
    } else {
      await collect(entry, below, sizes);
    }
  }
}

async function usage() {
  return (await list()).reduce((sum, file) => sum + file.size, 0);
}
