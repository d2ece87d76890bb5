/**
 * The engine's Web Worker: boots Pyodide, checks WebGPU and opens the model's file meanwhile, then
 * hands every message of js/protocol.js to app/worker.py. Python decides; what is here only starts
 * it and gives it the browser's functions.
 */
import { asJirdError, jirdError } from "./js/errors.js";
import { ModelFiles } from "./js/model_files.js";
import { getPlan, putPlan } from "./js/plan_cache.js";
import { LEFT } from "./js/page_end.js";
import { event } from "./js/protocol.js";
import { reportRequests } from "./js/request_log.js";
import { getTuning, LOADING, putTuning } from "./js/tuning_cache.js";
import { requestOf, warmStart } from "./js/warm_start.js";

const SITE = new URL("./", import.meta.url).href;
const GPU_ANSWERS_MS = 150;
const PREOPEN_MS = 300;

const loads = new Set();       // ids of the loads under way: a download reports to them
const modelFiles = new ModelFiles(SITE, served);
let opening = null;            // {key, readers: Promise, ending} of the model being opened
let preopening = null;         // Promise: the model is being opened, and begun where its plan is kept
let warm = null;               // {request, started: Promise} of what a kept plan began
let python = null;             // Promise of app/worker.py's worker, once it is to start
let indexText = null;
const tokenizerTexts = new WeakMap(); // tokenizer -> what it was made of, to be kept with the plan
let bindingTaken = false;
let running = false, withoutGpu = false;
let faultyGpu = null;
let binding = createBinding();
// A browser without WebGPU hears of it before megabytes are fetched; one that is slow does not wait.
const gpuAnswered = Promise.race([binding, new Promise((go) => setTimeout(go, GPU_ANSWERS_MS))]);
gpuAnswered.then(boot, () => {}); // the failure is reported to who needs it

// The page that loaded last was left by its person: that load was not what ended it (js/page_end.js).
const forgiven = self.name.endsWith(LEFT) ? putTuning(LOADING, "") : null;

reportRequests("engine");

self.onmessage = ({ data }) => {
  if (data.ping) return self.postMessage({ pong: data.ping }); // js/engine_client.js asks whether this thread still runs
  if ("storage" in data) return modelFiles.lent(data.storage);
  if (data.method === "transcribe") loads.add(data.id); // its model may be downloaded first
  if (data.method === "load") {
    loads.add(data.id);
    if (!running) {
      preopening ??= preopen(data.params ?? {});
      progress("boot", "Starting Python");
    }
  }
  if (data.method === "speak") loads.add(data.id);
  receive(data).catch((error) => {
    loads.delete(data.id);
    self.postMessage(event(data.id, "error", asJirdError(error).toJSON()));
  });
};

/** Messages reach Python in the order in which they came: all wait for the same two promises. */
async function receive(message) {
  if (!running) {
    const failure = await binding.then(() => null, (error) => error);
    withoutGpu ||= failure?.code === "E_NO_WEBGPU" && needsNoGpu(message);
    if (failure && !withoutGpu) throw failure;
    await forgiven;
  }
  const { audio, ...rest } = message;
  (await boot()).receive(JSON.stringify(rest), audio);
}

/** The catalogue is only arithmetic, and the reference device computes without a GPU. */
function needsNoGpu({ method, params }) {
  return method === "catalog" || (["load", "speak", "transcribe"].includes(method) && params?.device === "reference");
}

/** Everything that start-up needs, at once: the sum would be twice as long. */
function boot() {
  return (python ??= Promise.all([begun().then(bootPython), import("./tokenizer.js")]).then(([pyodide, tokenizer]) => {
    const app = pyodide.pyimport("app.worker");
    const worker = app.create(parts(pyodide, tokenizer.createTokenizer));
    app.destroy();
    self.pyodide = pyodide; // for developer tools and leak tests
    running = true;
    return worker;
  }));
}

/** Python's start fills this thread for seconds, so the GPU's work by a kept plan is begun before it, if that is quick. */
function begun() {
  return Promise.race([preopening, new Promise((go) => setTimeout(go, PREOPEN_MS))]);
}

async function bootPython() {
  const { loadPyodide } = await import("./pyodide/pyodide.mjs");
  return loadPyodide({ indexURL: new URL("pyodide/", SITE).href, packages: ["jird"] });
}

/** The functions that app/worker.py names; only strings, numbers, bytes and these objects cross. */
function parts(pyodide, createTokenizer) {
  return {
    site_url: SITE,
    post: (text, audio) => post(JSON.parse(text), audio && samplesOf(audio)),
    log: (text) => console.error(text),
    now: () => performance.now(),
    read_index: readIndex,
    open_model: open,
    stop_opening: () => {
      opening?.ending.abort();
      const mine = warm;
      warm = null;
      mine?.started.then((started) => started?.dispose());
    },
    need: async (name) => {
      if (!pyodide.loadedPackages[name]) await pyodide.loadPackage(name, { messageCallback() {} });
    },
    make_tokenizer: (text, config) => {
      const tokenizer = createTokenizer(text, config);
      tokenizerTexts.set(tokenizer, { tokenizer: text, tokenizerConfig: config });
      return tokenizer;
    },
    open_grammar: async () => (await import("./js/grammar.js")).openGrammar(),
    code: () => pyodide.lockfile.packages.jird.sha256,
    started: takeStarted,
    keep_plan: keepPlan,
    binding: takeBinding,
    new_binding: createBinding,
    gpu_facts: () => binding.then((gpu) => gpu.describe(), () => "null"),
    tuning_get: getTuning,
    tuning_put: putTuning,
    counts: () => JSON.stringify({ js_refs: pyodide._module._hiwire_num_refs() }),
    storage_notice: () => JSON.stringify(modelFiles.notice),
  };
}

