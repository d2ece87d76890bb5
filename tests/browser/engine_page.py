"""Runs Python test functions inside Pyodide, in a page of the built site, with the engine's wheel.

    page = EnginePage(browser, site_url, goldens)
    page.run(engine_in_page.greedy, folder="models-tiny/llama", ids=[1, 2, 3])

The function's module is written into Pyodide's file system as it is and imported there; arguments
and results cross as JSON, never as source text. `goldens/...` of the page are the test's goldens.
"""

import gzip
import inspect
import json

BLANK = "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>engine</title>"

# What the functions find as `js.engineTest`.
BOOT = """async () => {
    const { createBinding } = await import("./gpu_binding.js");
    const { loadPyodide } = await import("./pyodide/pyodide.mjs");
    const indexURL = new URL("pyodide/", location).href;
    const pyodide = await loadPyodide({ indexURL, packages: ["jird"] });
    const counts = { submits: 0, dispatches: 0, passes: 0, created: 0 };
    const count = (type, method, name) => {
        const original = type.prototype[method];
        type.prototype[method] = function (...args) {
            counts[name] += 1;
            return original.apply(this, args);
        };
    };
    count(GPUQueue, "submit", "submits");
    count(GPUComputePassEncoder, "dispatchWorkgroups", "dispatches");
    count(GPUCommandEncoder, "beginComputePass", "passes");
    for (const method of ["createBuffer", "createBindGroup", "createBindGroupLayout", "createPipelineLayout",
        "createShaderModule", "createComputePipeline", "createComputePipelineAsync", "createQuerySet"]) {
        count(GPUDevice, method, "created");
    }
    const bytes = new Map();
    globalThis.engineTest = {
        pyodide, createBinding,
        counts: () => JSON.stringify(counts),
        refs: () => pyodide._module._hiwire_num_refs(),
        proxies: () => pyodide._module.pyproxy_alloc_map?.size ?? -1,
        trace: () => pyodide._module.enable_pyproxy_allocation_tracing(),
        async reader(path) {
            if (!bytes.has(path)) {
                const response = await fetch(path);
                if (!response.ok) throw new Error(`${path}: ${response.status}`);
                bytes.set(path, new Uint8Array(await response.arrayBuffer()));
            }
            const data = bytes.get(path);
            // a copy: the binding keeps what it is given
            const read = async (offset, length) => data.slice(offset, offset + length);
            return { name: path.split("/").pop(), size: data.length, read, close() {} };
        },
    };
}"""

CALL = """async ({ module, source, name, args }) => {
    const { pyodide } = engineTest;
    if (source !== null) {
        pyodide.FS.writeFile(`/home/pyodide/${module}.py`, source);
        pyodide.runPython("import importlib, sys; importlib.invalidate_caches()");
    }
    const imported = pyodide.pyimport(module);
    try {
        return await imported.answer(name, args);
    } finally {
        imported.destroy();
    }
}"""


def _send(route, goldens):
    path = goldens / route.request.url.split("/goldens/")[1]
    packed = path.with_name(path.name + ".gz")
    if packed.is_file():
        route.fulfill(body=gzip.decompress(packed.read_bytes()))
    else:
        route.fulfill(**({"path": path} if path.is_file() else {"status": 404}))


class EnginePage:
    """A page with Pyodide up; `close()` gives its browser context back."""

    def __init__(self, browser, url, goldens, timeout=120_000):
        self._context = browser.new_context()
        self.page = self._context.new_page()
        self.page.set_default_timeout(timeout)
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.route("**/engine_page.html", lambda route: route.fulfill(
            body=BLANK, content_type="text/html"))
        self.page.route("**/goldens/**", lambda route: _send(route, goldens))
        self.page.goto(url + "engine_page.html")
        self.page.evaluate(BOOT)
        self._written = set()

    def run(self, function, **arguments):
        """The function's JSON-able result; an exception in the page is raised here with its
        traceback."""
        module = inspect.getmodule(function)
        name = module.__name__.rpartition(".")[2]
        source = None if name in self._written else inspect.getsource(module)
        self._written.add(name)
        answer = self.page.evaluate(CALL, {"module": name, "source": source,
                                           "name": function.__name__, "args": json.dumps(arguments)})
        return json.loads(answer)

    def close(self):
        self._context.close()
