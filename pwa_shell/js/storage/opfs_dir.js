/** Walking the origin's private file system by path, for both of its back ends. */

/** The folder `segments` below the root; null when it is not there and `create` is not given. */
export async function folder(segments, create = false) {
  let handle = await navigator.storage.getDirectory(); // asked for each time: clearing storage makes old handles stale
  for (const name of segments) {
    handle = await orNull(handle.getDirectoryHandle(name, { create }));
    if (!handle) return null;
  }
  return handle;
}

/** The file at `path`, or null. */
export async function file(path, create = false) {
  const segments = path.split("/");
  const parent = await folder(segments.slice(0, -1), create);
  return parent && orNull(parent.getFileHandle(segments.at(-1), { create }));
}

/** Removes a file or folder; what is not there is no error. */
export async function remove(path) {
  const segments = path.split("/");
  const parent = await folder(segments.slice(0, -1));
  if (parent) await orNull(parent.removeEntry(segments.at(-1), { recursive: true }));
}

/** What is not there as null; other failures are thrown. */
export async function orNull(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "NotFoundError") return null;
    throw error;
  }
}

/** All files below `handle`: [path, file handle]. */
export async function* walk(handle, path = "") {
  for await (const [name, entry] of handle.entries()) {
    const below = path ? `${path}/${name}` : name;
    if (entry.kind === "file") yield [below, entry];
    else yield* walk(entry, below);
  }
}
