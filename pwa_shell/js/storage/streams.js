/** Reading byte streams (responses, files) without leaving garbage. */
import { freeMemory } from "./buffers.js";

const PIECE = 256 << 10; // bytes read at once

// What is being read. A stream that only its own pending read refers to may be collected, and the read then never ends:
// seen in Chromium 156 with files, about once in 2,000 reads; WebKit had the same (its pull request 54097).
const reading = new Set();

/** The pieces of a byte stream, as they come; each is gone when the next is asked for. `watch.kick()` hears of each. */
export async function* pieces(stream, watch = null, owner = null) {
  const [reader, own] = openReader(stream);
  const held = [stream, reader, owner];
  let memory = own ? new ArrayBuffer(PIECE) : null;
  reading.add(held);
  try {
    for (;;) {
      const { done, value } = await (own ? reader.read(new Uint8Array(memory)) : reader.read());
      if (own && value) memory = value.buffer;
      if (done) return;
      watch?.kick();
      yield value;
    }
  } finally {
    if (memory) freeMemory(memory);
    reading.delete(held);
    reader.cancel().catch(() => {});
  }
}

/** A reader into memory of ours where the browser has one: else each piece is garbage, which piles up to tens of megabytes. */
function openReader(stream) {
  try {
    return [stream.getReader({ mode: "byob" }), true];
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    return [stream.getReader(), false];
  }
}

/** Copies a Blob into `buffer`, which holds it; returns how many bytes came. */
export async function readBlob(blob, buffer) {
  if (blob.size <= PIECE) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    buffer.set(bytes);
    return bytes.length;
  }
  let filled = 0;
  for await (const piece of pieces(blob.stream(), null, blob)) {
    buffer.set(piece, filled);
    filled += piece.length;
  }
  return filled;
}
