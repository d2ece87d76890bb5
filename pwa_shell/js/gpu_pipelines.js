/**
 * A runner's pipelines. Those of a load are begun at once, those that the upload waits for first; the late ones, which the
 * first answer can do without, one after the other while nothing else runs, or when a run asks for them.
 */
import { coded, settleLost } from "./gpu_open.js";

const TYPES = { read: "read-only-storage", read_write: "storage", uniform: "uniform" };

/** What a device compiles, and what was begun before any plan asked for it. */
export class Compiler {
  #device; #layouts = new Map(); #ahead = new Map();

  constructor(device) {
    this.#device = device;
  }

  /** {group, pipeline}: the layouts of shaders with these accesses. */
  layout(access) {
    const key = access.join();
    if (!this.#layouts.has(key)) {
      const entries = access.map((a, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type: TYPES[a] } }));
      const group = this.#device.createBindGroupLayout({ entries });
      this.#layouts.set(key, { group, pipeline: this.#device.createPipelineLayout({ bindGroupLayouts: [group] }) });
    }
    return this.#layouts.get(key);
  }

  /** Begins `rows` of [WGSL, access]; each is kept for the first plan that has it, until `forget`. */
  ahead(rows) {
    for (const [code, access] of rows) {
      const begun = this.#begin("ahead", code, access);
      begun.pipeline.catch(() => {}); // told to who takes it
      this.#ahead.set(keyOf(code, access), begun);
    }
  }

  /** Drops what was begun and not taken. */
  forget() {
    this.#ahead.clear();
  }

  /** {module, pipeline: Promise}. */
  begun(label, code, access) {
    const key = keyOf(code, access), found = this.#ahead.get(key);
    this.#ahead.delete(key);
    return found ?? this.#begin(label, code, access);
  }

  #begin(label, code, access) {
    this.#device.pushErrorScope("validation"); // an error in the text is told with the kernel and the line
    const module = this.#device.createShaderModule({ label, code });
    this.#device.popErrorScope().catch(() => {});
    const layout = this.layout(access).pipeline;
    const pipeline = this.#device.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } });
    return { module, pipeline };
  }
}

const keyOf = (code, access) => `${access}\n${code}`;

export class Pipelines {
  #device; #compiler; #rows; #patience; #begun = []; #made = []; #late; #lostReason; #waited = false; #closed = false;

  /**
   * `rows`: [label, WGSL, access of each binding] of each; `late`: numbers of those that are not waited for;
   * `patience`: of gpu_submit.js; `lostReason()`: why the device is lost, or null.
   */
  constructor(device, compiler, rows, late, patience, lostReason) {
    [this.#device, this.#compiler, this.#rows, this.#late] = [device, compiler, rows, new Set(late)];
    [this.#patience, this.#lostReason] = [patience, lostReason];
  }

  /** Those of a plan's `header`, begun: those that the upload waits for first, all but the late ones; `onCompiled(done, total)`. */
  static begun(device, compiler, { pipelines, late, uploads }, patience, lostReason, onCompiled) {
    const made = new Pipelines(device, compiler, [...pipelines], late, patience, lostReason);
    made.#start(uploads.flatMap(([, , , pieces]) => pieces.map(([i]) => i)).filter((i) => i >= 0), onCompiled);
    return made;
  }

  get count() {
    return this.#rows.length;
  }

  #start(first, onCompiled) {
    const wanted = new Set([...first, ...this.#rows.keys()].filter((i) => !this.#late.has(i)));
    let done = 0;
    for (const i of wanted) this.get(i).then(() => !this.#closed && onCompiled(++done, wanted.size), () => {});
  }

  /** Promise of number `i`, begun by who asks first. */
  get(i) {
    if (!this.#begun[i]) {
      this.#begun[i] = this.#compile(...this.#rows[i]).then((pipeline) => {
        this.#late.delete(i);
        return (this.#made[i] = pipeline);
      });
      this.#begun[i].catch(() => {}); // told to who waits for it
    }
    return this.#begun[i];
  }

  /** Number `i`, which is made. */
  at(i) {
    return this.#made[i];
  }

  /** Waits for all but the late ones. */
  async ready() {
    await Promise.all([...this.#rows.keys()].filter((i) => !this.#late.has(i)).map((i) => this.get(i)));
    this.#waited = true;
  }

  /** Whether all are made. */
  get complete() {
    return this.#waited && this.#late.size === 0;
  }

  /** Whether these numbers are made. */
  have(numbers) {
    return numbers.every((i) => this.#made[i]);
  }

  /** Promise of these numbers, or null where they are made. */
  need(numbers) {
    const missing = new Set(numbers.filter((i) => !this.#made[i]));
    return missing.size ? Promise.all([...missing].map((i) => this.get(i))) : null;
  }

  /** Makes the late ones, each once `idle()` has resolved. What cannot be made is told to who needs it. */
  async finish(idle) {
    for (const i of this.#late) {
      await idle();
      if (this.#closed) return;
      await this.get(i).catch(() => {});
    }
  }

  /** More pipelines: all of them or none. */
  async extend(rows) {
    const made = await Promise.all(rows.map((row) => this.#compile(...row)));
    for (const [k, row] of rows.entries()) {
      const i = this.#rows.push(row) - 1;
      this.#begun[i] = Promise.resolve(made[k]);
      this.#made[i] = made[k];
    }
  }

  /** The bind group layout of number `i`, made or not. */
  group(i) {
    return this.#compiler.layout(this.#rows[i][2]).group;
  }

  close() {
    this.#closed = true;
    [this.#rows, this.#begun, this.#made] = [[], [], []];
    this.#late.clear();
    this.#compiler.forget();
  }

  async #compile(label, code, access) {
    const { module, pipeline } = this.#compiler.begun(label, code, access);
    try {
      return await this.#patience.wait(pipeline);
    } catch (error) {
      if (error.facts) throw error; // lost, or silent
      throw await this.#failure(label, module, error);
    }
  }

  /** The error of a kernel that does not compile. */
  async #failure(label, module, error) {
    await settleLost(this.#device, this.#lostReason);
    const { messages } = await this.#patience.wait(module.getCompilationInfo());
    const detail = messages.map(({ lineNum, message }) => `line ${lineNum}: ${message}`).join("; ") || error.message;
    return coded("E_GPU", { what: `kernel ${label}`, detail });
  }
}
