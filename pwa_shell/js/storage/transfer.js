/**
 * Bytes of one file from a server: ranges that survive cuts, refusals and redirects, and what version of the file they are of.
 *
 * `Transfer.fill` puts the bytes [start, start + length) into a buffer and answers one of
 *     {kind: "bytes", count}          they are there (count < length only where the file ends)
 *     {kind: "whole", response, watch}  the server ignores Range and sends all of the same version; `watch` guards its body
 *     {kind: "changed", version}      another version lies there now
 * Fails with E_NETWORK {url, status} and E_CORRUPT_SHARD (a wrong length). `entry` learns size, etag and date when it knows none.
 */
import { asJirdError, JirdError } from "../errors.js";
import { corrupt, networkError } from "./errors.js";
import { pieces } from "./streams.js";

export const DEFAULTS = { parallel: 4, tries: 6, backoff_ms: 300, stall_ms: 30_000 };
const MAX_BACKOFF_MS = 10_000;
const MAX_WAIT_MS = 300_000;  // a Retry-After beyond this is taken for nonsense
const MAX_REFUSALS = 10;      // answers 429 to one request before it counts as failed
const HEAD_MS = 3000;         // to learn whether a file is still the same
const FORWARD = 256 << 10;    // bytes that make a try count as progress

/** A failed try: `error` for the person, `final` when another try cannot help, `wait` ms that the server asked for. */
class Setback {
  constructor(error, { final = false, wait = null } = {}) {
    Object.assign(this, { error, final, wait });
  }
}

export class Transfer {
  #fetch; #signal; #token; #options; #notBefore = 0;

  /** `token` {value, origin} is sent to that origin only; browsers drop it where a redirect leaves it. */
  constructor({ fetch = globalThis.fetch.bind(globalThis), signal, token = null, options = {} }) {
    this.#fetch = fetch;
    this.#signal = signal;
    this.#token = token;
    this.#options = { ...DEFAULTS, ...options };
  }

