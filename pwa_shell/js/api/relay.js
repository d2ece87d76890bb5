/**
 * The service worker's half of the API: takes requests under `v1/`, finds an open page that has an
 * engine, and relays what that page answers. It keeps nothing from one request to the next, as
 * browsers end and restart it at will.
 */
import { asJirdError, jirdError } from "../errors.js";
import { ASK, ASK_MS, PING_MS, ROOT, SILENCE_MS, TICK } from "./protocol.js";
import { bodyOf, formOf, routeOf } from "./routes.js";

const BETTER_MS = 200; // how much longer a page with the very model is waited for

export class ApiRelay {
  #root; #scope; #clients;
  #open = new Map(); // id -> Exchange

  /** @param {string} scope the app's address @param {Clients} clients */
  constructor(scope, clients) {
    this.#scope = scope;
    this.#root = scope + ROOT;
    this.#clients = clients;
  }

  /** How many requests are under way, for tests. */
  get live() {
    return this.#open.size;
  }

  /** @param {string} url @returns {boolean} whether the API answers it */
  covers(url) {
    return url.startsWith(this.#root);
  }

  /** A serving page is there still. */
  heard({ type, id }) {
    if (type === TICK) this.#open.get(id)?.heard();
  }

  /** @param {FetchEvent} event @returns {Promise<Response>} OpenAI's error object on any failure */
  async respond({ request, clientId }) {
    try {
      const call = routeOf(request.method, request.url.slice(this.#root.length).split(/[?#]/)[0]);
      if (call.route === "transcribe") call.body = await formOf(request);
      else if (request.method === "POST") call.body = await bodyOf(request);
      const port = await this.#find(call.body?.model);
      return await this.#relay(port, call, request.signal, clientId);
    } catch (error) {
      return errorResponse(asJirdError(error));
    }
  }

  #relay(port, call, signal, clientId) {
    const id = crypto.randomUUID();
    const requesterIsGone = async () => clientId && !(await this.#clients.get(clientId));
    const exchange = new Exchange(port, signal, requesterIsGone, () => this.#open.delete(id));
    this.#open.set(id, exchange);
    return exchange.begin({ kind: "call", id, ...call });
  }

  /** A port to a page that serves, one with this `model` if there is any. Throws E_NO_ENGINE. */
  async #find(model) {
    const every = await this.#clients.matchAll({ type: "window", includeUncontrolled: true });
    const pages = every.filter((page) => page.url.startsWith(this.#scope));
    const asked = pages.map((page) => ask(page, this.#scope));
    const good = ({ models }) => models && (model === undefined || models.includes(model));
    const best = await chosen(asked.map(({ answer }) => answer), good);
    for (const { port } of asked) if (port !== best) leave(port);
    if (!best) throw jirdError("E_NO_ENGINE", { app: this.#scope });
    return best;
  }
}

/** {port, answer: Promise<{port, models?}>} of asking one page. */
function ask(page, scope) {
  const { port1: port, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => {
    setTimeout(resolve, ASK_MS, { port });
    port.onmessage = ({ data }) => resolve({ port, models: data.models });
  });
  page.postMessage({ type: ASK, scope }, [port2]);
  return { port, answer };
}

/** The port of the first answer that is `good`, else of the first offer, else undefined. */
function chosen(answers, good) {
  return new Promise((resolve) => {
    let offered;
    const all = answers.map((answer) => answer.then((found) => {
      if (good(found)) resolve(found.port);
      if (!found.models || offered) return;
      offered = found.port;
      setTimeout(resolve, BETTER_MS, offered);
    }));
    Promise.all(all).then(() => resolve(offered));
  });
}

function leave(port) {
  port.postMessage({ kind: "leave" });
  port.close();
}

/** One request and the page that answers it. */
class Exchange {
  #port; #signal; #requesterIsGone; #done; #timer; #heardAt = Date.now();
  #head; #body; #stream = null;
  #abort = () => this.#end("abort");

  constructor(port, signal, requesterIsGone, done) {
    this.#port = port;
    this.#signal = signal;
    this.#requesterIsGone = requesterIsGone;
    this.#done = done;
  }

  /** Sends the call; resolves with the response once its head is known. */
  begin(call) {
    const response = new Promise((resolve, reject) => (this.#head = { resolve, reject }));
    this.#body = new ReadableStream({
      start: (stream) => void (this.#stream = stream),
      cancel: () => {
        this.#stream = null;
        this.#abort();
      },
    });
    this.#port.onmessage = ({ data }) => this.#said(data);
    this.#port.postMessage(call);
    this.#timer = setInterval(() => this.#look(), PING_MS);
    this.#signal.addEventListener("abort", this.#abort, { once: true });
    if (this.#signal.aborted) this.#abort();
    return response;
  }

  heard() {
    this.#heardAt = Date.now();
  }

  #said({ kind, status, headers, text, bytes }) {
    this.heard();
    if (kind === "head") this.#head.resolve(new Response(this.#body, { status, headers }));
    else if (kind === "text") this.#stream?.enqueue(new TextEncoder().encode(text));
    else if (kind === "bytes") this.#stream?.enqueue(bytes);
    else this.#end(kind);
  }

  async #look() {
    if (Date.now() - this.#heardAt > SILENCE_MS) return this.#end("fail");
    this.#port.postMessage({ kind: "ping" });
    if (await this.#requesterIsGone()) this.#end("abort");
  }

  /** @param {"end"|"fail"|"abort"} how */
  #end(how) {
    clearInterval(this.#timer);
    this.#signal.removeEventListener("abort", this.#abort);
    const reason = "the page that ran the engine was closed";
    const lost = jirdError("E_DEVICE_LOST", { reason });
    if (how === "end") this.#stream?.close();
    else this.#stream?.error(lost);
    this.#stream = null;
    this.#head.reject(lost); // without effect after the head
    if (how === "abort") this.#port.postMessage({ kind: "abort" });
    this.#port.close();
    this.#done();
  }
}

/** OpenAI's error object with its status. */
function errorResponse(error) {
  return Response.json({ error: error.error }, { status: error.status, headers: errorHeaders() });
}

/** Nothing is kept; OpenAI's client need not try again what waiting does not mend. */
function errorHeaders() {
  return { "cache-control": "no-store", "x-should-retry": "false" };
}
