/**
 * SHA-256 of large pieces on a thread of its own: Chromium computes `crypto.subtle.digest` on the thread that calls it, so that
 * hashing and writing, which blocks its thread too, would take turns.
 */
import { sha256Hex } from "./sha256.js";

const SMALL = 256 << 10; // bytes below which the way there and back costs more
const BUFFERS = 2;       // pieces under way: one is hashed while the next is copied

let worker = null, broken = false, count = 0, made = 0;
const spare = [], waiting = [], calls = new Map();

/** The digest of `bytes`, which must stay as they are until then, as hex. */
export async function hashAside(bytes) {
  if (bytes.length < SMALL || broken) return sha256Hex(bytes);
  const buffer = await takeBuffer(bytes.length);
  if (broken) return sha256Hex(bytes);
  new Uint8Array(buffer).set(bytes);
  try {
    return await new Promise((resolve, reject) => {
      const id = ++count;
      calls.set(id, { resolve, reject });
      start().postMessage({ id, bytes: buffer, length: bytes.length }, [buffer]);
    });
  } catch {
    broken = true; // no such thread here: this one does
    return sha256Hex(bytes);
  }
}

function start() {
  if (worker) return worker;
  worker = new Worker(new URL("./hash_worker.js", import.meta.url), { type: "module", name: "jird-hash" });
  worker.onmessage = ({ data: { id, hex, bytes } }) => {
    giveBuffer(bytes);
    calls.get(id).resolve(hex);
    calls.delete(id);
  };
  worker.onerror = (error) => {
    broken = true;
    for (const { reject } of calls.values()) reject(new Error(error.message));
    calls.clear();
    while (waiting.length) waiting.shift()(null);
  };
  return worker;
}

async function takeBuffer(length) {
  if (!spare.length && made >= BUFFERS) {
    const given = await new Promise((resolve) => waiting.push(resolve));
    if (given) spare.push(given);
  } else if (!spare.length) {
    made++;
  }
  const buffer = spare.pop();
  return buffer?.byteLength >= length ? buffer : new ArrayBuffer(length);
}

function giveBuffer(buffer) {
  if (waiting.length) waiting.shift()(buffer);
  else spare.push(buffer);
}
