/** Stores files of this device, in slices of a chunk, hashed as they are written and read back at the end. */
import { jirdError } from "../errors.js";
import { withBuffer } from "./buffers.js";
import { checkFile, ChunkWriter } from "./chunks.js";
import { corrupt } from "./errors.js";
import { ensureRoom, quotaError } from "./quota.js";
import { readBlob } from "./streams.js";

/** `files` [{name, file: File}] into `manifest`, which knows their sizes. Fails with E_QUOTA, E_CORRUPT_SHARD, E_BAD_REQUEST. */
export async function importFiles({ backend, manifest, files, progress, signal }) {
  const writer = new ChunkWriter(backend, manifest);
  try {
    await ensureRoom(backend, manifest.size);
    await manifest.save(backend);
    for (const { name, file } of files) await copy(writer, manifest, manifest.file(name), file, progress, signal);
  } catch (error) {
    if (error.code !== "E_QUOTA" || error.facts.quota) throw error;
    throw await quotaError(backend, manifest.size - manifest.bytesWritten);
  } finally {
    await writer.close();
  }
  await check(backend, manifest, progress, signal);
  manifest.state = "complete";
  await manifest.save(backend);
}

async function copy(writer, manifest, entry, file, progress, signal) {
  await withBuffer(entry.chunk, async (buffer) => {
    for (const index of entry.missing()) {
      signal.throwIfAborted();
      const start = index * entry.chunk;
      const bytes = buffer.subarray(0, await read(file, start, start + entry.length(index), buffer));
      progress.fetched(bytes.length);
      await writer.put(entry, index, bytes);
      progress.at("import", manifest.bytesWritten, manifest.size);
    }
  });
  await writer.settle(entry);
}

/** A file that was moved or changed since it was chosen cannot be read any more. */
async function read(file, start, end, buffer) {
  try {
    return await readBlob(file.slice(start, end), buffer);
  } catch (error) {
    const got = `${file.name} (${error.name})`;
    throw jirdError("E_BAD_REQUEST", { param: "file", got, wanted: "a file that stays as it is" });
  }
}

async function check(backend, manifest, progress, signal) {
  let done = 0;
  progress.at("verify", 0, manifest.size);
  const onBytes = (count) => progress.at("verify", (done += count), manifest.size);
  for (const entry of manifest.files) {
    const { bad } = await checkFile(backend, manifest.id, entry, { signal, onBytes });
    if (bad.length) throw corrupt(entry.name, `chunk ${bad[0]} reads back wrong`);
  }
}
