/**
 * GPUs for the fault matrix, under gpu_faults.js: `gpuOf("kept")` gives devices that are views of one real device, whose
 * layouts, modules and pipelines are made once for each text, so that hundreds of loads compile once; `gpuOf("fresh")` a real
 * device each, destroyed with its view. `leaks()`: buffers and devices that nobody destroyed, and errors that the real ones had.
 */
() => {
  const live = new Set(), views = new Set(), errors = [], numbers = new Map();
  let kept = null;
  const number = (object) => numbers.get(object) ?? numbers.set(object, numbers.size).get(object);
  const KEYS = {
    createBindGroupLayout: (given) => JSON.stringify(given),
    createPipelineLayout: ({ bindGroupLayouts }) => bindGroupLayouts.map(number).join(),
    createShaderModule: ({ code }) => code,
    createComputePipelineAsync: ({ layout, compute }) => `${number(layout)} ${number(compute.module)}`,
  };
  const PLAIN = ["createBindGroup", "createCommandEncoder", "createQuerySet", "pushErrorScope", "popErrorScope"];
  const QUEUE = ["submit", "writeBuffer", "onSubmittedWorkDone"];

  /** The methods of `object`, called on itself. */
  const calls = (object, names) => Object.fromEntries(names.map((name) => [name, (...args) => object[name](...args)]));

  /** {name: the real device's method, which gives what it gave to the same before}. */
  const remembering = (device) => Object.fromEntries(Object.entries(KEYS).map(([method, key]) => {
    const known = new Map();
    return [method, (given) => known.get(key(given)) ?? known.set(key(given), device[method](given)).get(key(given))];
  }));

  function viewOf({ device, made }, ended) {
    let end;
    const lost = new Promise((resolve) => { end = resolve; });
    device.lost.then(end);
    const view = {
      features: device.features, limits: device.limits, lost, onuncapturederror: null, ...made,
      ...calls(device, PLAIN), queue: calls(device.queue, QUEUE),
      createBuffer(given) {
        const buffer = device.createBuffer(given), destroy = buffer.destroy.bind(buffer);
        live.add(buffer);
        buffer.destroy = () => live.delete(buffer) && destroy();
        return buffer;
      },
      destroy() {
        views.delete(view);
        ended();
        end({ reason: "destroyed", message: "" });
      },
    };
    views.add(view);
    return view;
  }

  async function real(adapter, args) {
    const device = await adapter.requestDevice(...args);
    device.onuncapturederror = ({ error }) => errors.push(error.message);
    return { device, made: remembering(device) };
  }

  globalThis.engineTest.gpuOf = (kind) => ({
    async requestAdapter(...options) {
      const adapter = await navigator.gpu.requestAdapter(...options);
      const { info, features, limits } = adapter;
      return { info, features, limits, async requestDevice(...args) {
        if (kind === "kept") return viewOf(await (kept ??= real(adapter, args)), () => {});
        const one = await real(adapter, args);
        return viewOf(one, () => one.device.destroy());
      } };
    },
  });
  globalThis.engineTest.leaks = () => JSON.stringify({ buffers: live.size, devices: views.size, errors });
}
