/** Measures booting and loading in this browser and posts the figures to tests/bench/load.py, which serves this page. */
import { createEngine } from "../jird.js";

const repeats = Number(new URLSearchParams(location.search).get("repeats"));
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function timed(work) {
  const began = performance.now();
  const result = await work();
  return { ms: performance.now() - began, result };
}

/** Pyodide alone, from the worker's start. */
function boot() {
  const worker = new Worker("boot_worker.js", { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = (error) => reject(new Error(error.message));
  }).finally(() => worker.terminate());
}

/** The engine from nothing to ready: worker, Pyodide, model; the stages' times with it. */
async function load() {
  const seen = {}, began = performance.now();
  const onProgress = ({ stage }) => (seen[stage] ??= performance.now() - began);
  const { ms, result: engine } = await timed(() => createEngine({ onProgress }));
  const { load_ms, storage_notice, device } = await engine.stats();
  await engine.unload();
  return { ms, load_ms, began_ms: seen, storage_notice, device };
}

async function measure() {
  const first = await load(); // downloads the model
  await boot();
  const boots = [], loads = [];
  for (let i = 0; i < repeats; i++) {
    boots.push((await timed(boot)).ms);
    loads.push(await load());
  }
  if (loads.some(({ began_ms, storage_notice }) => "download" in began_ms || storage_notice)) throw new Error("it was not loaded from storage");
  const boot_ms = median(boots), ready_ms = median(loads.map(({ ms }) => ms));
  const middle = loads.find(({ ms }) => ms === ready_ms);
  return { user_agent: navigator.userAgent, device: first.device, first_ms: first.ms, boot_ms, ready_ms, over_ms: ready_ms - boot_ms,
    split: middle.load_ms, began_ms: middle.began_ms, boots, loads: loads.map(({ ms }) => ms) };
}

const answer = await measure().catch((error) => ({ error: String(error), stack: error.stack }));
await fetch("result", { method: "POST", body: JSON.stringify(answer) });
