/** Writes the same chunks plainly (write, flush) and as the store does (hash, write, flush, mark, save); posts MB/s of each. */
import { createOpfsSync } from "/js/storage/opfs_sync.js";
import { ChunkWriter } from "/js/storage/chunks.js";
import { CHUNK, Manifest, filePath, modelPath } from "/js/storage/manifest.js";

const CHUNKS = 16, ROUNDS = 5;
const backend = createOpfsSync();
const bytes = new Uint8Array(CHUNK);
for (let at = 0; at < CHUNK; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));

async function plain(id) {
  const file = await backend.open(filePath(id, "f"), { create: true });
  for (let i = 0; i < CHUNKS; i++) {
    await file.write(bytes, i * CHUNK);
    await file.flush();
  }
  await file.close();
}

async function kept(id) {
  const files = [{ name: "f", size: CHUNKS * CHUNK }];
  const manifest = new Manifest({ id, source: { kind: "local" }, files });
  const writer = new ChunkWriter(backend, manifest);
  let next = 0;
  const range = async () => {  // as four ranges do
    while (next < CHUNKS) await writer.put(manifest.files[0], next++, bytes);
  };
  await Promise.all([range(), range(), range(), range()]);
  await writer.close();
}

async function timed(work, id) {
  const start = performance.now();
  await work(id);
  const seconds = (performance.now() - start) / 1000;
  await backend.remove(modelPath(id));
  return (CHUNKS * CHUNK) / 1e6 / seconds;
}

const rates = { plain: [], kept: [] };
for (let round = 0; round < ROUNDS; round++) {
  rates.plain.push(await timed(plain, "speed-plain"));
  rates.kept.push(await timed(kept, "speed-kept"));
}
self.postMessage(rates);
