/** Memory of this worker for whole chunks: used again, and given back at once when idle. As garbage it would pile up. */
import { CHUNK } from "./manifest.js";

const SPARE = 6;       // buffers kept for the next taker; a download takes six, a load as many
const IDLE_MS = 1000;  // after which nobody comes soon

const spare = [];
let used = 0, idle = null;

/** At least `length` bytes of anything, usually a chunk; whoever takes it gives it back. */
export function takeBuffer(length) {
  used++;
  clearTimeout(idle);
  return (length <= CHUNK && spare.pop()) || new Uint8Array(Math.max(length, CHUNK));
}

/** Takes back a buffer that nobody reads or writes any more; one that was transferred away may come back empty. */
export function giveBuffer(buffer) {
  if (buffer.length === CHUNK && spare.length < SPARE) spare.push(buffer);
  else freeMemory(buffer.buffer);
  if (--used === 0) idle = setTimeout(() => spare.splice(0).forEach(({ buffer }) => freeMemory(buffer)), IDLE_MS);
}

/** Does `work(buffer)` with a buffer that is given back at its end. */
export async function withBuffer(length, work) {
  const buffer = takeBuffer(length);
  try {
    return await work(buffer);
  } finally {
    giveBuffer(buffer);
  }
}

/** At most `limit` of something at once; `take()` resolves to what gives the place back. */
export class Places {
  #free; #waiting = [];

  constructor(limit) {
    this.#free = limit;
  }

  async take() {
    if (this.#free > 0) this.#free--;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    return () => (this.#waiting.length ? this.#waiting.shift()() : this.#free++);
  }
}

/** Frees an ArrayBuffer now, not when the browser next collects garbage; one that was transferred away has nothing to free. */
export function freeMemory(memory) {
  if (memory.detached === false) memory.transfer(0);
}
