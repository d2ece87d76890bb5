"""Minutes of requests to the real worker in Chromium: memory, proxies, listeners and GPU objects
stay flat. Without --long a sample; --soak-minutes says how long, -s shows the figures.

Between two collections a browser holds garbage, megabytes of it. So memory is measured twice: as it
is after half a minute of chat, and ("kept") once the page and its workers have collected."""
import pytest

from tests.browser.test_jird_engine import (  # noqa: F401  fixtures
    LOAD, blank, engine_worker, root, served)
from tests.e2e.heap import HeapWatch
from tests.soak_kit import MB, Samples, minutes, own, resident

SETUP = f"""async () => {{
    const {{ createEngine }} = await import("./jird.js");
    window.engine = await createEngine({LOAD});
    let seed = 83;
    const some = (most) => 1 + (seed = (seed * 1664525 + 1013904223) >>> 0) % most;
    window.turns = 0;
    window.tokens = 0;
    window.turn = async () => {{
        const prompt = Array.from({{ length: some(40) }}, () => some(82));
        const body = {{ prompt, max_tokens: some(24), temperature: turns % 2, seed: turns,
            return_token_ids: true }};
        if (turns % 3 === 0) await engine.completions.create(body);
        else {{
            for await (const chunk of await engine.completions.create({{ ...body, stream: true }})) {{
                tokens += chunk.choices[0]?.token_ids?.length ?? 0;
                if (turns % 7 === 0) break;
            }}
        }}
        if (turns % 11 === 0) await engine.completions.create({{ prompt, max_tokens: -1 }}).catch(() => {{}});
        turns += 1;
    }};
    await turn();
}}"""
TURNS = """async (ms) => {
    const end = performance.now() + ms;
    while (performance.now() < end) await turn();
    const { objects, live } = await engine.stats();
    return { ...objects, requests: live.requests, tasks: live.tasks, modules: live.modules };
}"""
# wasm memory comes in large steps, so what its allocator has given out is counted too.
PYTHON = """() => pyodide.runPython(`
import ctypes, gc
class Mallinfo(ctypes.Structure):
    _fields_ = [(f"number{i}", ctypes.c_size_t) for i in range(10)]
libc = ctypes.CDLL(None)
libc.mallinfo.restype = Mallinfo
def bytes_in_use():
    gc.collect()
    return libc.mallinfo().number7
`)"""
WORKER = """() => new Promise((resolve) => setTimeout(() => resolve({
    proxies: pyodide._module.pyproxy_alloc_map.size, js_refs: pyodide._module._hiwire_num_refs(),
    python_memory: pyodide.runPython("bytes_in_use()"),
    wasm_memory: pyodide._module.HEAP8.length }), 50))"""


def processes(browser_cdp, kind):
    """Ids of the browser's processes of a kind: "renderer" (the page's, a spare one, the browser's
    own pages) or "GPU"."""
    found = browser_cdp.send("SystemInfo.getProcessInfo")["processInfo"]
    return [process["id"] for process in found if process["type"] == kind]


def memory(browser_cdp, kind):
    return sum(resident(pid) for pid in processes(browser_cdp, kind))


@pytest.mark.parametrize("length", [0.5, pytest.param(
    20, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_nothing_grows_in_a_browser(blank, browser, length, request):  # noqa: F811
    until = 60 * (minutes(request, length) if length > 1 else length)
    blank.evaluate(SETUP)
    worker = engine_worker(blank)
    worker.evaluate("pyodide._module.enable_pyproxy_allocation_tracing()")
    worker.evaluate(PYTHON)
    page_cdp = blank.context.new_cdp_session(blank)
    browser_cdp = browser.new_browser_cdp_session()
    page_cdp.send("Performance.enable")
    heaps = HeapWatch(blank)
    mine = max(processes(browser_cdp, "renderer"), key=own)  # it has Python and the model's files
    samples = Samples()
    while samples.seconds < until or len(samples.rows) < 12:
        counts = blank.evaluate(TURNS, 1e3 * until / 40)
        renderers = memory(browser_cdp, "renderer")
        heaps.collect_garbage()
        metrics = {m["name"]: m["value"] for m in page_cdp.send("Performance.getMetrics")["metrics"]}
        samples.add(**counts, **worker.evaluate(WORKER), listeners=metrics["JSEventListeners"],
                    nodes=metrics["Nodes"], page_heap_memory=metrics["JSHeapUsedSize"],
                    worker_heap_memory=heaps.of_worker("engine_worker.js"),
                    kept_page_memory=own(mine), renderer_memory=renderers,
                    gpu_memory=memory(browser_cdp, "GPU"))
    turns, tokens = blank.evaluate("[turns, tokens]")
    blank.evaluate("engine.unload()")
    samples.report("Chromium", requests=turns, tokens=tokens)
    for name in ("buffers", "bind_groups", "pipelines", "requests", "proxies", "listeners", "nodes",
                 "modules", "wasm_memory", "tasks"):
        assert samples.grown(name) <= 0, name
    assert samples.grown("js_refs") <= 8  # the runner keeps each sequence of programs that it meets
    assert samples.grown("page_heap_memory") < MB
    assert samples.grown("worker_heap_memory") < MB / 4
    assert samples.grown("python_memory") < MB / 20
    assert samples.grown("kept_page_memory") < 8 * MB
    assert samples.grown("renderer_memory") < 16 * MB and samples.grown("gpu_memory") < 16 * MB
    if until >= 600:
        assert samples.grown("js_refs") <= 1
        assert samples.slope("renderer_memory") < MB and samples.slope("gpu_memory") < MB
        assert samples.slope("kept_page_memory") < 0.25 * MB
        assert samples.slope("worker_heap_memory") < 0.05 * MB
        assert samples.slope("python_memory") < 0.01 * MB
