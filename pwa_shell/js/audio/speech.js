/**
 * `engine.audio.speech.create(body)`: OpenAI's text to speech. Python loads the voice when it is first
 * asked for and speaks (app/voices.py); here are only the shapes.
 */
import { checkBody } from "../api/routes.js";
import { streamOf } from "../stream.js";
import { pcm16, wavFile } from "./wav.js";

/**
 * @param {(body: object, onEvent: Function, signal?: AbortSignal) => Promise<object>} ask one `speak`
 * @returns {(body: object, options?: {signal?: AbortSignal}) => Promise<Response|AsyncIterable<object>>} a Response
 *   with the sound; with `stream: true` an async iterable of {samples: Float32Array, sampleRate, sentence,
 *   text} as they are made, before the text is spoken to its end
 */
export function makeSpeech(ask) {
  return async function create(body, { signal = body?.signal } = {}) {
    signal?.throwIfAborted();
    const { signal: _, onProgress, ...params } = checkBody(body);
    const progress = (name, data) => name === "progress" && onProgress?.(data);
    if (params.stream !== true) return soundOf(await ask(params, progress, signal));
    const send = (onEvent, ended) => ask(params, onEvent, ended);
    return streamOf(send, signal, { take: pieceOf, onOther: progress, abrupt: true });
  };
}

/** A chunk's speech; the last one has none. */
function pieceOf({ audio, sample_rate: sampleRate, sentence, text }) {
  return audio ? { samples: audio, sampleRate, sentence, text } : undefined;
}

function soundOf({ audio = new Float32Array(0), sample_rate: rate, content_type: type }) {
  const bytes = type === "audio/pcm" ? pcm16(audio) : wavFile(audio, rate);
  return new Response(bytes, { headers: { "content-type": type, "x-sample-rate": String(rate) } });
}