  async fill(entry, start, length, buffer, onBytes = () => {}) {
    let got = 0;
    const count = (bytes) => {
      got += bytes;
      onBytes(bytes);
    };
    return this.#retry(async (watch) => {
      // What a cut left is kept: the next try asks for the rest of the chunk only.
      const end = start + (entry.size === null ? length : Math.min(length, entry.size - start));
      const response = await this.#request(entry, start + got, end, watch.signal);
      const answer = { ...judge(entry, response, start + got), watch };
      if (answer.kind !== "bytes") return answer.kind === "empty" ? { kind: "bytes", count: 0 } : answer;
      const wanted = Math.min(length, entry.size - start);
      await drain(response, buffer.subarray(got, wanted), count, watch, entry);
      return { kind: "bytes", count: wanted };
    }, entry, () => got);
  }

  /** Asks for all of the file; answers like `fill`, without "bytes". */
  whole(entry) {
    return this.#retry(async (watch) => {
      const response = await this.#request(entry, 0, null, watch.signal);
      const answer = { ...judge(entry, response, 0), response, watch };
      return answer.kind === "bytes" ? { ...answer, kind: "whole" } : answer;
    }, entry, () => 0);
  }

  /** Runs `attempt(watch)` until it succeeds, cannot, or has failed `tries` times without going forward. */
  async #retry(attempt, entry, forward) {
    for (let failures = 0, refusals = 0, from = 0; ;) {
      this.#signal.throwIfAborted();
      await this.#sleep(this.#notBefore - performance.now());
      const watch = new Watch(this.#signal, this.#options.stall_ms);
      try {
        const answer = await attempt(watch);
        if (answer.kind !== "whole") watch.stop();
        return answer;
      } catch (error) {
        watch.abort();
        this.#signal.throwIfAborted();
        const setback = asSetback(error, entry, watch);
        if (setback.final) throw setback.error;
        if (forward() - from >= FORWARD) failures = 0;
        from = forward();
        if (setback.wait !== null && ++refusals <= MAX_REFUSALS) {
          this.#notBefore = Math.max(this.#notBefore, performance.now() + setback.wait); // for the other ranges too
        } else if (++failures >= this.#options.tries) {
          throw setback.error;
        } else {
          await this.#sleep(backoff(this.#options.backoff_ms, failures));
        }
      }
    }
  }

  async #request(entry, start, end, signal) {
    const url = new URL(entry.url), headers = {};
    if (end !== null) headers.Range = `bytes=${start}-${end - 1}`;
    // If-Range needs a strong validator. To another origin it would cost a preflight, which CDNs behind a hub refuse; there
    // the answer's own ETag and length are compared, which says the same one round later.
    const strong = entry.etag?.startsWith('"') ? entry.etag : entry.etag ? null : entry.lastModified;
    if (end !== null && strong && url.origin === globalThis.location.origin) headers["If-Range"] = strong;
    if (this.#token && url.origin === this.#token.origin) headers.Authorization = `Bearer ${this.#token.value}`;
    // "no-store": model files must not fill the HTTP cache beside the storage.
    return this.#fetch(url.href, { headers, signal, cache: "no-store", credentials: "same-origin" });
  }

  async #sleep(ms) {
    if (!(ms > 0)) return;
    await new Promise((resolve, reject) => {
      const stop = () => (clearTimeout(timer), reject(this.#signal.reason));
      const timer = setTimeout(() => (this.#signal.removeEventListener("abort", stop), resolve()), ms);
      this.#signal.addEventListener("abort", stop, { once: true });
    });
  }
}

/** Whether another version of `entry` lies at its source, by a HEAD request; false where that cannot be told, as without network. */
export async function isReplaced(entry, token, signal) {
  if (!entry.url) return false;
  const trusted = token && token.origin === new URL(entry.url).origin;
  const headers = trusted ? { Authorization: `Bearer ${token.value}` } : {};
  const ending = AbortSignal.any([AbortSignal.timeout(HEAD_MS), ...(signal ? [signal] : [])]);
  try {
    const response = await fetch(entry.url, { method: "HEAD", headers, signal: ending, cache: "no-store" });
    return response.status === 200 && isOther(entry, versionOf(response, null));
  } catch {
    return false;
  }
}

/** Ends a request that sends nothing for `ms`, or with `outer`. */
class Watch {
  #controller = new AbortController(); #outer; #ms; #timer = null; #end;
  stalled = false;

  constructor(outer, ms) {
    this.#outer = outer;
    this.#ms = ms;
    this.#end = () => this.#controller.abort(outer.reason);
    outer.addEventListener("abort", this.#end, { once: true });
    this.kick();
  }

  get signal() {
    return this.#controller.signal;
  }

  kick() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.stalled = true;
      this.#controller.abort();
    }, this.#ms);
  }

  /** Lets go of the connection. */
  abort() {
    this.stop();
    this.#controller.abort();
  }

  /** The response is read to its end. */
  stop() {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#end);
  }
}

/** Reads a body into `target`, which it must fill exactly. */
async function drain(response, target, count, watch, entry) {
  let filled = 0;
  for await (const piece of pieces(response.body, watch, response)) {
    if (filled + piece.length > target.length) {
      throw new Setback(corrupt(entry.name, `the server sent more than the ${target.length} bytes it was asked for`));
    }
    target.set(piece, filled);
    filled += piece.length;
    count(piece.length);
  }
  // A clean end that comes too early; a cut connection throws in the loop instead.
  if (filled < target.length) {
    throw new Setback(corrupt(entry.name, `the server sent ${filled} bytes where it had promised ${target.length}`));
  }
}

/** What a response is to `entry`: {kind: "bytes" | "whole" | "empty" | "changed"}; throws Setback for a refusal. */
function judge(entry, response, start) {
  if (response.status === 416) return judgeEmpty(entry, response);
  if (response.status !== 200 && response.status !== 206) throw refusal(entry, response);
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
  const version = versionOf(response, range);
  if (response.status === 206 && range && Number(range[1]) !== start) {
    throw new Setback(networkError(entry.url, `asked for byte ${start}, was sent byte ${range[1]}`, 206));
  }
  if (response.status === 206 && version.size === null) version.size = entry.size; // not every host lets us see the header
  if (response.status === 206 && version.size === null) {
    throw new Setback(networkError(entry.url, "the server does not say how long the file is", 206), { final: true });
  }
  if (isOther(entry, version)) {
    response.body?.cancel().catch(() => {});
    if (entry.declared && version.size !== null && version.size !== entry.size) {
      const detail = `the server has ${version.size} bytes, ${entry.size} were published`;
      throw new Setback(corrupt(entry.name, detail), { final: true });
    }
    return { kind: "changed", version };
  }
  learn(entry, version);
  return response.status === 206 ? { kind: "bytes" } : { kind: "whole", response };
}

/** 416: nothing of the file lies there. An empty file is the one that has no range. */
function judgeEmpty(entry, response) {
  const total = Number(/\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "")?.[1] ?? NaN);
  if (total === 0 && !entry.size) {
    learn(entry, { size: 0, etag: response.headers.get("ETag"), lastModified: null });
    return { kind: "empty" };
  }
  if (entry.declared) {
    const detail = `the server has ${Number.isNaN(total) ? "fewer" : total} bytes, ${entry.size} were published`;
    throw new Setback(corrupt(entry.name, detail), { final: true });
  }
  return { kind: "changed", version: { size: null, etag: null, lastModified: null } };
}

