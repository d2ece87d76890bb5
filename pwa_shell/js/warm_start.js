/**
 * Sets the GPU up by a kept plan while Python boots: buffers, pipelines, weights and the tokenizer.
 *
 * What is done here is a guess until Python takes it: only Python knows whether the plan is still the one that it would make,
 * and compares its key (app/kept.py). One that is not taken is ended, and the load goes on as if there had been none.
 */
import { LOADING, putTuning } from "./tuning_cache.js";

/** What of a load's parameters a plan depends on, as the name under which it is kept. */
export function requestOf({ model, hub, device, quant, kv, context, tune, budget_mb }) {
  return JSON.stringify([model, hub, device, quant, kv, context, tune, budget_mb].map((value) => value ?? null));
}

/**
 * Begins `model` by `record` (plan_cache.js) on `binding` with `readers`; `mark`: the mark of a load that the browser ended, found
 * before (all three Promises). -> Promise of a Started, or of null where files or device are plainly others than the record's, or
 * something fails: the usual way will tell.
 */
export async function warmStart(record, model, { binding, readers, mark }) {
  let runner = null, marking = null;
  try {
    const { files, device, selftest } = JSON.parse(record.key);
    const gpu = await binding;
    if (gpu.describe() !== device) return null;
    const opened = await readers;
    const found = opened.map(({ name, size, identity }) => [name, size, identity ?? null]);
    if (JSON.stringify(found) !== JSON.stringify(files)) return null;
    if (await mark) return null; // the page ended during its last load: Python starts it in safe mode
    marking = putTuning(LOADING, model);
    gpu.setLayout(...selftest.layout);
    runner = await gpu.prepare(record.header, record.ints, () => {}); // compiling, which nothing here waits for
    await marking; // before the weights fill memory
    const shards = JSON.parse(record.shards).map((name) => opened.find((reader) => reader.name === name));
    const { createTokenizer } = await import("../tokenizer.js"); // late: the worker's start must not wait for it
    const making = () => (record.tokenizer ? createTokenizer(record.tokenizer, record.tokenizerConfig) : undefined);
    return new Started(record, runner, shards, making);
  } catch {
    runner?.close();
    await marking?.then(() => putTuning(LOADING, ""));
    return null;
  }
}

class Started {
  #ending = new AbortController(); #upload; #progress = null; #last = null; #record; #began = performance.now(); #making;
  /** Milliseconds that the upload took, most of them beside Python's boot; 0 until it is done. */
  upload_ms = 0;
  tokenizer = undefined; // null would be an object in Python

  /** `making()`: the tokenizer or undefined. Made while Python waits for the GPU: before, it would hold up Python's start. */
  constructor(record, runner, readers, making) {
    [this.#record, this.#making] = [record, making];
    this.runner = runner;
    for (const [buffer, data] of record.consts) runner.write(buffer, 0, data);
    const report = (...state) => {
      this.#last = state;
      this.#progress?.(...state);
    };
    this.#upload = runner.upload(readers, report, this.#ending.signal);
    this.#upload.then(() => (this.upload_ms = performance.now() - this.#began), () => {}); // told by uploaded()
  }

  /** The record's texts, for Python. */
  text(name) {
    return this.#record[name];
  }

  /** Waits for the upload; `onProgress` hears how far it is. */
  async uploaded(onProgress) {
    if (this.#last) onProgress(...this.#last);
    this.#progress = onProgress;
    this.tokenizer = this.#making();
    try {
      await this.#upload;
    } finally {
      this.#progress = null;
    }
  }

  /** Ends what was begun: nobody wants it. */
  async dispose() {
    this.#ending.abort();
    await this.#upload.catch(() => {});
    this.runner.close();
    await putTuning(LOADING, "");
  }
}
