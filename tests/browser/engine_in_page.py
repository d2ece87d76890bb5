"""What test_engine_web.py runs inside Pyodide. Imports of the page's world are inside functions,
so that the tests can import this module too."""

import asyncio
import json
import struct
import sys
from contextlib import asynccontextmanager
from dataclasses import replace

FILES = ("config.json", "model.safetensors")
PATIENCE = 60  # seconds, after which a generation counts as hung


async def answer(name, arguments):
    """Calls a function of this module; both ways JSON text."""
    return json.dumps(await globals()[name](**json.loads(arguments)))


async def checkpoint_of(folder):
    import js

    from app.loader import JsSource
    from pyengine.formats.checkpoint import open_checkpoint
    return await open_checkpoint({
        name: JsSource(await js.engineTest.reader(f"goldens/{folder}/{name}")) for name in FILES})


@asynccontextmanager
async def binding_of():
    """A GPU device of its own."""
    import js
    binding = await js.engineTest.createBinding()
    try:
        yield binding
    finally:
        binding.destroy()


@asynccontextmanager
async def engine_of(folder, burst="auto", **options):
    """-> (engine, its binding); closed at the end."""
    from pyengine.device.web import WebDevice
    from pyengine.engine import load
    async with binding_of() as binding:
        options = {"kv": "f32", "quant": "keep", "context": 256} | options
        engine = await load(await checkpoint_of(folder), WebDevice(binding), burst=burst, **options)
        try:
            yield engine, binding
        finally:
            await engine.close()


async def ids_of(engine, ids, params, count):
    found = []
    async for batch in engine.generate_ids(ids, params, max_tokens=count):
        found += batch.ids
    return found


def sampling(**parameters):
    from pyengine.decode.sampling import SamplingParams
    return SamplingParams(**parameters)


def facts_of(error):
    return {"code": error.code, "message": str(error), "facts": error.to_dict()["facts"]}


# ---- what the engine computes ------------------------------------------------------------------


async def golden(folder, prompts, count):
    """Logits after each prompt, `count` greedy ids after the first; and what was imported."""
    async with engine_of(folder) as (engine, _):
        greedy = await ids_of(engine, prompts[0], sampling(temperature=0), count)
        numpy = "numpy" in sys.modules
        logits = []
        for ids in prompts:
            data = await engine.first_logits(ids)
            logits.append(struct.unpack(f"<{len(data) // 4}f", data))
        return {"greedy": greedy, "numpy": numpy, "logits": logits, "device": engine.stats()["device"]}


async def sampled(folder, ids, count, bursts, cases):
    """{burst: [ids of each case of sampling parameters]}."""
    found = {}
    for burst in bursts:
        async with engine_of(folder, burst) as (engine, _):
            found[burst] = [await ids_of(engine, ids, sampling(**case), count) for case in cases]
    return found


async def submits(folder, ids, count, burst):
    """What WebGPU was asked for after the first token, and the engine's own figures."""
    import js
    async with engine_of(folder, burst) as (engine, _):
        marks = []
        async for batch in engine.generate_ids(ids, sampling(temperature=0), max_tokens=count):
            marks.append({"ids": len(batch.ids), **json.loads(js.engineTest.counts())})
        stats = engine.stats()
        return {"marks": marks, "dispatches_per_token": stats["dispatches_per_token"],
                "submits_per_token": stats["submits_per_token"]}


# ---- faults ------------------------------------------------------------------------------------


async def plan_of(folder, caps):
    from pyengine.compile import compile_model
    checkpoint = await checkpoint_of(folder)
    return compile_model(checkpoint.config, checkpoint.tensors, quant="keep", kv="f32", context=256,
                         caps=caps).plan


async def prepared(plan, binding):
    """Prepares and compiles a plan -> the error's facts, or None."""
    from pyengine.device.web import WebDevice
    from pyengine.errors import EngineError
    runner = None
    try:
        runner = await WebDevice(binding).prepare(plan)
        await asyncio.wait_for(runner.ready(), PATIENCE)
    except EngineError as error:
        return facts_of(error)
    finally:
        if runner is not None:
            runner.close()
    return None


async def broken_kernel(folder):
    from pyengine.device.web import WebDevice
    async with binding_of() as binding:
        plan = await plan_of(folder, WebDevice(binding).caps)
        number = plan.programs[f"prefill{plan.sizes('prefill')[0]}"][0].pipeline  # decode's are late here
        broken = replace(plan.pipelines[number], code=plan.pipelines[number].code + "fn f() { no_such_name(); }\n")
        plan.pipelines[number] = broken
        error = await prepared(plan, binding)
        return {"error": error, "label": broken.label, "line": broken.code.count("\n")}


