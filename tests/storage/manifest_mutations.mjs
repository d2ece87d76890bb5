// Loads mutated manifests: node manifest_mutations.mjs <pwa_shell/js/storage> <count> <seed>
// -> {"taken", "refused", "slowest" (ms)} on stdout. Half of them carry the checksum of what they say.
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";

const [folder, count, seed] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const load = (name) => import(pathToFileURL(`${folder}/${name}`));
const { FileEntry, Manifest, modelPath, VERSION } = await load("manifest.js");
const { createMemory } = await load("memory.js");

let state = seed;
const random = (n) => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % n;
const pick = (list) => list[random(list.length)];

const entry = new FileEntry({ name: "a.gguf", url: "https://x.example/a", size: (9 << 20) + 7, etag: '"e"' });
for (const i of [0, 2]) entry.mark(i, "0".repeat(64));
const ID = "a/model";
const whole = JSON.stringify({ version: VERSION, ...new Manifest({ id: ID, source: { kind: "url", url: "https://x.example/",
  revision: null }, files: [entry], created: 5, counter: 3 }) });
const VALUES = [null, 0, -1, 1e308, 2 ** 53, "x", "", [], {}, [null], true, "é\u0000", 0.5, "=*="];

/** One value of a JSON text changed for another, dropped or doubled. */
function changed(value, depth = 0) {
  if (typeof value !== "object" || value === null || (depth && random(4) === 0)) return pick(VALUES);
  const copy = Array.isArray(value) ? [...value] : { ...value };
  const key = pick(Object.keys(copy));
  if (key === undefined) return pick(VALUES);
  if (random(4) === 0) delete copy[key];
  else copy[key] = changed(copy[key], depth + 1);
  return copy;
}

const slot = (body, sum = createHash("sha256").update(body).digest("hex")) => `{"checksum":"${sum}","manifest":${body}}`;

function torn() {
  const bytes = Buffer.from(slot(whole)), at = random(bytes.length);
  if (random(3) === 0) return bytes.subarray(0, at);
  bytes[at] = random(256);
  return random(2) ? bytes : Buffer.concat([bytes.subarray(0, at), bytes.subarray(random(bytes.length))]);
}

const outcome = { taken: 0, refused: 0, slowest: 0 };
for (let i = 0; i < count; i++) {
  const text = i % 2 ? torn() : Buffer.from(slot(JSON.stringify(changed(JSON.parse(whole)))));
  const backend = createMemory(), file = await backend.open(`${modelPath(ID)}/manifest.json`, { create: true });
  await file.write(new Uint8Array(text), 0);
  await file.close();
  const began = performance.now();
  const found = await Manifest.load(backend, ID);
  if (found) {
    const facts = [found.complete, found.size, found.bytesWritten, found.file("a.gguf")?.complete];
    if (!Number.isSafeInteger(facts[1] ?? 0) || !Number.isSafeInteger(facts[2])) throw new Error(`sizes of ${text}`);
    await found.save(backend);
    if (!(await Manifest.load(backend, ID))) throw new Error(`what was saved of ${text}`);
  }
  outcome[found ? "taken" : "refused"]++;
  outcome.slowest = Math.max(outcome.slowest, performance.now() - began);
}
process.stdout.write(JSON.stringify(outcome));
