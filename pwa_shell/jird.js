/**
 * Jird's public client: `import { createEngine } from "/jird.js"`, also `window.jird`.
 *
 *     const engine = await createEngine({ model, burst, onProgress, signal });
 *     const { rows, budget } = await catalog({ context });
 *     const answer = await engine.chat.completions.create({ messages });
 *     for await (const chunk of await engine.completions.create({ prompt, stream: true })) ...
 *     const sound = await engine.audio.speech.create({ input, voice }); // js/audio/speech.js
 *     const { text } = await engine.audio.transcriptions.create({ file });
 *     await engine.models.list(); await engine.stats(); await engine.unload();
 *     const baseURL = await apiURL(); // for OpenAI's own client or fetch; see js/api/relay.js
 *
 * `model` is an id of the catalogue or of what this browser stores, a hub's `org/name`,
 * `org/name@revision`, `org/name:file.gguf`, or a URL (js/storage/hub.js). `token` is for private
 * repositories of the hub (default: the one that js/hub_token.js keeps), `hub` another hub's address;
 * `device: "reference"` computes without a GPU, slowly: for tests and tiny models.
 *
 * Requests and responses have OpenAI's shapes (docs/api.md); failures are JirdErrors {code, message,
 * next_step, facts} with OpenAI's {status, type, param, error}. An AbortSignal may be given in the body or as `create(body, { signal })`; an aborted call
 * rejects with the signal's reason, an aborted stream just ends.
 */
import { checkBody } from "./js/api/routes.js";
import { makeSpeech } from "./js/audio/speech.js";
import { apiAddress, ApiServer } from "./js/api/server.js";
import { Transcriptions } from "./js/audio/transcriptions.js";
import { Hub } from "./js/engine_client.js";
import { jirdError, JirdError } from "./js/errors.js";
import { readToken } from "./js/hub_token.js";
import { platformOf } from "./js/platform.js";
import { anySignal, streamOf } from "./js/stream.js";
import { runTools } from "./js/tools/run_tools.js";

export { JirdError };

const LOAD_OPTIONS = ["quant", "kv", "context", "burst", "device", "token", "hub", "tune", "budget_mb"];
const CREATED = 1735689600; // 2025-01-01: OpenAI's shape wants a time, and a file has none
const ADDRESS_OPTIONS = ["device", "apart", "delta_state", "variants", "budget_mb"];
const CATALOG_STAYS_MS = 60_000; // a load often follows, and Python need not start again for it

/**
 * `createEngine` for one worker script and one app `scope`; the app's own is below, tests make
 * theirs.
 */
export function makeCreateEngine(hub, server = null) {
  return async function createEngine(given) {
    const { model, onProgress, signal, ...options } = given ?? {};
    checkSignal(signal);
    if (onProgress != null && typeof onProgress !== "function") {
      const got = typeof onProgress;
      throw jirdError("E_BAD_REQUEST", { param: "onProgress", got, wanted: "a function" });
    }
    for (const name of Object.keys(options)) {
      if (!LOAD_OPTIONS.includes(name)) {
        const wanted = `model, onProgress, signal, ${LOAD_OPTIONS.join(", ")}`;
        throw jirdError("E_BAD_REQUEST", { param: name, got: "given", wanted });
      }
    }
    const load = { ...platformOf(navigator), token: readToken(), ...askedOptions(), ...options, model: absolute(model) };
    const engine = new Engine(hub, load, onProgress, server);
    await engine.open(signal);
    return engine;
  };
}

/** What the page's address asks for: the knobs of pyengine/flags.py. */
function askedOptions() {
  const given = new URLSearchParams(globalThis.location?.search);
  return Object.fromEntries([...given].filter(([name]) => ADDRESS_OPTIONS.includes(name)));
}

/**
 * What Jird offers, before any download: {rows, budget, voices}. A row is {id, name, family, license, bytes,
 * quant, context, modalities, source: {kind, model, repo, revision, file}, fit: {verdict, bytes,
 * context, largest_context, reason}}; `source.model` is what `createEngine` takes. `context`:
 * tokens that a conversation should hold.
 */
