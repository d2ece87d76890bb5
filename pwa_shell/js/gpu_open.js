/** Asks the browser for a GPU device, with all that the engine uses where it is offered. */
import { answered } from "./silence.js";

// A GPU that answers nothing for so long hangs. Browsers end a submit after some 10 s; a CPU that computes may take minutes.
const SILENT_MS = 30_000, SILENT_SOFTWARE_MS = 600_000;
const LOST_MS = 200; // how long a failed call waits for the news that the device is lost
const WANTED_LIMITS = ["maxStorageBufferBindingSize", "maxBufferSize", "maxStorageBuffersPerShaderStage"];
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"];
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softwarerasterizer|warp/i;

/** An error that pyengine/device/web.py turns into EngineError(code, **facts). */
export function coded(code, facts) {
  return Object.assign(new Error(`${code} ${JSON.stringify(facts)}`), { code, facts });
}

export const noAnswer = (ms) => coded("E_NO_ANSWER", { what: "The GPU", seconds: ms / 1000 });

/**
 * -> {adapter, device, software, silentMs}. A fresh headless Chromium may answer null at first, so the adapter is asked for
 * up to `tries` times. `silentMs`: how long the GPU may answer nothing; by default by the kind of GPU.
 */
export async function openGpu({ adapterOptions = {}, gpu = navigator.gpu, tries = 3, silentMs = 0 }) {
  if (!gpu) throw coded("E_NO_WEBGPU", { reason: "navigator.gpu is missing" });
  const most = silentMs || SILENT_MS;
  const soon = (promise) => answered(promise, most, () => noAnswer(most));
  for (let i = 0; i < tries; i++) {
    const adapter = await soon(gpu.requestAdapter(adapterOptions));
    if (adapter) {
      const software = isSoftware(adapter);
      return { adapter, device: await soon(requestDevice(adapter)), software,
        silentMs: silentMs || (software ? SILENT_SOFTWARE_MS : SILENT_MS) };
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw coded("E_NO_WEBGPU", { reason: `requestAdapter answered null ${tries} times` });
}

function requestDevice(adapter) {
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]]));
  return adapter.requestDevice({ requiredLimits, requiredFeatures: FEATURES.filter((name) => adapter.features.has(name)) });
}

function isSoftware({ info = {} }) {
  return SOFTWARE.test([info.vendor, info.architecture, info.device, info.description].join(" "));
}

/** A device that goes away fails its calls first and says so a moment later: fails with E_DEVICE_LOST where it does. */
export async function settleLost(device, lostReason) {
  await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, LOST_MS))]);
  if (lostReason()) throw coded("E_DEVICE_LOST", { reason: lostReason() });
}
