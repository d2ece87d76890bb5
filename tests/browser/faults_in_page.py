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


async def faulty_gpu(options, kept=False):
    """The browser's GPU with faults; `kept`: over kept_gpu.js, which compiles each text once."""
    import js
    module = await js.eval("import('../js/gpu_faults.js')")
    real = js.engineTest.gpuOf("kept") if kept else js.navigator.gpu
    return module.withFaults(real, plain(options))


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


async def written(folder, ids, count, options, runs=1):
    """A text on such a GPU over kept pipelines, `runs` times: {texts, the best tokens a second,
    device}."""
    from app.steady import load_steadily
    engine = await load_steadily(await checkpoint_of(folder), opener(await faulty_gpu(options, True)),
                                 kv="f32", quant="keep", context=256, burst=16)
    texts, speeds = [], []
    for _ in range(runs):
        texts.append(await text_of(engine, ids, count))
        speeds.append(engine.stats()["decode_tps"])
    device = engine.stats()["device"]
    await engine.close()
    return {"texts": texts, "tps": max(speeds), "device": device}


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


async def built_plans():
    """Dispatches of the tiny model's plan that the site brings, with and without subgroups; raises
    where it would have to be planned."""
    from dataclasses import replace

    from pyengine import selftest_kernels as sk
    device = await opener(await faulty_gpu({}))()
    sk.compile_model, planner, found = None, sk.compile_model, []
    for features in ((), ("subgroups",)):
        caps = replace(device.caps, software=False, subgroups=True, variants=features)
        plan, files = await sk._plan("lfm2-mixed", sk.plain(caps), "f16", (sk.SHORT,))
        found.append(plan.dispatches("prefill128", "decode", "greedy") * len(files))
    sk.compile_model = planner
    device.close()
    return found
