/**
 * Encodes dispatches into compute passes and submits. One of each is best where the browser computes
 * it correctly; WebKit has returned zeros for large command buffers, so the engine's self-test
 * (pyengine/selftest.py) finds how many dispatches one may hold.
 */
import { Silence } from "./silence.js";

export class Recorder {
  #device; #perSubmit; #perPass; #encoder = null; #pass = null; #inSubmit = 0; #inPass = 0; #current = null; #passOptions;

  /** `dispatches` of one submit at most (0: any number), in `passes` passes, begun with `passOptions`. */
  constructor(device, { passes, dispatches }, passOptions = undefined) {
    this.#device = device;
    this.#passOptions = passOptions;
    this.#perSubmit = dispatches || Infinity;
    this.#perPass = Math.ceil(this.#perSubmit / passes);
  }

  dispatch(pipeline, { group, x, y, z }) {
    if (this.#inSubmit === this.#perSubmit) this.submit();
    if (this.#inPass === this.#perPass) this.#endPass();
    this.#pass ??= this.#open().beginComputePass(this.#passOptions);
    if (pipeline !== this.#current) this.#pass.setPipeline(pipeline);
    this.#current = pipeline;
    this.#pass.setBindGroup(0, group);
    this.#pass.dispatchWorkgroups(x, y, z);
    this.#inSubmit += 1;
    this.#inPass += 1;
  }

  /** Submits what is recorded, with what `last(encoder)` adds. */
  submit(last = null) {
    this.#endPass();
    last?.(this.#open());
    if (this.#encoder) this.#device.queue.submit([this.#encoder.finish()]);
    this.#encoder = null;
    this.#inSubmit = 0;
  }

  #open() {
    return (this.#encoder ??= this.#device.createCommandEncoder());
  }

  #endPass() {
    this.#pass?.end();
    this.#pass = null;
    this.#inPass = 0;
    this.#current = null;
  }
}

/** The numbers of the programs of a sequence (gpu_binding.js, `run`), each once. */
export function programsOf(sequence) {
  const found = new Set();
  for (let at = 0; at < sequence.length; at += 2 + sequence[at + 1]) {
    for (let k = 0; k < sequence[at + 1]; k++) found.add(sequence[at + 2 + k]);
  }
  return [...found];
}

/**
 * Waits for promises that may never settle: each rejects once the device is gone, or once the GPU has answered nothing for
 * `most` ms. A race with `device.lost` would keep every one of them alive as long as the device.
 */
export class Patience {
  #waiting = new Set(); #error = null; #silence;

  /** `lost`: promise of the error that all who wait get; `silent()` makes the one of a GPU that does not answer. */
  constructor(lost, most, silent) {
    this.#silence = new Silence(most, () => this.#fail(silent()));
    lost.then((error) => this.#fail(error));
  }

  #fail(error) {
    this.#error ??= error;
    for (const reject of this.#waiting) reject(this.#error);
  }

  wait(promise) {
    if (this.#error) {
      promise.catch(() => {}); // nobody waits for it
      return Promise.reject(this.#error);
    }
    return new Promise((resolve, reject) => {
      const over = () => {
        if (this.#waiting.delete(failed)) this.#silence.end();
      };
      const failed = (error) => (over(), reject(error));
      this.#waiting.add(failed);
      this.#silence.begin();
      promise.then((value) => (over(), resolve(value)), failed);
    });
  }
}
