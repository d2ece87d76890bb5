/** Answers the messages of protocol.js from a Library, on the worker itself and on any port that is handed over. */
import { asJirdError, jirdError } from "../errors.js";
import { storageError } from "./errors.js";
import { event, isRequest } from "./protocol.js";
import { clearForeign, foreign } from "./quota.js";
import { resolveModel } from "./url.js";

export class Server {
  #library; #ends = new Map(); #models = new Map(); #count = 0;

  /** `library`: Promise of a Library; calls wait for it. */
  constructor(library) {
    this.#library = library;
  }

  /** Serves one end: the worker's global scope or a MessagePort. -> its number. */
  serve(port) {
    const end = { port, calls: new Map(), handles: new Set() }, number = ++this.#count;
    this.#ends.set(number, end);
    port.onmessage = ({ data }) => {
      if (!isRequest(data)) return;
      if (data.method === "abort") end.calls.get(data.params.target)?.abort();
      this.#answer(end, data);
    };
    return number;
  }

  /** Tells every end that what is stored changed. */
  changed() {
    for (const { port } of this.#ends.values()) port.postMessage(event(null, "changed", {}));
  }

  /** Tells every end how far a model's transfer is, in whatever tab it runs. */
  activity(state) {
    for (const { port } of this.#ends.values()) port.postMessage(event(null, "activity", state));
  }

  async #answer(end, { id, method, params }) {
    const ending = new AbortController(), { port, calls } = end;
    calls.set(id, ending);
    try {
      const onProgress = (data) => port.postMessage(event(id, "progress", data));
      const result = await this[`_${method}`](params, { onProgress, signal: ending.signal, end });
      port.postMessage(event(id, "result", result ?? {}), result?.bytes instanceof ArrayBuffer ? [result.bytes] : []);
    } catch (error) {
      port.postMessage(event(id, "error", asJirdError(storageError(error, method)).toJSON()));
    } finally {
      calls.delete(id);
    }
  }

  async _info() {
    return (await this.#library).info();
  }

  async _list() {
    return (await this.#library).list();
  }

  async _resolve({ model, ...options }, { signal }) {
    return resolveModel(model, { ...options, signal });
  }

  async _download({ spec, changed, token, options }, { onProgress, signal }) {
    return (await this.#library).download(spec, { onProgress, signal, changed, token, options });
  }

  async _changed({ id }, { signal }) {
    return { files: await (await this.#library).changed(id, { signal }) };
  }

  async _pause({ id }) {
    (await this.#library).pause(id);
  }

  async _cancel({ id }) {
    await (await this.#library).cancel(id);
  }

  async _verify({ id }, { onProgress, signal }) {
    return (await this.#library).verify(id, { onProgress, signal });
  }

  async _delete({ id }) {
    await (await this.#library).delete(id);
  }

  async _import(spec, { onProgress, signal }) {
    return (await this.#library).import(spec, { onProgress, signal });
  }

  async _open({ id }, { end }) {
    const readers = await (await this.#library).openModel(id);
    const handle = ++this.#count;
    this.#models.set(handle, new Map(readers.map((reader) => [reader.name, reader])));
    end.handles.add(handle);
    return { handle, files: readers.map(({ name, size, identity }) => ({ name, size, identity })) };
  }

  async _read({ handle, name, offset, length }) {
    const reader = this.#models.get(handle)?.get(name);
    if (!reader) {
      throw jirdError("E_BAD_REQUEST", { param: "handle", got: `${handle}, ${name}`, wanted: "a file of an open model" });
    }
    return { bytes: (await reader.read(offset, length)).buffer };
  }

  async _close({ handle }, { end }) {
    end.handles.delete(handle);
    for (const reader of this.#models.get(handle)?.values() ?? []) await reader.close();
    this.#models.delete(handle);
  }

  _foreign() {
    return foreign();
  }

  _clear_foreign({ items }) {
    return clearForeign(items);
  }

  _connect({ port }) {
    return { connection: this.serve(port) };
  }

  async _disconnect({ connection }) {
    const end = this.#ends.get(connection);
    if (!end) return;
    this.#ends.delete(connection);
    end.port.onmessage = null;
    for (const call of end.calls.values()) call.abort();
    for (const handle of [...end.handles]) await this._close({ handle }, { end });
    end.port.close();
  }

  _abort() {}
}