async def absurd_buffer(folder, nbytes):
    """A plan with such a buffer, then the same plan without it on the same device."""
    from pyengine.device.web import WebDevice
    from pyengine.plan.plan import Buffer
    async with binding_of() as binding:
        plan = await plan_of(folder, WebDevice(binding).caps)
        total = plan.bytes_needed()["total"]
        plan.buffers.append(Buffer("absurd", nbytes, "weights"))
        error = await prepared(plan, binding)
        plan.buffers.pop()
        return {"error": error, "total": total, "after": await prepared(plan, binding)}


async def lost_device(folder, ids, when):
    """The device goes away `when` "between" bursts, "during" one, or "before" the generation."""
    from pyengine.errors import EngineError
    async with engine_of(folder, burst=4) as (engine, binding):
        params, got = sampling(temperature=0), []

        async def generate():
            async for batch in engine.generate_ids(ids, params, max_tokens=100):
                got.extend(batch.ids)
                if when == "between":
                    binding.destroy()
                if when == "during":
                    asyncio.get_running_loop().call_soon(binding.destroy)

        if when == "before":
            binding.destroy()
        errors = []
        for _ in range(2):  # the second generation finds the device lost already
            try:
                await asyncio.wait_for(generate(), PATIENCE)
            except EngineError as error:
                errors.append(facts_of(error))
        return {"errors": errors, "ids": got}


async def no_gpu():
    """createBinding where there is no WebGPU, and where no adapter answers."""
    import js
    from pyodide.ffi import JsException, to_js
    codes = []
    silent = js.Object.new()
    silent.requestAdapter = js.eval("async () => null")
    for gpu in (None, silent):
        options = to_js({"gpu": gpu, "tries": 2}, dict_converter=js.Object.fromEntries)
        if gpu is None:
            options.gpu = False
        try:
            await js.engineTest.createBinding(options)
        except JsException as error:
            codes.append([error.code, error.facts.to_py()["reason"]])
    return codes


# ---- late pipelines ----------------------------------------------------------------------------

HOLD = """(() => {
  const real = GPUDevice.prototype.createComputePipelineAsync, held = [], all = [];
  const gate = Promise.withResolvers();
  GPUDevice.prototype.createComputePipelineAsync = async function (asked) {
    all.push(asked.label);
    if (/^(sample_(?!argmax|take)|logprob|mask)/.test(asked.label)) {
      held.push(asked.label.split("#")[0]);
      await gate.promise;
    }
    return real.call(this, asked);
  };
  return { held: () => JSON.stringify(held), asked: () => JSON.stringify(all), submits: () => JSON.parse(engineTest.counts()).submits,
    release() { gate.resolve(); GPUDevice.prototype.createComputePipelineAsync = real; } };
})()"""


async def late(folder, ids, count):
    """Texts of an engine whose late pipelines come only once a drawn text waits for them, and of
    one that has them all; what was asked for by then."""
    import asyncio

    import js

    from pyengine.plan import export
    drawn = {"temperature": 1.0, "seed": 7, "top_k": 5, "top_logprobs": 2}
    found, hold = {"texts": []}, js.eval(HOLD)
    async with engine_of(folder) as (engine, _):
        found["ready"] = json.loads(hold.held())
        plan, late = engine.model.plan, export._late_pipelines(engine.model.plan, {"decode"})
        decoding = {plan.pipelines[i].label for i in late}
        found["decoding"] = [len(decoding), len(decoding & set(json.loads(hold.asked())))]
        found["texts"].append(await ids_of(engine, ids, sampling(temperature=0), count))
        found["decoding"].append(len(decoding & set(json.loads(hold.asked()))))
        submits = hold.submits()
        waiting = asyncio.ensure_future(ids_of(engine, [83, *ids], sampling(**drawn), count))
        while hold.submits() == submits:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # in which no second one may follow
        found |= {"begun": hold.submits() - submits, "done": waiting.done(),
                  "asked": json.loads(hold.held())}
        hold.release()
        found["texts"].append(await waiting)
        found["live"] = [engine.live()]
    async with engine_of(folder) as (engine, _):
        await engine._runner.settled()
        for prompt, params in ((ids, {"temperature": 0}), ([83, *ids], drawn)):
            found["texts"].append(await ids_of(engine, prompt, sampling(**params), count))
        found["live"].append(engine.live())
    return found


# ---- leaks -------------------------------------------------------------------------------------


