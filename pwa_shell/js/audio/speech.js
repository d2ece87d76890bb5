/**
 * `engine.audio.speech.create(body)`: OpenAI's text to speech. Python loads the voice when it is first
 * asked for and speaks (app/voices.py); here are only the shapes.
 */
import { checkBody } from "../api/routes.js";
import { wavFile, pcm16 } from "./wav.js";

/**
 * @param {(body: object, onEvent: Function, signal?: AbortSignal) => Promise<object>} ask one `speak`
 * @returns {(body: object, options?: {signal?: AbortSignal}) => Promise<Response|SpeechStream>} a Response
 *   with the sound; with `stream: true` an async iterable of {samples: Float32Array, sampleRate, sentence,
 *   text} as they are made, before the text is spoken to its end
 */
export function makeSpeech(ask) {
  return async function create(body, { signal = body?.signal } = {}) {
    signal?.throwIfAborted();
    const { signal: _, onProgress, ...params } = checkBody(body);
    const progress = (name, data) => name === "progress" && onProgress?.(data);
    if (params.stream !== true) return soundOf(await ask(params, progress, signal));
    const stream = new SpeechStream(signal);
    const onEvent = (name, data) => (name === "chunk" ? stream.push(data) : progress(name, data));
    ask(params, onEvent, stream.signal).then(() => stream.end(), (error) => stream.end(error));
    await stream.started; // a refused request rejects here rather than in the loop
    return stream;
  };
}

function soundOf({ audio = new Float32Array(0), sample_rate: rate, content_type: type }) {
  const bytes = type === "audio/pcm" ? pcm16(audio) : wavFile(audio, rate);
  return new Response(bytes, { headers: { "content-type": type, "x-sample-rate": String(rate) } });
}

/** Speech as it is made, to be read once. Leaving the loop, or the signal, ends the speaking. */
class SpeechStream {
  #ending = new AbortController(); #pieces = []; #ended = false; #error = null; #wake = null; #begun;

  constructor(signal) {
    this.started = new Promise((resolve, reject) => (this.#begun = { resolve, reject }));
    this.signal = signal ? AbortSignal.any([signal, this.#ending.signal]) : this.#ending.signal;
    this.signal.addEventListener("abort", () => this.end(), { once: true });
  }

  push({ audio, sample_rate: sampleRate, sentence, text }) {
    if (this.#ended || !audio) return;
    this.#pieces.push({ samples: audio, sampleRate, sentence, text });
    this.#begun.resolve();
    this.#wake?.();
  }

  end(error = null) {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = this.signal.aborted ? null : error;
    if (this.#error) this.#begun.reject(this.#error);
    else this.#begun.resolve();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        while (this.#pieces.length && !this.signal.aborted) yield this.#pieces.shift();
        if (this.#ended) break;
        await new Promise((resolve) => (this.#wake = resolve));
        this.#wake = null;
      }
      if (this.#error) throw this.#error;
    } finally {
      this.#ending.abort(); // does nothing after the end
    }
  }
}
