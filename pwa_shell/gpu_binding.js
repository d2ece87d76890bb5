/**
 * WebGPU for the engine: makes a plan's buffers, pipelines and bind groups once, and replays its programs.
 *
 * Python calls prepare, upload, ready, write and run; what crosses is described in pyengine/plan/export.py. A run is one
 * encoder, one compute pass and one submit, whatever the number of tokens. Objects are made at load, none per token.
 */
import { checkFinite } from "./js/finite.js";
import { guidedSteps } from "./js/gpu_guided.js";
import { Compiler, Pipelines } from "./js/gpu_pipelines.js";
import { Patience, Recorder, programsOf } from "./js/gpu_submit.js";
import { GpuTimer } from "./js/gpu_timer.js";
import { coded, noAnswer, openGpu, settleLost } from "./js/gpu_open.js";

const READ_AHEAD = 4;
const QUIET_MS = 500; // a first prompt soon after "ready" must not find the browser compiling

/** -> Binding, of a device that `openGpu(options)` finds. Whatever the GPU leaves unanswered too long fails with E_NO_ANSWER. */
export async function createBinding(options = {}) {
  return new Binding(await openGpu(options));
}

class Binding {
  #adapter; #device; #compiler; #software; #lost = null; #patience; #layout = { passes: 1, dispatches: 0 };

