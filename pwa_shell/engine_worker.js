/**
 * The engine's Web Worker: boots Pyodide, checks WebGPU and opens the model's file meanwhile, then hands every message of
 * js/protocol.js to app/worker.py. Python decides; what is here only starts it and gives it the browser's functions.
 */
import { asJirdError, jirdError } from "./js/errors.js";
import { openSource } from "./js/http_source.js";
import { event } from "./js/protocol.js";

const SITE = new URL("./", import.meta.url).href;
const ADAPTER_TRIES = 3;
const ADAPTER_PAUSE_MS = 200;

const waiting = [];            // messages that came before Python was up
const opening = new Map();     // url -> Promise<source>, begun before Python asks for it
let receive = (message) => waiting.push(message);
let indexText = null;
let firstBinding = null;
let checked = null;

self.onmessage = ({ data }) => {
  if (data.method === "load" && opening.size === 0) {
    preopen(data.params?.model).catch(() => {}); // a hint only: Python asks again and reports the failure
    progress(data.id, "boot");
  }
  receive(data);
};

boot().then(start, (error) => {
  const data = asJirdError(error).toJSON();
  receive = (message) => self.postMessage(event(message.id, "error", data));
  waiting.splice(0).forEach(receive);
});

/** Everything that start-up needs, at once: the sum would be twice as long. */
async function boot() {
  firstBinding = createBinding();
  firstBinding.catch(() => {}); // awaited where Python asks; checked below before Python is there to ask
  const [, tokenizer, { loadPyodide }] = await Promise.all([
    checkWebGPU(),
    import("./tokenizer.js"),
    import("./pyodide/pyodide.mjs"),
  ]);
  const pyodide = await loadPyodide({ indexURL: new URL("pyodide/", SITE).href, packages: ["jird"] });
  return { pyodide, createTokenizer: tokenizer.createTokenizer };
}

function start({ pyodide, createTokenizer }) {
  const app = pyodide.pyimport("app.worker");
  const worker = app.create(parts(pyodide, createTokenizer));
  app.destroy();
  self.pyodide = pyodide; // for developer tools and leak tests
  receive = (message) => worker.receive(JSON.stringify(message));
  waiting.splice(0).forEach(receive);
}

/** The functions that app/worker.py names; only strings, numbers, bytes and these objects cross. */
function parts(pyodide, createTokenizer) {
  return {
    site_url: SITE,
    post: (text) => self.postMessage(JSON.parse(text)),
    log: (text) => console.error(text),
    now: () => performance.now(),
    read_index: () => (indexText ??= fetchText(new URL("models/index.json", SITE))),
    open_source: open,
    need: async (name) => void (pyodide.loadedPackages[name] ?? (await pyodide.loadPackage(name, { messageCallback() {} }))),
    make_tokenizer: createTokenizer,
    binding: takeBinding,
    counts: () => JSON.stringify({ js_refs: pyodide._module._hiwire_num_refs() }),
  };
}

async function createBinding() {
  await checkWebGPU();
  return (await import("./gpu_binding.js")).createBinding({ adapterOptions: { powerPreference: "high-performance" } });
}

/** The binding made during boot, once; later loads make their own, as a device may have been lost or closed. */
function takeBinding() {
  const binding = firstBinding ?? createBinding();
  firstBinding = null;
  return binding;
}

function checkWebGPU() {
  return (checked ??= findAdapter());
}

/** Refuses early, before megabytes are fetched for nothing. A fresh headless Chromium may answer null at first. */
async function findAdapter() {
  if (!self.isSecureContext) throw jirdError("E_INSECURE_CONTEXT", { url: SITE });
  if (!navigator.gpu) throw jirdError("E_NO_WEBGPU", { reason: "navigator.gpu is missing" });
  for (let tries = 0; tries < ADAPTER_TRIES; tries++) {
    if (await navigator.gpu.requestAdapter()) return;
    await new Promise((resolve) => setTimeout(resolve, ADAPTER_PAUSE_MS));
  }
  throw jirdError("E_NO_WEBGPU", { reason: `requestAdapter answered null ${ADAPTER_TRIES} times` });
}

async function fetchText(url) {
  try {
    const response = await fetch(url);
    if (response.ok) return await response.text();
    throw new Error(`the server answered ${response.status}`);
  } catch (error) {
    indexText = null;
    throw jirdError("E_NETWORK", { url: url.href, detail: error.message });
  }
}

function open(url, name, optional) {
  const begun = opening.get(url);
  opening.delete(url);
  return begun ?? openSource(url, { name, optional });
}

/** Opens the model that a load names while Python boots: the header is there when Python asks. */
async function preopen(model) {
  if (model?.endsWith(".gguf")) return begin(model);
  indexText ??= fetchText(new URL("models/index.json", SITE));
  const { models } = JSON.parse(await indexText);
  const row = model ? models.find(({ id }) => id === model) : models[0];
  for (const { name } of row?.files ?? []) {
    begin(`${SITE}models/${encodeURIComponent(row.id)}/${encodeURIComponent(name)}`, name);
  }
}

function begin(url, name) {
  const source = openSource(url, { name });
  source.catch(() => {});
  opening.set(url, source);
}

function progress(id, stage) {
  const data = { stage, label: "Starting Python", bytes_done: 0, bytes_total: 0, rate: 0, ms: performance.now() };
  self.postMessage(event(id, "progress", data));
}