export function makeCatalog(hub) {
  return async function catalog({ context, signal } = {}) {
    checkSignal(signal);
    hub.use();
    try {
      return await hub.request("catalog", { context, budget_mb: askedOptions().budget_mb, ...platformOf(navigator) }, { signal });
    } finally {
      setTimeout(() => hub.drop(), CATALOG_STAYS_MS);
    }
  };
}

/**
 * A path or URL as an absolute URL, since the worker's base is not the page's; ids stay as they
 * are.
 */
function absolute(model) {
  const path = typeof model === "string"
    && (/^\.{0,2}\//.test(model) || /^[a-z][a-z0-9+.-]*:\/\//i.test(model));
  if (!path) return model;
  try {
    return new URL(model, globalThis.document?.baseURI ?? location.href).href;
  } catch {
    const got = JSON.stringify(model.slice(0, 80));
    throw jirdError("E_BAD_REQUEST", { param: "model", got, wanted: "a URL that can be read" });
  }
}

/** Anything else would fail in the middle of a request. */
function checkSignal(signal) {
  if (signal == null || typeof signal.throwIfAborted === "function") return;
  const wanted = "an AbortSignal";
  throw jirdError("E_BAD_REQUEST", { param: "signal", got: typeof signal, wanted });
}

class Engine {
  #hub; #load; #server; #ending = new AbortController(); #info = null; #onLoadEvent;

  constructor(hub, load, onProgress, server) {
    this.#hub = hub;
    this.#load = load;
    this.#server = server;
    this.#onLoadEvent = (name, data) => name === "progress" && onProgress?.(data);
    const create = (body, options) => this.#create("chat", body, options);
    const withTools = (body, options) => runTools({ create }, body, options);
    this.chat = { completions: { create, runTools: withTools } };
    this.completions = { create: (body, options) => this.#create("complete", body, options) };
    this.audio = {
      speech: { create: makeSpeech((...asked) => this.#speak(...asked)) },
      transcriptions: this.#transcriptions(),
    };
    this.models = { list: () => this.#models(), retrieve: (id) => this.#retrieve(id) };
  }

  /** Speech to text: a model of its own, which needs no chat model; see js/audio/transcriptions.js. */
  #transcriptions() {
    const { token, device, budget_mb } = this.#load;
    const send = async (params, audio, { onEvent, signal }) => {
      const all = { ...platformOf(navigator), token, device, budget_mb, ...params, model: absolute(params.model) };
      return this.#whileOpen(signal, (either) =>
        this.#hub.request("transcribe", all, { onEvent, signal: either, audio }));
    };
    const ask = (params, audio, { signal, onProgress }) =>
      send(params, audio, { signal, onEvent: (name, data) => name === "progress" && onProgress?.(data) });
    const stream = (params, audio, signal) =>
      streamOf((onEvent, ended) => send(params, audio, { onEvent, signal: ended }), signal);
    return new Transcriptions(ask, stream);
  }

  /** The loaded model's id. */
  get model() {
    return this.#info.model;
  }

  /** What the load answered: {model, context, settings, defaults, chat, catalog, stats}. */
  get info() {
    return this.#info;
  }

  /** Loads the model, or shares the one that is loaded; `createEngine` calls it. */
  open(signal) {
    this.loaded = this.#open(signal);
    this.#server?.add(this);
    return this.loaded;
  }

  async #open(signal) {
    this.#hub.use();
    try {
      this.#info = await this.#loaded(signal);
    } catch (error) {
      this.#server?.remove(this);
      this.#ending.abort(error);
      await this.#hub.drop();
      throw error;
    }
  }

  async #models() {
    this.#ending.signal.throwIfAborted();
    const { model: id, context } = this.info;
    const row = { id, object: "model", created: CREATED, owned_by: "jird", context_length: context };
    return { object: "list", data: [row] };
  }

  async #retrieve(id) {
    const { data: [row] } = await this.#models();
    if (id === row.id) return row;
    const model = JSON.stringify(id)?.slice(0, 80) ?? String(id);
    throw jirdError("E_UNKNOWN_MODEL", { model, loaded: JSON.stringify(row.id) });
  }

  /**
   * {device, dispatches_per_token, submits_per_token, ttft_ms, prefill_tps, decode_tps, load_ms,
   * bytes, ...}
   */
  async stats({ signal } = {}) {
    checkSignal(signal);
    this.#ending.signal.throwIfAborted();
    return this.#hub.request("stats", {}, { signal });
  }

  /** The GPU's whole self-test (pyengine/selftest.py) -> {layout, off, rows, ms}, after what is queued. */
  async selftest({ signal } = {}) {
    checkSignal(signal);
    return this.#request("selftest", {}, { signal });
  }

  /**
   * Times each kernel of one program, "decode" or "prefill<rows>", at a position: {clock, ms,
   * pass_ms, kernels: [{op, shape, calls, us, ms, share, read_bytes, written_bytes, gb_s}]}. It waits
   * for its turn like a request, and the conversation's prefix is computed anew afterwards.
   */
  async profile({ program, position, repeats, signal } = {}) {
    checkSignal(signal);
    return this.#request("profile", { program, position, repeats }, { signal });
  }

  /** A voice has a model, a device and a turn of its own: the chat's is neither loaded nor waited for. */
  async #speak(body, onEvent, signal) {
    checkSignal(signal);
    const { token, hub, device } = this.#load;
    const named = { model: absolute(body.model), codec: absolute(body.codec) };
    return this.#whileOpen(signal, (either) =>
      this.#hub.request("speak", { token, hub, device, ...body, ...named }, { onEvent, signal: either }));
  }

  #loaded(signal) {
    return this.#hub.request("load", this.#load, { onEvent: this.#onLoadEvent, signal });
  }

  /** Ends this engine's requests; the last engine's end unloads the model. Idempotent. */
  async unload() {
    if (this.#ending.signal.aborted) return;
    this.#server?.remove(this);
    this.#ending.abort(new DOMException("The engine was unloaded.", "AbortError"));
    await this.#hub.drop();
  }

  /**
   * Sends a request to this engine's model, which is loaded again where a tab was closed or another
   * model took over.
   */
  async #request(method, params, { onEvent, signal } = {}) {
    return this.#whileOpen(signal, async (either) => {
      await this.#loaded(either);
      return this.#hub.request(method, params, { onEvent, signal: either });
    });
  }

  /** What `ask(either)` answers, which `signal` and this engine's end abort alike. */
  async #whileOpen(signal, ask) {
    const either = anySignal([this.#ending.signal, signal]);
    try {
      return await ask(either.signal);
    } finally {
      either.release();
    }
  }

  async #create(method, body, { signal = body?.signal } = {}) {
    checkSignal(signal);
    signal?.throwIfAborted();
    this.#ending.signal.throwIfAborted();
    const { signal: _, ...params } = checkBody(body);
    params.model = absolute(params.model ?? this.model);
    if (params.stream !== true) return this.#request(method, params, { signal });
    return streamOf((onEvent, ended) => this.#request(method, params, { onEvent, signal: ended }), signal);
  }
}

const here = new URL("./", import.meta.url);

export const workerURL = new URL("./engine_worker.js", here);
const gpuFaults = new URLSearchParams(globalThis.location?.search).get("gpuFaults");
if (gpuFaults) workerURL.searchParams.set("gpuFaults", gpuFaults); // js/gpu_faults.js, for trying things out

const hub = new Hub(workerURL, here.pathname);
const server = new ApiServer(here, globalThis.navigator?.serviceWorker);

/** A client of the one engine of this origin's app. */
export const createEngine = makeCreateEngine(hub, server);

/** What can be loaded, and whether it fits this device. */
export const catalog = makeCatalog(hub);

/** `baseURL` for OpenAI's client in any page of the app: resolves when it answers this page. */
export const apiURL = (options) => apiAddress(here, options);

if (typeof window !== "undefined") window.jird = { createEngine, catalog, apiURL, JirdError };