/** What a kept plan began for a load's params, or undefined; what was begun for another load is ended. */
async function takeStarted(params) {
  const mine = warm;
  warm = null;
  const started = await mine?.started;
  if (!started) return undefined;
  if (mine.request === await requestFor(JSON.parse(params))) return started;
  await started.dispose();
  return undefined;
}

async function keepPlan(params, texts, ints, consts, tokenizer) {
  const record = { ...JSON.parse(texts), ...tokenizerTexts.get(tokenizer), ints, consts };
  await putPlan(await requestFor(JSON.parse(params)), record);
}

async function requestFor(params) {
  return requestOf({ ...params, model: params.model ?? (await catalogue())[0].id });
}

async function createBinding() {
  if (!self.isSecureContext) throw jirdError("E_INSECURE_CONTEXT", { url: SITE });
  const { createBinding: create } = await import("./gpu_binding.js");
  faultyGpu ??= await askedFaults();
  return create({ adapterOptions: { powerPreference: "high-performance" }, ...faultyGpu });
}

/** {gpu, silentMs} that fails as the address asks, or nothing: js/gpu_faults.js. */
async function askedFaults() {
  const asked = new URLSearchParams(self.location.search).get("gpuFaults");
  if (!asked) return {};
  const { withFaults } = await import("./js/gpu_faults.js");
  const faults = JSON.parse(asked);
  return { gpu: withFaults(navigator.gpu, faults), silentMs: faults.silentMs };
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

function readIndex() {
  return (indexText ??= fetchText(new URL("models/index.json", SITE)));
}

async function catalogue() {
  return JSON.parse(await readIndex()).models;
}

/** What the site serves: what chats, then what hears. */
async function served() {
  const { models, audio = [] } = JSON.parse(await readIndex());
  return [...models, ...audio];
}

/** Readers of `model`, which may be open already; `options` is JSON of {hub, token}. */
async function open(model, options) {
  const { hub, token } = JSON.parse(options);
  await preopening; // or both would open it
  const key = JSON.stringify([model, hub ?? null, token ?? null]);
  if (opening?.key !== key) {
    opening?.ending.abort();
    begin(key, model, { hub, token });
  }
  const mine = opening;
  try {
    return await mine.readers;
  } catch (error) {
    if (error.code?.startsWith?.("E_")) throw error;
    const stopped = mine.ending.signal.aborted;
    throw stopped ? jirdError("E_NETWORK", { url: model, detail: "the load was given up" }) : error;
  } finally {
    if (opening === mine) opening = null;
  }
}

/** A model's files are opened while Python boots. A hint: Python asks again, and hears of failures. */
async function preopen(params) {
  const { hub, token, device } = params;
  let { model } = params, record = null;
  await forgiven;
  const mark = getTuning(LOADING);
  try {
    const answered = device === "reference" ? null : gpuAnswered;
    model ??= (await catalogue())[0].id;
    if (answered) record = await getPlan(requestOf({ ...params, model }));
    await answered;
  } catch {
    return; // no GPU or no index: the load itself will say so
  }
  if (opening) return;
  const named = model;
  model = record?.source ?? model;
  begin(JSON.stringify([model, hub ?? null, token ?? null]), model, { hub, token });
  if (record && !bindingTaken && !warm) {
    const started = warmStart(record, named, { binding, readers: opening.readers, mark });
    warm = { request: record.request, started };
  } else if (!record && device !== "reference") {
    testAhead(named, params, opening.readers).catch(() => {}); // a guess less: Python compiles what it needs
  }
}

async function testAhead(model, { variants }, readers) {
  const { compileAhead } = await import("./js/selftest_ahead.js"); // late: a first start's only
  await compileAhead(await binding, { site: SITE, model, variants, readers, kept: getTuning });
}

function begin(key, model, { hub, token }) {
  const ending = new AbortController();
  const onProgress = (state) => progress("download", "Downloading the model", state);
  const readers = modelFiles.open(model, { hub: hub ?? undefined, token, signal: ending.signal, onProgress });
  readers.catch(() => {}); // reported where it is awaited
  opening = { key, readers, ending };
}

/** Tells every load under way. */
function progress(stage, label, { bytes_done = 0, bytes_total = 0, rate = 0 } = {}) {
  const data = { stage, label, bytes_done, bytes_total, rate, ms: performance.now() };
  for (const id of loads) self.postMessage(event(id, "progress", data));
}

function post(message, audio) {
  if (message.event === "result" || message.event === "error") loads.delete(message.id);
  if (audio) self.postMessage({ ...message, audio }, [audio.buffer]);
  else self.postMessage(message);
}

/** A copy of Python's bytes as samples: the wasm heap moves, and what is sent leaves this thread. */
function samplesOf(bytes) {
  const view = bytes.getBuffer("u8");
  try {
    return new Float32Array(view.data.slice().buffer);
  } finally {
    view.release();
  }
}
