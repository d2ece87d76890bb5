/**
 * The engine's Web Worker: boots Pyodide, checks WebGPU and opens the model's file meanwhile, then
 * hands every message of js/protocol.js to app/worker.py. Python decides; what is here only starts
 * it and gives it the browser's functions.
 */
import { asJirdError, jirdError } from "./js/errors.js";
import { openSource } from "./js/http_source.js";
import { ModelFiles } from "./js/model_files.js";
import { event } from "./js/protocol.js";
import { reportRequests } from "./js/request_log.js";

const SITE = new URL("./", import.meta.url).href;
const GPU_ANSWERS_MS = 150;

const waiting = [];            // messages that came before Python was up
const opening = new Map();     // url -> Promise<source>, begun before Python asks for it
const modelFiles = new ModelFiles(SITE);
const wait = (message) => waiting.push(message);
let receive = wait;
let indexText = null;
let loadId = null;             // the load that a download reports to
let binding = null;
let bindingTaken = false;

reportRequests("engine");

self.onmessage = ({ data }) => {
  if (data.method === "load") loadId = data.id;
  if (data.method === "load" && receive === wait) {
    // A hint only: Python asks again and reports the failure.
    preopen(data.params?.model).catch(() => {});
    progress(data.id, "boot", "Starting Python");
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
    read_index: readIndex,
    open_source: open,
    need: async (name) => {
      if (!pyodide.loadedPackages[name]) await pyodide.loadPackage(name, { messageCallback() {} });
    },
    make_tokenizer: createTokenizer,
    binding: takeBinding,
    counts: () => JSON.stringify({ js_refs: pyodide._module._hiwire_num_refs() }),
    storage_notice: () => JSON.stringify(modelFiles.notice),
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

async function open(url, name, optional) {
  if (!opening.has(url)) await beginModelOf(url);
  const begun = opening.get(url);
  opening.delete(url);
  // Undefined is Python's None; a null would be another object.
  return (await (begun ?? openSource(url, { name, optional }))) ?? undefined;
}

function readIndex() {
  return (indexText ??= fetchText(new URL("models/index.json", SITE)));
}

async function catalogue() {
  return JSON.parse(await readIndex()).models;
}

/** Opens the model that a load names while Python boots: the header is there when Python asks. */
async function preopen(model) {
  if (model?.endsWith(".gguf")) return begin(model, openSource(model));
  const models = await catalogue();
  const row = model ? models.find(({ id }) => id === model) : models[0];
  if (row) beginModel(row);
}

/** The catalogue model that `url` is a file of, if it is one; other files are the network's. */
async function beginModelOf(url) {
  if (!url.startsWith(`${SITE}models/`)) return;
  const row = (await catalogue()).find(({ files, ...rest }) => files.some(({ name }) => modelFiles.url(rest, name) === url));
  if (row) beginModel(row);
}

/** All files of a catalogue row, from storage; what a first use downloads is reported to the load. */
function beginModel(row) {
  const label = "Downloading the model";
  const found = modelFiles.open(row, ({ bytes_done, bytes_total, rate }) => (
    progress(loadId, "download", label, { bytes_done, bytes_total, rate })));
  for (const { name } of row.files) {
    const url = modelFiles.url(row, name);
    begin(url, found.then((files) => files.get(url)));
  }
}

function begin(url, source) {
  source.catch(() => {}); // reported where it is awaited
  opening.set(url, source);
}

function progress(id, stage, label, { bytes_done = 0, bytes_total = 0, rate = 0 } = {}) {
  const data = { stage, label, bytes_done, bytes_total, rate, ms: performance.now() };
  self.postMessage(event(id, "progress", data));
}
