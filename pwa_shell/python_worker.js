/**
 * Runs one Python program that a model wrote, then is ended by js/tools/run_python.js. Before the
 * program starts, everything that reaches the network, the app's storage or other tabs is taken out
 * of this worker, and so is what makes code of text, as `import()` cannot be taken out.
 */
import { loadPyodide } from "./pyodide/pyodide.mjs";

const MAX_OUTPUT = 20_000;
const post = self.postMessage.bind(self);

const FORBIDDEN = [
  "fetch", "fetchLater", "XMLHttpRequest", "WebSocket", "WebSocketStream", "EventSource",
  "WebTransport", "RTCPeerConnection", "RTCDataChannel", "importScripts", "Worker", "SharedWorker",
  "BroadcastChannel", "MessageChannel", "indexedDB", "IDBFactory", "caches", "Cache",
  "CacheStorage", "cookieStore", "CookieStore", "navigator", "WorkerNavigator", "StorageManager",
  "FileSystemHandle", "FileSystemFileHandle", "FileSystemDirectoryHandle", "FileReaderSync",
  "LockManager", "ServiceWorkerContainer", "FontFace", "fonts", "Notification",
  "webkitRequestFileSystem",
  "webkitRequestFileSystemSync", "webkitResolveLocalFileSystemURL", "requestFileSystem", "GPU",
  "localStorage", "sessionStorage", "location", "WorkerLocation", "postMessage", "close",
];

const refuse = (name) => function refused() {
  throw new Error(`${name} is not there for programs that a model wrote`);
};

function seal() {
  for (let at = self; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of FORBIDDEN) {
      if (Object.hasOwn(at, name)) delete at[name];
    }
  }
  for (const name of FORBIDDEN) {
    Object.defineProperty(self, name, { value: undefined, configurable: false, writable: false });
  }
  sealCode();
}

/** Code out of text: eval, the constructors of functions, timers with a string. */
function sealCode() {
  const kinds = [function () {}, async function () {}, function* () {}, async function* () {}];
  for (const kind of kinds) {
    const refused = { value: refuse("Function") };
    Object.defineProperty(Object.getPrototypeOf(kind), "constructor", refused);
  }
  for (const name of ["eval", "Function"]) {
    Object.defineProperty(self, name, { value: refuse(name), writable: false });
  }
  for (const name of ["setTimeout", "setInterval"]) {
    const real = self[name].bind(self);
    const checked = (run, ...rest) => {
      if (typeof run !== "function") refuse(name)();
      return real(run, ...rest);
    };
    Object.defineProperty(self, name, { value: checked, writable: false });
  }
}

// Only text crosses: after `seal` an object of JavaScript could not be told from one of Python.
const RUNNER = `
import sys
for name in [name for name in sys.modules if name.split(".")[0] in ("js", "pyodide_js")]:
    del sys.modules[name]

def run(code):
    from pyodide.code import eval_code
    value = eval_code(code, {"__name__": "__main__"}, filename="<program>")
    return "" if value is None else str(value)
run`;

/** Output, cut where no model would read on. */
class Output {
  text = "";

  add(line) {
    this.text += `${line}\n`.slice(0, Math.max(0, MAX_OUTPUT - this.text.length));
  }
}

async function run(code) {
  const output = new Output();
  const pyodide = await loadPyodide({
    indexURL: new URL("./pyodide/", import.meta.url).href,
    jsglobals: Object.create(null),
    stdout: (line) => output.add(line),
    stderr: (line) => output.add(line),
  });
  await pyodide.loadPackagesFromImports(code, { messageCallback() {}, errorCallback() {} });
  const runner = pyodide.runPython(RUNNER);
  for (const name of ["pyodide_js", "js"]) pyodide.unregisterJsModule(name);
  seal();
  post({ kind: "running" });
  try {
    const value = runner(code);
    if (value) output.add(value);
    post({ kind: "result", text: output.text.trim() || "(it printed nothing)" });
  } catch (error) {
    const told = String(error?.message ?? error).trim().split("\n").slice(-6).join("\n");
    post({ kind: "error", text: `${output.text}${told}` });
  }
}

self.onmessage = ({ data }) => {
  self.onmessage = null;
  run(data.code).catch((error) => post({ kind: "error", text: `Python: ${error.message}` }));
};
