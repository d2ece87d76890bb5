/**
 * The engine's Web Worker: boots Pyodide, checks WebGPU and opens the model's file meanwhile, then
 * hands every message of js/protocol.js to app/worker.py. Python decides; what is here only starts
 * it and gives it the browser's functions.
 */
import { asJirdError, jirdError } from "./js/errors.js";
import { openSource } from "./js/http_source.js";
import { event } from "./js/protocol.js";
import { reportRequests } from "./js/request_log.js";

const SITE = new URL("./", import.meta.url).href;
const GPU_ANSWERS_MS = 150;

const waiting = [];            // messages that came before Python was up
const opening = new Map();     // url -> Promise<source>, begun before Python asks for it
const wait = (message) => waiting.push(message);
let receive = wait;
let indexText = null;
let binding = null;
let bindingTaken = false;
let checked = null;

reportRequests("engine");

self.onmessage = ({ data }) => {
  if (data.method === "load" && receive === wait) {
    // A hint only: Python asks again and reports the failure.
    preopen(data.params?.model).catch(() => {});
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
  binding = createBinding();
  const [pyodide, tokenizer] = await Promise.all([bootPython(), import("./tokenizer.js"), binding]);
  return { pyodide, createTokenizer: tokenizer.createTokenizer };
}

async function bootPython() {
  const { loadPyodide } = await import("./pyodide/pyodide.mjs");
  // Once Python boots, it holds this thread for seconds: a browser without WebGPU hears of it first.
  await Promise.race([binding, new Promise((resolve) => setTimeout(resolve, GPU_ANSWERS_MS))]);
  return loadPyodide({ indexURL: new URL("pyodide/", SITE).href, packages: ["jird"] });
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
    need: async (name) => {
      if (!pyodide.loadedPackages[name]) await pyodide.loadPackage(name, { messageCallback() {} });
    },
    make_tokenizer: createTokenizer,
    binding: takeBinding,
    counts: () => JSON.stringify({ js_refs: pyodide._module._hiwire_num_refs() }),
  };
}

/** Refuses early, before megabytes are fetched for nothing: boot() fails as soon as this does. */
async function createBinding() {
  if (!self.isSecureContext) throw jirdError("E_INSECURE_CONTEXT", { url: SITE });
  const gpu = await import("./gpu_binding.js");
  return gpu.createBinding({ adapterOptions: { powerPreference: "high-performance" } });
}

/**
 * The binding made during boot, once; a later load ends it and makes its own, as its device may be
 * lost.
 */
async function takeBinding() {
  const fresh = !bindingTaken;
  bindingTaken = true;
  if (fresh) return binding;
  (await binding.catch(() => null))?.destroy();
  return (binding = createBinding());
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
  const source = begun ?? openSource(url, { name, optional });
  // Undefined is Python's None; a null would be another object.
  return source.then((found) => found ?? undefined);
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
  const none = { bytes_done: 0, bytes_total: 0, rate: 0 };
  const data = { stage, label: "Starting Python", ...none, ms: performance.now() };
  self.postMessage(event(id, "progress", data));
}
