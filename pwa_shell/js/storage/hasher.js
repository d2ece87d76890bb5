/**
 * SHA-256 of large pieces on a thread of its own: Chromium computes `crypto.subtle.digest` on the thread that calls it, so that
 * hashing and writing, which blocks its thread too, would take turns.
 */
import { giveBuffer, Places, takeBuffer } from "./buffers.js";
import { sha256Hex } from "./sha256.js";

const SMALL = 256 << 10; // bytes below which the way there and back costs more
const places = new Places(2); // pieces under way: one is hashed while the next is copied
const calls = new Map();

let worker = null, broken = false, count = 0;

/** The digest of `bytes`, which must stay as they are until then, as hex. */
export async function hashAside(bytes) {
  if (bytes.length < SMALL || broken) return sha256Hex(bytes);
  const release = await places.take();
  let copy = takeBuffer(bytes.length);
  try {
    copy.set(bytes);
    const answer = await ask(copy.buffer, bytes.length);
    copy = new Uint8Array(answer.bytes);
    return answer.hex;
  } catch {
    broken = true; // no such thread here: this one does
    return sha256Hex(bytes);
  } finally {
    giveBuffer(copy);
    release();
  }
}

function ask(bytes, length) {
  return new Promise((resolve, reject) => {
    if (broken) throw new Error("the thread that hashes did not start");
    const id = ++count;
    calls.set(id, { resolve, reject });
    start().postMessage({ id, bytes, length }, [bytes]);
  });
}

function start() {
  if (worker) return worker;
  worker = new Worker(new URL("./hash_worker.js", import.meta.url), { type: "module", name: "jird-hash" });
  worker.onmessage = ({ data }) => {
    calls.get(data.id).resolve(data);
    calls.delete(data.id);
  };
  worker.onerror = (error) => {
    broken = true;
    for (const { reject } of calls.values()) reject(new Error(error.message));
    calls.clear();
  };
  return worker;
}