async def repeated(folder, times):
    """Live objects after each of many generations and after close; references that JavaScript and
    Python hold of each other."""
    import js
    async with engine_of(folder, burst=4) as (engine, _):
        live, refs, proxies = [], [], []
        js.engineTest.trace()
        for i in range(times):
            params = sampling(temperature=i % 2, seed=i, top_k=5)
            await ids_of(engine, [1, 2, 3, 4, 5, 6, 7 + i][:1 + i % 7], params, 6)
            live.append(engine.live())
            refs.append(js.engineTest.refs())
            proxies.append(js.engineTest.proxies())
        await engine.close()
        return {"live": live, "refs": refs, "proxies": proxies, "closed": engine.live()}


async def steady(folder, count):
    """WebGPU's objects made during a generation after the first, and those alive around it."""
    import js
    async with engine_of(folder) as (engine, _):
        await engine._runner.settled()
        made, live = [], []
        for i in range(3):
            for parameters in ({"temperature": 0}, {"temperature": 1.0, "seed": 7, "top_k": 5}):
                before = json.loads(js.engineTest.counts())["created"]
                await ids_of(engine, [1 + i, 2, 3], sampling(**parameters), count)
                made.append(json.loads(js.engineTest.counts())["created"] - before)
                live.append(engine.live())
        return {"made": made, "live": live, "total": json.loads(js.engineTest.counts())["created"]}


# ---- time ----------------------------------------------------------------------------------------


async def profiled(folder, ids, count):
    """The report between two generations, which must give the same ids."""
    async with engine_of(folder) as (engine, _):
        params, texts = sampling(temperature=0), []
        texts.append(await ids_of(engine, ids, params, count))
        report = await engine.profile("decode", 40, 2)
        live = [engine.live()]
        prefill = await engine.profile("prefill16", 0, 1)
        live.append(engine.live())
        texts.append(await ids_of(engine, ids, params, count))
        return {"texts": texts, "report": report, "prefill": prefill, "live": live,
                "load_ms": engine.stats()["load_ms"]}


async def first_prompts(folder, ids, times, warm):
    """Milliseconds to the first token of each of several prompts, and the texts."""
    async with engine_of(folder, warm=warm) as (engine, _):
        ms, texts = [], []
        for i in range(times):
            texts.append(await ids_of(engine, [1 + i, *ids], sampling(temperature=0), 2))
            ms.append(engine.stats()["ttft_ms"])
        return {"ms": ms, "texts": texts, "load_ms": engine.stats()["load_ms"]}


async def tuned(folder, ids, count, most):
    """Three loads: without tuning, with an empty cache of the browser, and with what that kept."""
    import js

    from app.tuning import BrowserCache
    module = await js.eval("import('../js/tuning_cache.js')")
    parts = type("Parts", (), {"tuning_get": module.getTuning, "tuning_put": module.putTuning})
    found = []
    for cache in (None, BrowserCache(parts), BrowserCache(parts)):
        async with engine_of(folder, tuning_cache=cache) as (engine, _):
            texts = await ids_of(engine, ids, sampling(temperature=0), count)
            stats = engine.stats()
            found.append({"text": texts, "tuned": stats["tuned"], "ms": stats["load_ms"]["tune"],
                          "live": engine.live()})
    for i in range(most + 4):
        await parts.tuning_put(f"k{i}", str(i))
    kept = [await parts.tuning_get(f"k{i}") for i in (3, 4, most + 3)]
    return {"loads": found, "kept": kept}


# ---- voices ------------------------------------------------------------------------------------


async def voiced(folder, ids, speaker, begins):
    """Logits behind the first n ids, for each n of `begins`, of a voice model with a speaker's
    vector: what is one more than the one before is a step of decode."""
    async with engine_of(folder) as (engine, _):
        engine.speak_as(struct.pack(f"<{len(speaker)}f", *speaker))
        found = [await engine.first_logits(ids[:n]) for n in begins]
        return [struct.unpack(f"<{len(data) // 4}f", data) for data in found]


# ---- ears --------------------------------------------------------------------------------------


async def heard(folder, wav, rows, ids, count):
    """The encoder's last row for samples `wav`, logits after `ids`, `count` greedy ids."""
    async with engine_of(folder) as (engine, _):
        await engine.listen(struct.pack(f"<{len(wav)}f", *wav), rows)
        logits = await engine.first_logits(ids)
        width = engine.model.config.hidden
        buffer = engine.model.plan.buffer("encoded")
        last = await engine._runner.read(buffer, 4 * (rows - 1) * width, 4 * width)
        return {"last": struct.unpack(f"<{width}f", last),
                "logits": struct.unpack(f"<{len(logits) // 4}f", logits),
                "greedy": await ids_of(engine, ids[:1], sampling(temperature=0), count)}
