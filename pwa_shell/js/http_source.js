/**
 * Reads a file over HTTP by ranges:
 * `openSource(url) -> {name, size, url, read(offset, length), close()}`.
 *
 * Ranges of at most 4 MB, each tried 3 times. A server that ignores Range is read once into a Blob,
 * which the browser keeps outside the JavaScript heap. Read-ahead is the caller's: reads may
 * overlap. Fails with E_NETWORK, E_TRUNCATED, E_CORRUPT_SHARD.
 */
import { jirdError } from "./errors.js";

export const CHUNK = 4 << 20;
const TRIES = 3;
const BACKOFF_MS = 250;

/**
 * `onDownload(done, total)` reports the whole-file fallback; `optional` answers null for a file
 * that is not there; `cache` is
 * fetch's: the browser's own cache spares a second visit the download, and costs 0.3 s for 98 MB.
 */
export async function openSource(url, options = {}) {
  const { name, optional = false, onDownload, cache = "default", headers = {} } = options;
  const last = () => decodeURIComponent(new URL(url).pathname.split("/").pop());
  const source = new HttpSource(String(url), name ?? last(), cache, headers);
  return (await source.open(optional, onDownload)) ? source : null;
}

class HttpSource {
  #cache; #headers; #abort = new AbortController(); #blob = null; #head = null; #tag = null;

  constructor(url, name, cache, headers) {
    this.url = url;
    this.name = name;
    this.size = 0;
    this.#cache = cache;
    this.#headers = headers;
  }

  /**
   * Learns the size from the first range, which is kept: headers are read from it piece by piece.
   */
  async open(optional, onDownload) {
    return this.#retry(async () => {
      const response = await this.#request(0, CHUNK);
      if (optional && (response.status === 404 || response.status === 403)) return false;
      if (response.status === 416) return true; // an empty file has no range
      if (response.status === 200) {
        await this.#downloadWhole(response, onDownload);
        return true;
      }
      const range = this.#checkRange(response, 0);
      this.size = range.total;
      this.#tag = response.headers.get("ETag");
      this.#head = await this.#body(response, 0, Math.min(CHUNK, range.total));
      return true;
    });
  }

  /** Exactly `length` bytes at `offset`, as a Uint8Array of its own. */
  async read(offset, length) {
    const end = offset + length;
    if (offset < 0 || length < 0 || end > this.size) this.#truncated(offset, end, this.size);
    if (this.#head && end <= this.#head.length) return this.#head.slice(offset, end);
    if (this.#blob) return new Uint8Array(await this.#blob.slice(offset, end).arrayBuffer());
    if (length <= CHUNK) return this.#readRange(offset, length);
    const all = new Uint8Array(length);
    for (let at = 0; at < length; at += CHUNK) {
      all.set(await this.#readRange(offset + at, Math.min(CHUNK, length - at)), at);
    }
    return all;
  }

  /** Lets go of the bytes kept for the header. */
  dropHead() {
    this.#head = null;
  }

  /** Ends requests in flight and lets go of what is kept; later reads fail. */
  close() {
    this.#abort.abort();
    this.#head = this.#blob = null;
    this.size = 0;
  }

  #request(offset, length) {
    const headers = { ...this.#headers, Range: `bytes=${offset}-${offset + length - 1}` };
    return fetch(this.url, { headers, signal: this.#abort.signal, cache: this.#cache });
  }

  #readRange(offset, length) {
    if (length === 0) return new Uint8Array(0);
    return this.#retry(async () => {
      const response = await this.#request(offset, length);
      const range = this.#checkRange(response, offset);
      if (range.total !== this.size || response.headers.get("ETag") !== this.#tag) {
        const detail = "it changed on the server while it was read";
        throw jirdError("E_CORRUPT_SHARD", { file: this.name, detail });
      }
      return this.#body(response, offset, length);
    });
  }

  async #body(response, offset, length) {
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length !== length) this.#truncated(offset, offset + length, offset + bytes.length);
    return bytes;
  }

  #checkRange(response, offset) {
    if (response.status !== 206) {
      response.body?.cancel();
      throw this.#network(`the server answered ${response.status} ${response.statusText}`.trim(),
        response.status);
    }
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
    if (!match) throw this.#network("the server does not say which bytes of how many it sent", 400);
    const [, first, , total] = match.map(Number);
    if (first !== offset) throw this.#network(`asked for byte ${offset}, was sent ${first}`, 206);
    return { total };
  }

  async #downloadWhole(response, onDownload) {
    const wanted = response.headers.get("Content-Encoding") ? 0
      : Number(response.headers.get("Content-Length") ?? 0);
    let done = 0;
    const counted = response.body.pipeThrough(new TransformStream({
      transform(chunk, controller) {
        done += chunk.length;
        onDownload?.(done, wanted);
        controller.enqueue(chunk);
      },
    }));
    this.#blob = await new Response(counted).blob();
    this.size = this.#blob.size;
    if (wanted && this.size !== wanted) this.#truncated(0, wanted, this.size);
  }

  /**
   * Runs `attempt` until it succeeds, fails for good (4xx, a damaged file, closed) or has failed 3
   * times.
   */
  async #retry(attempt) {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt();
      } catch (error) {
        const failure = error.code?.startsWith?.("E_") ? error
          : this.#network(String(error.message ?? error), 0);
        if (this.#abort.signal.aborted) throw this.#network("the file was closed", 0);
        if (tries === TRIES || failure.code === "E_CORRUPT_SHARD"
          || isFinal(failure.facts.status)) throw failure;
        await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS * 2 ** (tries - 1)));
      }
    }
  }

  #network(detail, status) {
    return jirdError("E_NETWORK", { url: this.url, detail, status });
  }

  #truncated(start, end, size) {
    throw jirdError("E_TRUNCATED", { file: this.name, start, end, size });
  }
}

/** A refusal that trying again will not change. */
function isFinal(status) {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}
