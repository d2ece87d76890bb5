/**
 * A GPU that fails as real ones do, for tests and for trying things out: `withFaults(navigator.gpu,
 * faults)` is given to gpu_binding.js in place of `navigator.gpu`. Loaded only when the page's
 * address has `gpuFaults` (JSON of `faults`) or by tests.
 *
 *     nullAdapters: n      the first n requestAdapter calls answer null
 *     hangingAdapters: n   the first n requestAdapter calls are never answered
 *     noInfo: true         adapter.info is absent; "subgroups": only its subgroup sizes are
 *     without: [feature]   features that the adapter does not offer
 *     limits: {name: n}    limits of the adapter, e.g. WebGPU's guaranteed ones
 *     zerosAfter: n        dispatches beyond the n-th of a submit (`per: "pass"`: of a pass) give zeros
 *     wrong: [from, to]    replaced in the text of every shader that has `enable f16`
 *     fail: [{kind, after, call, times}]   call number `after` from now on fails, of all calls or of those named
 *                          `call`; kind: "lost" | "map" | "memory" | "validation" | "hang": nothing is answered from then on
 *     silentMs: n          how long the GPU may answer nothing (js/gpu_open.js)
 */
const CALLS = ["createBuffer", "createBindGroup", "createBindGroupLayout", "createPipelineLayout", "createShaderModule",
  "createComputePipelineAsync", "createCommandEncoder"];
const TYPES = { memory: "out-of-memory", validation: "validation" };

/** What all devices of one faulty GPU share. `arm(fail)` plants one more failure, counted from now. */
class Faults {
  calls = 0;
  metAt = NaN; // performance.now() of the last failure
  #planted = [];

  constructor(options) {
    this.options = options;
    for (const fail of options.fail ?? []) this.arm(fail);
  }

  arm({ kind, after = 0, call = null, times = 1 }) {
    this.#planted.push({ kind, left: after, call, times });
  }

  /** How many failures have not happened yet. */
  get left() {
    return this.#planted.length;
  }

  /** Counts one call -> the kind of failure that it meets, or null. */
  met(name) {
    this.calls += 1;
    let found = null;
    for (const plan of this.#planted) {
      if (plan.call && plan.call !== name) continue;
      if (plan.left-- > 0 || found) continue;
      found = plan.kind;
      plan.times -= 1;
      this.metAt = performance.now();
    }
    this.#planted = this.#planted.filter(({ times }) => times > 0);
    return found;
  }
}

/** -> {requestAdapter, faults}; the objects behind it are the browser's own, with methods laid over. */
export function withFaults(gpu, options = {}) {
  const faults = new Faults(options);
  let nulls = options.nullAdapters ?? 0, hanging = options.hangingAdapters ?? 0;
  const requestAdapter = async (...args) => {
    if (hanging-- > 0) return new Promise(() => {});
    if (nulls-- > 0) return null;
    const adapter = await gpu.requestAdapter(...args);
    return adapter && faultyAdapter(adapter, faults);
  };
  return { requestAdapter, faults };
}

const lay = (object, name, value) => Object.defineProperty(object, name, { value, configurable: true, writable: true });

function faultyAdapter(adapter, faults) {
  const { noInfo, without = [], limits = {} } = faults.options;
  if (noInfo === "subgroups") lay(adapter, "info", { vendor: adapter.info.vendor, architecture: adapter.info.architecture });
  else if (noInfo) lay(adapter, "info", undefined);
  lay(adapter, "features", new Set([...adapter.features].filter((name) => !without.includes(name))));
  lay(adapter, "limits", new Proxy(adapter.limits, { get: (all, name) => Math.min(all[name], limits[name] ?? Infinity) }));
  const request = adapter.requestDevice.bind(adapter);
  lay(adapter, "requestDevice", async (...args) => faultyDevice(await request(...args), faults));
  return adapter;
}

