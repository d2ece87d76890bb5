"""What test_fault_matrix_web.py runs inside Pyodide: points of the fault matrix, each an engine of
its own over pwa_shell/js/gpu_faults.js over kept_gpu.js."""

import asyncio
import json
import time

HUNG_SECONDS = 200


async def answer(name, arguments):
    """Calls a function of this module; both ways JSON text."""
    return json.dumps(await globals()[name](**json.loads(arguments)))


async def staged(folder, ids, count, silent_ms=0, stage=None, plant=None):
    """A run with the plant armed before `stage` (load, prefill, decode); a lost device is a real
    one. -> {ids or code, calls of each stage, seconds since the last failure, live objects}."""
    import js

    from app.steady import load_steadily
    from faults_in_page import checkpoint_of, greedy, plain
    from pyengine.device.web import WebDevice
    from pyengine.errors import EngineError
    kind = plant and plant["kind"]
    module = await js.eval("import('../js/gpu_faults.js')")
    real = js.engineTest.gpuOf("fresh" if kind == "lost" else "kept")
    gpu = module.withFaults(real, plain({}))
    engine, found, mark, begun = None, {"calls": {}}, [0, None], time.monotonic()

    def enter(name):
        found["calls"][mark[1]] = gpu.faults.calls - mark[0]
        mark[:] = gpu.faults.calls, name
        if plant and name == stage:
            gpu.faults.arm(plain(plant))

    async def open_device():
        options = {"silentMs": silent_ms if kind == "hang" else 0}
        given = plain(options)
        given.gpu = gpu
        return await WebDevice.opened(js.engineTest.createBinding(given))

    try:
        enter("load")
        engine = await load_steadily(await checkpoint_of(folder), open_device, kv="f32",
                                     quant="keep", context=128, burst=4)
        enter("prefill")
        found["ids"] = []
        async for batch in engine.generate_ids(ids, greedy(), max_tokens=count):
            if not found["ids"]:
                enter("decode")
            found["ids"] += batch.ids
        enter(None)
    except EngineError as error:
        found |= {"code": error.code, "next_step": error.next_step}
    since = (js.performance.now() - gpu.faults.metAt) / 1e3 if plant else 0.0
    if engine is not None:
        await engine.close()
        found["live"] = engine.live()
    return found | {"since": since, "seconds": time.monotonic() - begun}


async def several(points, **run):
    """[staged of each (stage, plant)], all of them at once; None of one that never ends."""
    async def soon(point):
        try:
            return await asyncio.wait_for(staged(**run, stage=point[0], plant=point[1]), HUNG_SECONDS)
        except TimeoutError:
            return None

    return await asyncio.gather(*map(soon, points))


async def leaks():
    """What is left: see kept_gpu.js."""
    import js
    return json.loads(js.engineTest.leaks())
