/**
 * What this browser and GPU can do at best: cost of a dependent dispatch, of encoding one, read
 * bandwidth, latency of a submit and of a readback. Each figure is a slope between two amounts of
 * work where a fixed part could hide in it, and the best of `repeats` + 4 runs, since a limit is
 * asked for.
 */
import { adapterInfo, parameters, report, round } from "./measure.js";

const RUNS = Number(parameters.get("repeats")) + 4;
const CHAIN = [100, 1000];
const MB = 1 << 20;
const say = (measure, value) => report({ peer: "limits", measure, value });

const STEP = `
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  a[id.x] = a[id.x] * 0.5 + 1.0;
}`;
const SUM = (count) => `
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> o: array<f32>;
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
  let stride = groups.x * 256u;
  var s = array<vec4<f32>, 4>();
  for (var i = id.x; i < ${count}u; i += 4u * stride) {
    s[0] += x[i];
    s[1] += x[min(i + stride, ${count - 1}u)];
    s[2] += x[min(i + 2u * stride, ${count - 1}u)];
    s[3] += x[min(i + 3u * stride, ${count - 1}u)];
  }
  let t = s[0] + s[1] + s[2] + s[3];
  o[id.x & 4095u] = t.x + t.y + t.z + t.w;
}`;
/** Different words everywhere: a buffer of zeros may lie compressed in a GPU's memory. */
const FILL = (count) => `
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
  for (var i = id.x; i < ${count}u; i += groups.x * 256u) {
    x[i] = ((i * 2654435761u) >> 9u) | 0x3f800000u;
  }
}`;

async function openDevice() {
  const adapter = await navigator.gpu.requestAdapter();
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  return adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
}

class Bench {
  constructor(device) {
    this.device = device;
  }

  pipeline(code) {
    const module = this.device.createShaderModule({ code });
    const compute = { module, entryPoint: "main" };
    return this.device.createComputePipelineAsync({ layout: "auto", compute });
  }

  buffer(size, usage) {
    return this.device.createBuffer({ size, usage });
  }

  bind(pipeline, buffers) {
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    return this.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  }

  /** Encodes and submits; -> {encode_ms, wall_ms} until the GPU has finished. */
  async time(record, wait = () => this.device.queue.onSubmittedWorkDone()) {
    const began = performance.now();
    const encoder = this.device.createCommandEncoder();
    record(encoder);
    this.device.queue.submit([encoder.finish()]);
    const encode_ms = performance.now() - began;
    await wait();
    return { encode_ms, wall_ms: performance.now() - began };
  }

  /** Least times of `RUNS` runs after one that warms up. */
  async best(record, wait) {
    await this.time(record, wait);
    const runs = [];
    for (let i = 0; i < RUNS; i++) runs.push(await this.time(record, wait));
    const of = (name) => Math.min(...runs.map((run) => run[name]));
    return { encode_ms: of("encode_ms"), wall_ms: of("wall_ms") };
  }
}

/** n dispatches in one pass; the groups take turns, as a plan's do, each writing what it reads. */
const chain = (pipeline, groups, n, x) => (encoder) => {
  const pass = encoder.beginComputePass();
  for (let i = 0; i < n; i++) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, groups[i % groups.length]);
    pass.dispatchWorkgroups(x);
  }
  pass.end();
};

async function dispatches(bench) {
  const { STORAGE } = GPUBufferUsage;
  const step = await bench.pipeline(STEP);
  const buffer = bench.buffer(4096, STORAGE);
  const groups = [bench.bind(step, [buffer]), bench.bind(step, [buffer])];
  const found = [];
  for (const n of CHAIN) found.push(await bench.best(chain(step, groups, n, 16)));
  const span = CHAIN[1] - CHAIN[0];
  return {
    dispatch_us: round(1000 * (found[1].wall_ms - found[0].wall_ms) / span),
    encode_us: round(1000 * (found[1].encode_ms - found[0].encode_ms) / span),
  };
}

async function latencies(bench) {
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const source = bench.buffer(16, STORAGE | COPY_SRC);
  const target = bench.buffer(16, MAP_READ | COPY_DST);
  const read = async () => {
    await target.mapAsync(GPUMapMode.READ);
    target.unmap();
  };
  const empty = await bench.best(() => {});
  const readback = await bench.best((e) => e.copyBufferToBuffer(source, 0, target, 0, 16), read);
  return { submit_ms: round(empty.wall_ms), readback_ms: round(readback.wall_ms) };
}

async function bandwidth(bench, megabytes) {
  const { STORAGE } = GPUBufferUsage;
  const bytes = Math.min(megabytes * MB, bench.device.limits.maxStorageBufferBindingSize) & ~0xffff;
  const sum = await bench.pipeline(SUM(bytes / 16));
  const [input, output] = [bench.buffer(bytes, STORAGE), bench.buffer(16384, STORAGE)];
  const groups = [bench.bind(sum, [input, output])];
  const fill = await bench.pipeline(FILL(bytes / 4));
  await bench.time(chain(fill, [bench.bind(fill, [input])], 1, 2048));
  const once = await bench.best(chain(sum, groups, 1, 2048));
  // Both ends of the slope are long: clocks of an idle GPU rise within the first milliseconds.
  const few = Math.max(1, Math.min(200, Math.round(30 / once.wall_ms)));
  const some = await bench.best(chain(sum, groups, few, 2048));
  const many = await bench.best(chain(sum, groups, 3 * few, 2048));
  input.destroy();
  const ms = (many.wall_ms - some.wall_ms) / (2 * few);
  return { read_gb_s: round(bytes / ms / 1e6), read_buffer_mb: bytes / MB };
}

async function upload(bench) {
  const { STORAGE, COPY_DST } = GPUBufferUsage;
  const target = bench.buffer(64 * MB, STORAGE | COPY_DST);
  const source = new Uint8Array(4 * MB);
  const began = performance.now();
  for (let i = 0; i < 16; i++) bench.device.queue.writeBuffer(target, i * source.length, source);
  await bench.device.queue.onSubmittedWorkDone();
  return { upload_gb_s: round(64 * MB / (performance.now() - began) / 1e6) };
}

async function measure() {
  await say("browser", { user_agent: navigator.userAgent, adapter: await adapterInfo() });
  const bench = new Bench(await openDevice());
  const small = (await adapterInfo()).architecture === "swiftshader";
  const found = {};
  for (const part of [dispatches, latencies, (b) => bandwidth(b, small ? 64 : 512), upload]) {
    Object.assign(found, await part(bench));
    await say("figures", found);
  }
}

await measure().catch((error) => say("failed", String(error)));
const { next } = await report({ peer: "limits", measure: "end", value: null });
if (next) location.href = next;
