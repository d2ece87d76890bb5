/**
 * `engine.audio.transcriptions`: whole recordings by `create`, ones that go on by `session`. Python
 * decides where speech is cut; what is here only collects samples and asks.
 */
import { jirdError } from "../errors.js";
import { samplesOf } from "./decode.js";

const OURS = ["model", "language", "prompt", "response_format", "temperature", "timestamp_granularities",
  "stream", "quant", "kv", "hub"];
const EVERY_MS = 700; // of new samples before a session asks again
const MOST_SECONDS = 600; // a session that nobody answers keeps no more

/** Fields of a body that the worker takes; `file` and `signal` stay here. Throws E_BAD_REQUEST. */
function paramsOf(body) {
  const params = {};
  for (const [name, value] of Object.entries(body ?? {})) {
    if (OURS.includes(name)) params[name] = value;
    else if (!["file", "signal"].includes(name)) {
      throw jirdError("E_BAD_REQUEST", { param: name, got: "given", wanted: `file, ${OURS.join(", ")}` });
    }
  }
  return params;
}

export class Transcriptions {
  #ask; #stream;

  /**
   * @param {(params: object, samples: Float32Array, options: object) => Promise<any>} ask one request
   * @param {(params: object, samples: Float32Array, signal?: AbortSignal) => Promise<any>} stream
   */
  constructor(ask, stream) {
    this.#ask = ask;
    this.#stream = stream;
  }

  /**
   * OpenAI's call: {text}, verbose_json's object, a string for text, srt and vtt, or a stream of
   * {type: "transcript.text.delta" | "transcript.text.done", ...}. `onProgress` hears of a model that
   * loads first.
   */
  async create(body, { signal = body?.signal, onProgress } = {}) {
    const params = paramsOf(body);
    signal?.throwIfAborted();
    const { samples, sampleRate } = await samplesOf(body?.file);
    params.sample_rate = sampleRate;
    if (params.stream === true) return this.#stream(params, samples, signal);
    const found = await this.#ask(params, samples, { signal, onProgress });
    return found.body ?? found;
  }

  /**
   * A recording that goes on: `push(samples)`, then `await flush()` for its whole text, or `cancel()`.
   * `onPartial({text, final})` hears the text so far and what of it will not change, `onFinal` each
   * closed segment {text, start, end, words}, `onError` what failed; the session goes on after it.
   */
  session({ sampleRate = 16_000, onPartial, onFinal, onError, onProgress, ...body } = {}) {
    const params = { ...paramsOf(body), sample_rate: sampleRate };
    const ask = (more, samples, signal) =>
      this.#ask({ ...params, ...more }, samples, { signal, onProgress });
    return new Session(ask, { sampleRate, onPartial, onFinal, onError });
  }
}

class Session {
  #ask; #rate; #told; #parts = []; #length = 0; #dropped = 0; #asked = 0;
  #finals = []; #running = null; #ended = false; #ending = new AbortController();

  constructor(ask, { sampleRate, ...told }) {
    this.#ask = ask;
    this.#rate = sampleRate;
    this.#told = told;
  }

  /** @param {Float32Array} samples the next ones, any number */
  push(samples) {
    if (this.#ended) throw new Error("the session is over");
    if (!(samples instanceof Float32Array)) {
      throw jirdError("E_BAD_REQUEST", { param: "samples", got: typeof samples, wanted: "a Float32Array" });
    }
    this.#parts.push(samples.slice());
    this.#length += samples.length;
    this.#look();
  }

  /** @returns {Promise<string>} all that was heard; the session is over */
  async flush() {
    this.#ended = true;
    await this.#running;
    this.#ending.signal.throwIfAborted();
    if (this.#length > 0) await this.#hear(false);
    return this.#text();
  }

  /** Nothing more is heard or told. */
  cancel() {
    this.#ended = true;
    this.#ending.abort(new DOMException("The session was cancelled.", "AbortError"));
  }

  #text(open = "") {
    return [...this.#finals.map((segment) => segment.text), open].filter(Boolean).join(" ");
  }

  #look() {
    const fresh = this.#length - this.#asked;
    if (this.#running || this.#ended || fresh * 1000 < EVERY_MS * this.#rate) return;
    this.#running = this.#hear(true)
      .catch((error) => {
        if (!this.#ending.signal.aborted) this.#told.onError?.(error);
        this.#drop(Math.max(0, this.#length - MOST_SECONDS * this.#rate));
      })
      .finally(() => {
        this.#running = null;
        this.#look();
      });
  }

  async #hear(live) {
    this.#asked = this.#length;
    const samples = this.#joined();
    const offset = this.#dropped / this.#rate;
    const form = live ? { live } : { response_format: "verbose_json", timestamp_granularities: ["word", "segment"] };
    const found = await this.#ask(form, samples, this.#ending.signal);
    this.#ending.signal.throwIfAborted();
    const open = [];
    for (const segment of found.segments ?? []) {
      if (live && !segment.closed) open.push(segment.text);
      else this.#close(segment, offset);
    }
    this.#drop(live ? found.consumed : samples.length);
    this.#told.onPartial?.({ text: this.#text(open.join(" ")), final: this.#text() });
  }

  #close({ text, start, end, words = [] }, offset) {
    const at = ({ word, start: from, end: to }) => ({ word, start: from + offset, end: to + offset });
    const segment = { text, start: start + offset, end: end + offset, words: words.map(at) };
    if (!text) return;
    this.#finals.push(segment);
    this.#told.onFinal?.(segment);
  }

  #joined() {
    const all = new Float32Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    this.#parts = [all];
    return all.slice(); // the sent one may be taken over by the worker
  }

  /** Lets the first `count` samples go. */
  #drop(count) {
    if (!count) return;
    const rest = this.#joined().slice(count);
    this.#parts = rest.length ? [rest] : [];
    this.#length = rest.length;
    this.#asked = Math.max(0, this.#asked - count);
    this.#dropped += count;
  }
}
