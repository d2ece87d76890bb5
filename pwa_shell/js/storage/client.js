/** The storage worker as seen by a page, or by another worker through a port: calls, and readers of a model. */
import { jirdError, JirdError } from "../errors.js";
import { isEvent, request } from "./protocol.js";

export class StorageClient {
  #target; #count = 0; #calls = new Map(); #gone = null;
  /** Called when what is stored changed, in this tab or another. */
  onChanged = () => {};
  /** Called with the progress of any model's transfer, of this tab or another: protocol.js. */
  onActivity = () => {};
  /** Called when the worker failed: no call will be answered any more. */
  onLost = () => {};

  /** Starts the app's worker: `new URL("storage_worker.js", site)`. */
  static start(url) {
    const worker = new Worker(url, { type: "module", name: "jird-storage" });
    return new StorageClient(worker);
  }

  /** `target`: a Worker that runs storage_worker.js, or a MessagePort that `connect()` gave. */
  constructor(target) {
    this.#target = target;
    target.onmessage = ({ data }) => isEvent(data) && this.#hear(data);
    target.onerror = (error) => this.#lost(error);
  }

  /** One call of protocol.js. An abort ends it there too; a download that is aborted is paused. */
  call(method, params = {}, { onProgress, signal, transfer = [] } = {}) {
    const id = ++this.#count;
    const message = request(id, method, params);
    return new Promise((resolve, reject) => {
      if (signal?.aborted || this.#gone) return reject(this.#gone ?? signal.reason);
      const abort = () => {
        this.#calls.delete(id);
        this.#target.postMessage(request(++this.#count, "abort", { target: id }));
        reject(signal.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const done = () => signal?.removeEventListener("abort", abort);
      this.#calls.set(id, { resolve, reject, onProgress, done });
      this.#target.postMessage(message, transfer);
    });
  }

  /** Readers of a whole model: {files: Map(name -> {name, size, identity, read(offset, length), close()}), close()}. */
  async openModel(id) {
    const { handle, files } = await this.call("open", { id });
    const close = () => this.call("close", { handle });
    return { files: new Map(files.map((file) => [file.name, this.#source(handle, file)])), close };
  }

  /** {port, connection}: a port for another worker, to be transferred to it (`new StorageClient(port)` there), and its number. */
  async connect() {
    const { port1, port2 } = new MessageChannel();
    const { connection } = await this.call("connect", { port: port1 }, { transfer: [port1] });
    return { port: port2, connection };
  }

  /** Asks the browser to keep this site's data when space runs short; pages only. Null where it cannot be asked. */
  static async persist() {
    return (await navigator.storage?.persist?.()) ?? null;
  }

  terminate() {
    this.#target.terminate?.();
    this.#target.close?.();
    this.#fail(jirdError("E_INTERNAL", { detail: "the storage worker was ended" }));
  }

  #source(handle, { name, size, identity }) {
    let open = true;
    return {
      name, size, identity,
      read: async (offset, length) => {
        if (!open) throw jirdError("E_CORRUPT_SHARD", { file: name, detail: "it was closed" });
        return new Uint8Array((await this.call("read", { handle, name, offset, length })).bytes);
      },
      close: () => void (open = false), // the model's close() ends it in the worker
    };
  }

  #hear({ id, event, data }) {
    if (event === "changed") return this.onChanged();
    if (event === "activity") return this.onActivity(data);
    const call = this.#calls.get(id);
    if (event === "progress") return call?.onProgress?.(data);
    this.#calls.delete(id);
    call?.done();
    if (event === "result") call?.resolve(data);
    else call?.reject(new JirdError(data));
  }

  #lost(error) {
    this.#fail(jirdError("E_INTERNAL", { detail: error.message || "the storage worker could not start" }));
    this.onLost();
  }

  #fail(error) {
    this.#gone = error; // nobody answers any more
    for (const call of this.#calls.values()) (call.done(), call.reject(error));
    this.#calls.clear();
  }
}
