/**
 * A page's half of the API: answers what the service worker relays (protocol.js) with this page's
 * engines. jird.js makes one.
 */
import { pcm16, wavHeader } from "../audio/wav.js";
import { asJirdError, jirdError } from "../errors.js";
import { ASK, CLAIM, SILENCE_MS, TICK } from "./protocol.js";

// A browser gives a service worker five minutes for the head of an answer; white space, which both
// forms of body allow before their first word, is sent when it takes long.
const HEAD_MS = 60_000;

export class ApiServer {
  #scope; #engines = new Set(); #serving = new Set();

  /** @param {URL} scope the app's folder @param {ServiceWorkerContainer} [container] */
  constructor(scope, container) {
    this.#scope = scope;
    container?.addEventListener("message", (event) => this.#asked(event));
    container?.startMessages();
  }

  /** How many requests are held, for tests. */
  get live() {
    return this.#serving.size;
  }

  /** `engine` answers from now on; one that still loads makes requests wait. */
  add(engine) {
    this.#engines.add(engine);
  }

  remove(engine) {
    this.#engines.delete(engine);
  }

  #asked({ data, ports: [port], source }) {
    if (data?.type !== ASK || data.scope !== this.#scope.href) return;
    const engines = [...this.#engines];
    if (!engines.length) {
      port.postMessage({ kind: "none" });
      port.close();
      return;
    }
    const lock = `jird-busy:${this.#scope.pathname}`; // an update of the app waits for the answer
    const serving = new Serving(port, source, engines, lock, () => this.#serving.delete(serving));
    this.#serving.add(serving);
    port.postMessage({ kind: "offer", models: engines.map((engine) => engine.info?.model ?? null) });
  }
}

/** One request, from the offer to its end. */
class Serving {
  #port; #worker; #engines; #lock; #done; #watch; #id = null; #headSent = false;
  #ending = new AbortController();

  constructor(port, worker, engines, lock, done) {
    this.#port = port;
    this.#worker = worker;
    this.#engines = engines;
    this.#lock = lock;
    this.#done = done;
    this.#expect();
    port.onmessage = ({ data }) => this.#said(data);
  }

  /** A worker that was ended says nothing more, and nobody else hears of that. */
  #expect() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#stop(), SILENCE_MS);
  }

  #said(data) {
    this.#expect();
    if (data.kind === "ping") this.#worker.postMessage({ type: TICK, id: this.#id });
    else if (data.kind === "call") void this.#serve(data);
    else this.#stop(); // leave, abort
  }

  #stop() {
    this.#ending.abort(new DOMException("The request was given up.", "AbortError"));
    this.#close();
  }

  #close() {
    clearTimeout(this.#watch);
    this.#port.close();
    this.#done();
  }

  async #serve(call) {
    this.#id = call.id;
    const mode = "shared";
    await navigator.locks.request(this.#lock, { mode }, () => this.#answer(call));
    this.#close();
  }

  async #answer({ route, name, body }) {
    const { signal } = this.#ending;
    const spoken = route === "speech";
    const streams = body?.stream === true && !spoken;
    const late = spoken ? null : setTimeout(() => this.#late(streams), HEAD_MS);
    try {
      const engine = pick(this.#engines, body?.model ?? name);
      await engine.loaded;
      if (spoken) await this.#speak(engine, body, signal);
      else if (streams) await this.#stream(await create(engine, route, body, signal));
      else this.#tell(body, await answer(engine, { route, name, body, signal }));
      this.#port.postMessage({ kind: "end" });
    } catch (error) {
      if (!signal.aborted) this.#fail(asJirdError(error), streams);
    } finally {
      clearTimeout(late);
    }
  }

  async #stream(chunks) {
    for await (const chunk of chunks) this.#sendEvent(JSON.stringify(chunk));
    this.#sendEvent("[DONE]");
  }

