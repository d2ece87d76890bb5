/**
 * Plans kept for the next start, in IndexedDB, a few models' at most: what lets JavaScript set the GPU up while Python boots.
 *
 * A record is {source, key, header, ints, consts, kept, shards, tokenizer, tokenizerConfig, checkpoint}: texts, a Uint32Array and
 * [[buffer, Uint8Array]]. Each is kept with a SHA-256 over all of it; one that does not fit its digest is removed and not
 * used. A browser that keeps nothing only plans again, so no failure here is an error.
 */
import { smallStore } from "./small_store.js";

const within = smallStore("jird-plans", "plans", { keyPath: "request" });
const MOST = 4; // models; a record is as large as a tokenizer, 2 to 30 MB
const TEXTS = ["source", "key", "header", "kept", "shards", "tokenizer", "tokenizerConfig", "checkpoint"];

/** Hex SHA-256 of a record's texts and arrays, each with its length. */
async function digestOf(record) {
  const encoder = new TextEncoder();
  const bytes = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const parts = TEXTS.map((name) => encoder.encode(record[name] ?? ""));
  parts.push(bytes(record.ints));
  for (const [buffer, data] of record.consts) parts.push(encoder.encode(String(buffer)), bytes(data));
  parts.push(encoder.encode(JSON.stringify(parts.map(({ length }) => length))));
  const whole = new Uint8Array(await new Blob(parts).arrayBuffer());
  const digest = await crypto.subtle.digest("SHA-256", whole);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The record kept for `request`, whole and unharmed, or null. */
export async function getPlan(request) {
  try {
    const { result: record } = await within("readonly", (store) => store.get(request));
    if (!record) return null;
    if (record.digest === await digestOf(record).catch(() => null)) return record;
    await dropPlan(request);
  } catch {
    // planned anew
  }
  return null;
}

/** Keeps `record` for `request` and drops those kept longest ago beyond a few. */
export async function putPlan(request, record) {
  try {
    const row = { ...record, request, at: Date.now(), digest: await digestOf(record) };
    await within("readwrite", (store) => {
      store.put(row);
      store.getAllKeys().onsuccess = ({ target: { result: keys } }) => {
        if (keys.length > MOST) dropOldest(store, request, keys.length - MOST);
      };
    });
  } catch {
    // planned again next time
  }
}

function dropOldest(store, kept, count) {
  const found = [];
  store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (cursor) {
      if (cursor.key !== kept) found.push([cursor.value.at, cursor.key]);
      return cursor.continue();
    }
    for (const [, key] of found.sort(([a], [b]) => a - b).slice(0, count)) store.delete(key);
  };
}

/** Forgets what is kept for `request`. */
export async function dropPlan(request) {
  await within("readwrite", (store) => store.delete(request)).catch(() => {});
}