function faultyDevice(device, faults) {
  const scopes = [];
  let lose, hangs = false;
  const lost = Promise.race([device.lost, new Promise((resolve) => { lose = resolve; })]);
  lay(device, "lost", lost);
  /** What a failing call does besides; throws nothing, as WebGPU's do not. */
  const fail = (kind) => {
    hangs ||= kind === "hang";
    if (kind === "lost") {
      lose({ reason: "unknown", message: "injected" });
      device.destroy();
    } else if (kind && kind !== "hang") {
      const scope = scopes.findLast(({ filter }) => filter === (TYPES[kind] ?? "validation"));
      if (scope) scope.error ??= { message: `injected ${kind} error` };
      else device.onuncapturederror?.({ error: { message: `injected ${kind} error` } });
    }
  };
  const answer = (result) => (hangs && result instanceof Promise ? new Promise(() => {}) : result);
  const over = (object, name, then = (original, args) => original(...args)) => {
    const original = object[name].bind(object);
    lay(object, name, (...args) => then(original, args, faults.met(name)));
  };
  const plain = (original, args, kind) => {
    fail(kind);
    return answer(original(...args));
  };
  for (const name of CALLS) over(device, name, plain);
  for (const name of ["submit", "writeBuffer", "onSubmittedWorkDone"]) over(device.queue, name, plain);
  const push = device.pushErrorScope.bind(device), pop = device.popErrorScope.bind(device);
  lay(device, "pushErrorScope", (filter) => { scopes.push({ filter }); push(filter); });
  lay(device, "popErrorScope", () => {
    const { error } = scopes.pop();
    return answer(pop().then((found) => found ?? error ?? null));
  });
  mapsFail(device, faults, fail, answer);
  wrongShaders(device, faults.options.wrong);
  if (faults.options.zerosAfter !== undefined) zeros(device, faults.options);
  return device;
}

function mapsFail(device, faults, fail, answer) {
  const create = device.createBuffer;
  lay(device, "createBuffer", (descriptor) => {
    const buffer = create(descriptor);
    const map = buffer.mapAsync.bind(buffer);
    lay(buffer, "mapAsync", (...args) => {
      const kind = faults.met("mapAsync");
      if (kind === "map") return Promise.reject(new DOMException("injected", "OperationError"));
      fail(kind);
      return answer(map(...args));
    });
    return buffer;
  });
}

function wrongShaders(device, wrong) {
  if (!wrong) return;
  const create = device.createShaderModule;
  lay(device, "createShaderModule", (descriptor) => {
    const half = descriptor.code.includes("enable f16");
    return create(half ? { ...descriptor, code: descriptor.code.replaceAll(...wrong) } : descriptor);
  });
}

/** Dispatches too many are left out, and all that they may write becomes zero when their pass has ended. */
function zeros(device, { zerosAfter: most, per = "submit" }) {
  const written = new WeakMap(); // layout -> bindings that are written; bind group -> their ranges
  const createLayout = device.createBindGroupLayout, createGroup = device.createBindGroup;
  const createEncoder = device.createCommandEncoder;
  lay(device, "createBindGroupLayout", (descriptor) => {
    const layout = createLayout(descriptor);
    written.set(layout, descriptor.entries.filter(({ buffer }) => buffer.type === "storage").map(({ binding }) => binding));
    return layout;
  });
  lay(device, "createBindGroup", (descriptor) => {
    const group = createGroup(descriptor);
    const mine = written.get(descriptor.layout);
    written.set(group, descriptor.entries.filter(({ binding }) => mine.includes(binding)).map(({ resource }) => resource));
    return group;
  });
  lay(device, "createCommandEncoder", (descriptor) => {
    const encoder = createEncoder(descriptor), begin = encoder.beginComputePass.bind(encoder);
    let done = 0;
    lay(encoder, "beginComputePass", (options) => {
      const pass = begin(options), lost = [];
      const [set, dispatch, end] = ["setBindGroup", "dispatchWorkgroups", "end"].map((name) => pass[name].bind(pass));
      let group;
      if (per === "pass") done = 0;
      lay(pass, "setBindGroup", (index, given) => { group = given; set(index, given); });
      lay(pass, "dispatchWorkgroups", (...grid) => (done++ < most ? dispatch(...grid) : void lost.push(...written.get(group))));
      lay(pass, "end", () => {
        end();
        for (const { buffer, offset, size } of lost) encoder.clearBuffer(buffer, offset, size);
      });
      return pass;
    });
    return encoder;
  });
}