  constructor({ adapter, device, software, silentMs }) {
    [this.#adapter, this.#device, this.#software] = [adapter, device, software];
    this.#compiler = new Compiler(device);
    const lost = device.lost.then(({ reason, message }) => {
      this.#lost = `${reason}: ${message}`;
      return coded("E_DEVICE_LOST", { reason: this.#lost });
    });
    this.#patience = new Patience(lost, silentMs, () => noAnswer(silentMs));
  }

  /** How many dispatches a submit may hold and in how many passes, from the next run on (0: any number). */
  setLayout(passes, dispatches) {
    Object.assign(this.#layout, { passes, dispatches });
  }

  /** JSON of what the planner needs to know; adapter info fields are absent in some browsers. */
  describe() {
    const { info = {} } = this.#adapter;
    const { limits, features } = this.#device;
    return JSON.stringify({
      vendor: info.vendor ?? "", architecture: info.architecture ?? "",
      software: this.#software,
      f16: features.has("shader-f16"), subgroups: features.has("subgroups"), subgroup: info.subgroupMinSize || 4,
      maxBinding: limits.maxStorageBufferBindingSize, maxBuffer: limits.maxBufferSize,
      maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
      identity: [navigator.userAgent, info.vendor, info.architecture, info.device, info.description].join(" "),
    });
  }

  /** Begins to compile `rows` of [WGSL, access], for a plan that will have them; dropped when a runner is closed before that. */
  compileAhead(rows) {
    this.#compiler.ahead(rows);
  }

  /** Pipelines begun and buffers made; -> Runner. Fails with E_OUT_OF_MEMORY and the bytes asked for. */
  async prepare(headerJson, ints, onCompiled) {
    const header = JSON.parse(headerJson);
    const lost = () => this.#lost;
    const pipelines = Pipelines.begun(this.#device, this.#compiler, header, this.#patience, lost, onCompiled); // which needs no buffer
    try {
      const buffers = await this.#allocate(header);
      return new Runner(this.#device, header, ints, buffers, pipelines, lost, this.#patience, this.#layout);
    } catch (error) {
      pipelines.close();
      throw error;
    }
  }

  async #allocate({ buffers: wanted }) {
    const device = this.#device;
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    const buffers = wanted.map(([label, size]) => device.createBuffer({ label, size, usage: usageOf(label) }));
    const scopes = Promise.all([device.popErrorScope(), device.popErrorScope()]);
    try {
      const failed = (await this.#patience.wait(scopes)).some(Boolean);
      if (this.#lost) throw coded("E_DEVICE_LOST", { reason: this.#lost });
      const needed = wanted.reduce((sum, [, size]) => sum + size, 0);
      if (failed) throw coded("E_OUT_OF_MEMORY", { what: "the model", needed, available: "less" });
      return buffers;
    } catch (error) {
      buffers.forEach((buffer) => buffer.destroy());
      throw error;
    }
  }

  /** Gives the device back; runners of this binding are dead afterwards. */
  destroy() {
    this.#device.destroy();
  }
}

function usageOf(label) {
  const usage = GPUBufferUsage;
  if (label.startsWith("readback")) return usage.MAP_READ | usage.COPY_DST;
  const extra = label.startsWith("jobs.") ? usage.UNIFORM : 0;
  return usage.STORAGE | usage.COPY_DST | usage.COPY_SRC | extra;
}

class Runner {
  #device; #header; #buffers; #pipelines; #programs; #lostReason; #readbacks; #ownReadbacks = []; #bindGroups = 0;
  #failed = null; #timer = null; #patience; #limits; #running = 0; #runs = 0; #seen = -1; #behind = null; #restore;

  constructor(device, header, ints, buffers, pipelines, lostReason, patience, layout) {
    [this.#patience, this.#limits] = [patience, layout];
    const before = device.onuncapturederror; // of a model that is loaded while the self-test has a runner of its own
    const heard = (device.onuncapturederror = (event) => {
      this.#failed ??= event.error.message;
      before?.(event);
    });
    this.#restore = () => device.onuncapturederror === heard && (device.onuncapturederror = before);
    this.#device = device;
    this.#header = header;
    this.#buffers = buffers;
    this.#lostReason = lostReason;
    this.#readbacks = header.readbacks.map((i) => buffers[i]); // those that are not mapped
    this.#pipelines = pipelines;
    this.#programs = Object.values(header.programs).map(([at, count]) => this.#bindProgram(ints, at, count));
  }

  // ---- set-up --------------------------------------------------------------------------------------------------

  #bind(pipeline, ranges) {
    this.#bindGroups += 1;
    const layout = this.#pipelines.group(pipeline);
    const entries = ranges.map(([buffer, offset, size], binding) => (
      { binding, resource: { buffer: this.#buffers[buffer], offset, size } }));
    return this.#device.createBindGroup({ layout, entries });
  }

  #bindProgram(ints, at, count) {
    const dispatches = [];
    for (let i = 0; i < count; i++) {
      const [pipeline, x, y, z, operands] = ints.subarray(at, at + 5);
      at += 5;
      const ranges = Array.from({ length: operands }, (_, k) => ints.subarray(at + 3 * k, at + 3 * k + 3));
      at += 3 * operands;
      dispatches.push({ pipeline, group: this.#bind(pipeline, ranges), x, y, z });
    }
    return dispatches;
  }

  /** Waits for every pipeline but the late ones: a run that needs one of those before it is made waits for it. */
  async ready() {
    await this.#pipelines.ready();
    this.#checkLost();
  }

  /** Makes the late pipelines from now on, while nothing runs. */
  beginLate() {
    this.#behind = this.#pipelines.finish(() => this.#quiet());
  }

  /** Resolves once nothing has run for a while. */
  async #quiet() {
    while (this.#running || this.#seen !== this.#runs) {
      this.#seen = this.#runs;
      await new Promise((go) => setTimeout(go, QUIET_MS));
    }
  }

  /** Waits for the late pipelines too. */
  async settled() {
    await this.#behind;
  }

  /** More pipelines, and programs [number, start in ints, dispatches] that are new or bound anew; after `ready`. */
  async extend(headerJson, ints) {
    const { pipelines, programs } = JSON.parse(headerJson);
    await this.#pipelines.extend(pipelines);
    this.#checkLost();
    for (const [number, at, count] of programs) {
      this.#bindGroups -= this.#programs[number]?.length ?? 0;
      this.#programs[number] = this.#bindProgram(ints, at, count);
    }
  }

  // ---- weights -------------------------------------------------------------------------------------------------

  /** Reads slices of the files a few ahead, and writes and repacks each with one submit. A reader's bytes become ours. */
  async upload(readers, onProgress, signal = null) {
    const { uploads } = this.#header;
    const total = uploads.reduce((sum, [, , , pieces]) => sum + pieces.reduce((bytes, piece) => bytes + piece[4], 0), 0);
    const ahead = [];
    let next = 0, done = 0;
    const fill = () => {
      while (next < uploads.length && ahead.length < READ_AHEAD) {
        const [file, offset, nbytes] = uploads[next++];
        const read = readers[file].read(offset, nbytes);
        read.catch(() => {}); // awaited below, in order; one that fails later must not be "unhandled"
        ahead.push(read);
      }
    };
    fill();
    for (let i = 0; i < uploads.length; i++) {
      const data = await ahead.shift();
      signal?.throwIfAborted();
      fill();
      const pieces = uploads[i][3];
      checkFinite(data, pieces, this.#header.finite);
      await this.#put(data, pieces, i % this.#header.staging.length);
      data.buffer.transfer?.(0); // frees the bytes now: the collector would let many slices pile up
      done += pieces.reduce((bytes, piece) => bytes + piece[4], 0);
      onProgress(done, total);
      // bounds what the GPU process holds; the map of a later readback does not depend on it
      if (i % READ_AHEAD === READ_AHEAD - 1) await this.#workDone();
    }
    await this.#workDone();
    this.#checkLost();
  }

  async #put(data, pieces, slot) {
    const { queue } = this.#device;
    const staging = this.#header.staging[slot], jobs = this.#header.jobs[slot], stride = this.#header.jobStride;
    const repacked = pieces.some(([pipeline]) => pipeline >= 0);
    if (repacked) this.#writePadded(this.#buffers[staging], data);
    const dispatches = [];
    for (const [i, [pipeline, buffer, destination, start, nbytes, row, rows, row0, x, y]] of pieces.entries()) {
      if (pipeline < 0) {
        queue.writeBuffer(this.#buffers[buffer], destination, data, start, nbytes);
        continue;
      }
      queue.writeBuffer(this.#buffers[jobs], i * stride, new Uint32Array([row, rows, row0, start]));
      const ranges = [[staging, 0, this.#buffers[staging].size], [buffer, 0, this.#buffers[buffer].size], [jobs, i * stride, 16]];
      dispatches.push({ pipeline: await this.#pipelines.get(pipeline), group: this.#bind(pipeline, ranges), x, y, z: 1 });
      this.#bindGroups -= 1; // not kept
    }
    this.#submit((recorder) => dispatches.forEach((d) => recorder.dispatch(d.pipeline, d)));
  }

  #writePadded(buffer, data) {
    const whole = data.length & ~3;
    if (whole) this.#device.queue.writeBuffer(buffer, 0, data, 0, whole);
    if (whole < data.length) {
      const rest = new Uint8Array(4);
      rest.set(data.subarray(whole));
      this.#device.queue.writeBuffer(buffer, whole, rest);
    }
  }

  // ---- running -------------------------------------------------------------------------------------------------

  #submit(record, readBuffer = -1, offset = 0, nbytes = 0, target = null) {
    const recorder = new Recorder(this.#device, this.#limits);
    record(recorder);
    const read = (encoder) => encoder.copyBufferToBuffer(this.#buffers[readBuffer], offset, target, 0, nbytes);
    recorder.submit(readBuffer >= 0 ? read : null);
  }

  write(buffer, offset, data) {
    this.#device.queue.writeBuffer(this.#buffers[buffer], offset, data);
  }

  /** Copies whole buffers: pairs of numbers, from and to. */
  copy(pairs) {
    const encoder = this.#device.createCommandEncoder();
    for (let i = 0; i < pairs.length; i += 2) {
      const [from, to] = [this.#buffers[pairs[i]], this.#buffers[pairs[i + 1]]];
      encoder.copyBufferToBuffer(from, 0, to, 0, from.size);
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  /** sequence: per group, repeats, count, program numbers. -> Uint8Array of the read range, or null. */
  async run(sequence, readBuffer, offset, nbytes) {
    this.#running += 1;
    this.#runs += 1;
    try {
      const missing = this.#pipelines.complete ? null : this.#missing(programsOf(sequence));
      if (missing) sequence = await this.#begin(sequence, missing); // else it is submitted when this returns
      return await this.#replay(sequence, readBuffer, offset, nbytes);
    } finally {
      this.#running -= 1;
    }
  }

  #missing(programs) {
    return this.#pipelines.need(this.#numbersOf(programs));
  }

  #numbersOf(programs) {
    return programs.flatMap((number) => this.#programs[number].map(({ pipeline }) => pipeline));
  }

  /** Submits the first programs of a sequence, up to one that lacks a pipeline, and waits for `missing`. -> the rest. */
  async #begin(sequence, missing) {
    const [repeats, count, ...programs] = sequence;
    const made = repeats > 1 ? 0 : programs.slice(0, count).findIndex((number) => this.#missing([number]));
    const rest = made > 0 ? [1, count - made, ...programs.slice(made)] : sequence;
    if (made > 0) {
      this.#submit((recorder) => programs.slice(0, made).forEach((number) => this.#record(recorder, this.#programs[number])));
    }
    await missing;
    return rest;
  }

  async #replay(sequence, readBuffer, offset, nbytes) {
    const target = readBuffer >= 0 ? this.#takeReadback(nbytes) : null;
    this.#submit((recorder) => {
      for (let at = 0; at < sequence.length;) {
        const repeats = sequence[at], count = sequence[at + 1];
        for (let r = 0; r < repeats; r++) {
          for (let k = 0; k < count; k++) this.#record(recorder, this.#programs[sequence[at + 2 + k]]);
        }
        at += 2 + count;
      }
    }, readBuffer, offset, nbytes, target);
    if (!target) return null;
    try {
      await this.#patience.wait(target.mapAsync(GPUMapMode.READ, 0, nbytes));
    } catch (error) {
      if (error.facts) throw error;
      await settleLost(this.#device, this.#lostReason);
      throw coded("E_GPU", { what: "a readback", detail: error.message });
    }
    const bytes = new Uint8Array(target.getMappedRange(0, nbytes)).slice();
    target.unmap();
    this.#readbacks.push(target);
    this.#checkLost();
    return bytes;
  }

  /** Guided steps: see js/gpu_guided.js. */
  runMasked(...given) {
    return guidedSteps(this, ...given);
  }

  /** Whether a run of this sequence must wait for pipelines before it is submitted. */
  lacks(sequence) {
    return !this.#pipelines.complete && !this.#pipelines.have(this.#numbersOf(programsOf(sequence)));
  }

  /** Seconds of `repeats` times the dispatches `indices` (none: all) of a program in one pass. */
  async clock(program, indices, repeats) {
    const all = this.#programs[program];
    const dispatches = indices.length ? Array.from(indices, (i) => all[i]) : all;
    const missing = this.#pipelines.need(dispatches.map(({ pipeline }) => pipeline));
    if (missing) await missing;
    if (this.gpuClock) this.#timer ??= new GpuTimer(this.#device);
    const recorder = new Recorder(this.#device, { passes: 1, dispatches: 0 }, this.#timer?.pass);
    for (let r = 0; r < repeats; r++) this.#record(recorder, dispatches);
    const began = performance.now();
    recorder.submit((encoder) => this.#timer?.resolve(encoder));
    if (!this.#timer) await this.#workDone();
    const seconds = this.#timer ? await this.#patience.wait(this.#timer.seconds().catch(() => 0))
      : 1e-3 * (performance.now() - began);
    this.#checkLost();
    return seconds;
  }

  /** Whether `clock` reads the GPU's own clock, else the host's. */
  get gpuClock() {
    return this.#device.features.has("timestamp-query");
  }

  #workDone() {
    return this.#patience.wait(this.#device.queue.onSubmittedWorkDone());
  }

  #record(recorder, dispatches) {
    for (const d of dispatches) recorder.dispatch(this.#pipelines.at(d.pipeline), d);
  }

  /** A buffer to map: the plan's hold ids, one for each submit under way; logits, asked for rarely, get one that is kept. */
  #takeReadback(nbytes) {
    const found = this.#readbacks.findIndex(({ size }) => size >= nbytes);
    if (found >= 0) return this.#readbacks.splice(found, 1)[0];
    const made = this.#device.createBuffer({ label: "readback.large", size: nbytes, usage: usageOf("readback.large") });
    this.#ownReadbacks.push(made);
    return made;
  }

  #checkLost() {
    if (this.#lostReason()) throw coded("E_DEVICE_LOST", { reason: this.#lostReason() });
    if (this.#failed) throw coded("E_GPU", { what: "a command", detail: this.#failed });
  }

  /** JSON of live objects, for leak tests. */
  live() {
    const own = this.#ownReadbacks.length + (this.#timer?.buffers ?? 0);
    return JSON.stringify({ buffers: this.#buffers.length + own, bind_groups: this.#bindGroups, pipelines: this.#pipelines.count });
  }

  close() {
    this.#pipelines.close();
    this.#buffers.forEach((buffer) => buffer.destroy());
    this.#ownReadbacks.forEach((buffer) => buffer.destroy());
    this.#timer?.destroy();
    this.#timer = null;
    [this.#ownReadbacks, this.#readbacks, this.#buffers, this.#programs] = [[], [], [], []];
    this.#bindGroups = 0;
    this.#restore();
  }
}