function versionOf(response, range) {
  const length = response.headers.get("Content-Length");
  const plain = !response.headers.get("Content-Encoding") && length !== null; // else it counts packed bytes
  const size = range ? Number(range[3]) : response.status === 200 && plain ? Number(length) : null;
  return { size, etag: response.headers.get("ETag"), lastModified: response.headers.get("Last-Modified") };
}

function isOther(entry, version) {
  if (entry.size !== null && version.size !== null && version.size !== entry.size) return true;
  if (entry.etag && version.etag) return entry.etag !== version.etag;
  return Boolean(entry.lastModified && version.lastModified && entry.lastModified !== version.lastModified);
}

function learn(entry, version) {
  entry.size ??= version.size;
  entry.etag ??= version.etag;
  entry.lastModified ??= version.lastModified;
}

/** An answer that is no file: 429 and 503 say when to come back, other 5xx and 408 may pass, the rest is final. */
function refusal(entry, response) {
  const { status } = response;
  response.body?.cancel().catch(() => {});
  const error = networkError(entry.url, `the server answered ${status} ${response.statusText}`.trim(), status);
  if (status === 429 || status === 503) return new Setback(error, { wait: retryAfter(response) });
  return new Setback(error, { final: status < 500 && status !== 408 });
}

/** Retry-After in ms, or null. A date counts from the answer's own Date: this machine's clock may be wrong or jump. */
function retryAfter(response) {
  const text = response.headers.get("Retry-After");
  if (text === null) return null;
  const seconds = /^\s*\d+\s*$/.test(text) ? Number(text)
    : (Date.parse(text) - (Date.parse(response.headers.get("Date") ?? "") || Date.now())) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(0, seconds * 1000), MAX_WAIT_MS) : null;
}

/** Doubling, at most 10 s, with up to half of it by chance so that ranges do not come back together. */
function backoff(base, failures) {
  return Math.min(base * 2 ** (failures - 1), MAX_BACKOFF_MS) * (0.5 + Math.random() / 2);
}

function asSetback(error, entry, watch) {
  if (error instanceof Setback) return error;
  if (error instanceof JirdError) return new Setback(error, { final: true });
  if (watch.stalled) return new Setback(networkError(entry.url, "the server stopped sending"));
  // fetch and a cut body fail with TypeError ("Failed to fetch", "network error").
  if (error instanceof TypeError || error instanceof DOMException) return new Setback(networkError(entry.url, error.message));
  return new Setback(asJirdError(error), { final: true });
}