  /** Sound: a file, or with `stream` its bytes as they are made, their number not known before. */
  async #speak(engine, body, signal) {
    const found = await engine.audio.speech.create(body, { signal });
    const raw = body.response_format === "pcm";
    const type = raw ? "audio/pcm" : "audio/wav";
    if (found instanceof Response) {
      this.#head(200, type);
      return this.#bytes(new Uint8Array(await found.arrayBuffer()));
    }
    for await (const { samples, sampleRate } of found) {
      if (!this.#headSent && !raw) {
        this.#head(200, type);
        this.#bytes(wavHeader(sampleRate));
      }
      this.#head(200, type);
      this.#bytes(pcm16(samples));
    }
  }

  #bytes(bytes) {
    this.#port.postMessage({ kind: "bytes", bytes }, [bytes.buffer]);
  }

  #sendEvent(text) {
    this.#head(200, "text/event-stream; charset=utf-8");
    this.#send(`data: ${text}\n\n`);
  }

  #whole(value, status = 200, headers = {}) {
    this.#head(status, "application/json", headers);
    this.#send(JSON.stringify(value));
  }

  /** Transcripts as text, srt or vtt are text; all else is JSON. */
  #tell(body, value) {
    if (typeof value !== "string") return this.#whole(value);
    const type = { srt: "application/x-subrip", vtt: "text/vtt" }[body.response_format] ?? "text/plain";
    this.#head(200, `${type}; charset=utf-8`);
    this.#send(value);
  }

  #late(streams) {
    this.#head(200, streams ? "text/event-stream; charset=utf-8" : "application/json");
    this.#send(streams ? ": the model is at work\n\n" : " ");
  }

  #head(status, type, headers = {}) {
    if (this.#headSent) return;
    this.#headSent = true;
    const all = { "content-type": type, "cache-control": "no-store", ...headers };
    this.#port.postMessage({ kind: "head", status, headers: all });
  }

  #send(text) {
    this.#port.postMessage({ kind: "text", text });
  }

  /** After the head a stream can still say what failed, OpenAI's way; a whole answer breaks off. */
  #fail(error, streams) {
    const { status } = error;
    if (!this.#headSent) {
      const again = { "x-should-retry": String(status === 409) };
      this.#whole({ error: error.error }, status, again);
    } else if (streams) {
      this.#sendEvent(JSON.stringify({ error: error.error }));
    } else {
      this.#port.postMessage({ kind: "fail" });
      return;
    }
    this.#port.postMessage({ kind: "end" });
  }
}

/** The engine that has this model, else the first: it says what is wrong with the name. */
function pick(engines, model) {
  return engines.find((engine) => engine.info?.model === model) ?? engines[0];
}

function create(engine, route, body, signal) {
  if (route === "transcribe") {
    const { name, type, bytes } = body.file;
    return engine.audio.transcriptions.create({ ...body, file: new File([bytes], name, { type }) }, { signal });
  }
  const api = route === "chat" ? engine.chat.completions : engine.completions;
  return api.create(body, { signal });
}

async function answer(engine, { route, name, body, signal }) {
  if (route === "models") return engine.models.list();
  if (route === "model") return engine.models.retrieve(name);
  return create(engine, route, body, signal);
}

/**
 * Waits until the service worker serves this page, registering it where needed. Throws
 * E_INSECURE_CONTEXT, E_BAD_REQUEST where the page lies outside the app's folder.
 * @param {URL} scope
 * @returns {Promise<string>} the API's address, for `baseURL` of OpenAI's client
 */
export async function apiAddress(scope, { signal } = {}) {
  const url = String(globalThis.location);
  const container = globalThis.navigator?.serviceWorker;
  if (!globalThis.isSecureContext || !container) throw jirdError("E_INSECURE_CONTEXT", { url });
  if (!url.startsWith(scope.href)) {
    const wanted = `a page below ${scope.href}, which is all that its service worker serves`;
    throw jirdError("E_BAD_REQUEST", { param: "location", got: url, wanted });
  }
  signal?.throwIfAborted();
  if (!container.controller) {
    const script = new URL("sw.js", scope);
    const registration = await container.register(script, { updateViaCache: "none" });
    registration.active?.postMessage({ type: CLAIM }); // a forced reload took this page from it
    await controlled(container, signal);
  }
  return new URL("v1", scope).href;
}

/** A new worker takes over open pages once it has stored the app. */
function controlled(container, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal?.addEventListener("abort", stop, { once: true });
    container.addEventListener("controllerchange", () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, { once: true });
    if (container.controller) resolve();
  });
}
