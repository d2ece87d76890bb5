"""What test_gpu_faults.py runs inside Pyodide: an engine over pwa_shell/js/gpu_faults.js."""

import json
import sys


async def answer(name, arguments):
    """Calls a function of this module; both ways JSON text."""
    return json.dumps(await globals()[name](**json.loads(arguments)))


async def checkpoint_of(folder):
    import js

    from app.loader import JsSource
    from pyengine.formats.checkpoint import open_checkpoint
    names = ("config.json", "generation_config.json", "model.safetensors")
    return await open_checkpoint({
        name: JsSource(await js.engineTest.reader(f"goldens/{folder}/{name}")) for name in names})


def plain(value):
    import js
    from pyodide.ffi import to_js
    return to_js(value, dict_converter=js.Object.fromEntries)


async def faulty_gpu(options):
    import js
    module = await js.eval("import('../js/gpu_faults.js')")
    return module.withFaults(js.navigator.gpu, plain(options))


def opener(gpu, silent_ms=0):
    """open_device of `load_steadily` over a faulty GPU that may say nothing for `silent_ms`."""
    import js

    from pyengine.device.web import WebDevice

    async def open_device():
        options = js.Object.new()
        options.gpu, options.silentMs = gpu, silent_ms
        return await WebDevice.opened(js.engineTest.createBinding(options))
    return open_device


def greedy():
    from pyengine.decode.sampling import SamplingParams
    return SamplingParams(temperature=0)


async def text_of(engine, ids, count):
    found = []
    async for batch in engine.generate_ids(ids, greedy(), max_tokens=count):
        found += batch.ids
    return found


async def survived(folder, ids, count, options, plants=(), load_plants=()):
    """The text of a generation on such a GPU, `plants` armed before it; or the error's code."""
    from app.steady import load_steadily
    from pyengine.errors import EngineError
    gpu = await faulty_gpu(options)
    for plant in load_plants:
        gpu.faults.arm(plain(plant))
    engine = None
    try:
        opened = opener(gpu, options.get("silentMs", 0))
        engine = await load_steadily(await checkpoint_of(folder), opened, kv="f32", quant="keep",
                                     context=256, burst=4)
        before = gpu.faults.calls
        for plant in plants:
            gpu.faults.arm(plain(plant))
        found = {"ids": await text_of(engine, ids, count)}
    except EngineError as error:
        found = {"code": error.code, "message": str(error)}
    if engine is not None:
        found |= {"device": engine.stats()["device"], "calls": gpu.faults.calls - before}
        await engine.close()
        found["live"] = engine.live()
    return found | {"left": gpu.faults.left, "numpy": "numpy" in sys.modules}


async def tested(options, full=False):
    """The self-test's report on such a GPU, and what the device offers then."""
    from dataclasses import asdict

    from pyengine.selftest import selftest
    device = await opener(await faulty_gpu(options))()
    report = asdict(await selftest(device, full=full))
    device.close()
    caps = device.caps
    return report | {"f16": caps.f16, "max_binding": caps.max_binding,
                     "storage": caps.max_storage_buffers, "vendor": caps.vendor}
