"""Hours of chat in one process on the native device: nothing grows, nothing is left.

Without --long a sample; --soak-minutes says how long, -s shows the figures."""
import asyncio
import gc
import random
from pathlib import Path

import pytest

from app.steady import load_steadily
from pyengine.decode.loop import CancelToken
from pyengine.decode.sampling import SamplingParams
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_path
from tests.soak_kit import MB, Samples, minutes, resident

TINY = Path(__file__).resolve().parent / "goldens/models-tiny"
CONTEXT = 256


async def turn(engine, rng, ids):
    """One message of a chat, as people write them: long or short, now and then stopped."""
    ids = ids + [rng.randrange(1, 83) for _ in range(rng.randrange(1, 40))]
    token, found = CancelToken(), []
    params = SamplingParams(temperature=rng.choice((0, 1.0)), seed=rng.randrange(1 << 30),
                            top_k=rng.choice((0, 7)))
    async for batch in engine.generate_ids(ids, params, max_tokens=rng.randrange(1, 60),
                                           cancel=token):
        found += batch.ids
        if rng.random() < 0.02:
            token.cancel()
    return ids + found, len(found)


async def chat(engine, samples, until, rng):
    """Chats one after the other until the time is over; -> (messages, tokens)."""
    ids, messages, tokens = [], 0, 0
    while samples.seconds < until or len(samples.rows) <= 20:
        if len(ids) > CONTEXT - 110:
            ids = []
        ids, count = await turn(engine, rng, ids)
        messages, tokens = messages + 1, tokens + count
        if samples.seconds >= len(samples.rows) * until / 60:
            gc.collect()
            live = engine.live()
            samples.add(memory=resident(), objects=len(gc.get_objects()),
                        tasks=len(asyncio.all_tasks()), **live)
    return messages, tokens


@pytest.mark.parametrize(("family", "length"), [
    ("qwen3_5_text", 0.25),
    pytest.param("qwen3_5_text", 120, marks=[pytest.mark.long, pytest.mark.timeout(3 * 3600)])])
def test_nothing_grows(family, length, request):
    until = 60 * (minutes(request, length) if length > 1 else length)

    async def run():
        try:
            engine = await load_steadily(
                await open_path(str(TINY / family)), NativeDevice.create, quant="keep", kv="f16",
                context=CONTEXT)
        except EngineError as error:
            pytest.skip(str(error))
        samples, rng = Samples(), random.Random(83)
        messages, tokens = await chat(engine, samples, until, rng)
        await engine.close()
        return engine, samples, messages, tokens

    engine, samples, messages, tokens = asyncio.run(run())
    samples.report(f"native, {family}", messages=messages, tokens=tokens)
    assert messages > 5 and len(samples.rows) > 20
    for name in ("buffers", "bind_groups", "pipelines", "tasks"):
        assert len({row[name] for row in samples.rows}) <= 2, name  # one larger readback, once
        assert samples.grown(name) == 0, name
    assert samples.grown("objects") <= 20
    assert samples.grown("memory") < 4 * MB
    if until >= 600:
        assert samples.slope("memory") < 0.05 * MB


def test_growth_is_seen():
    """What leaks 0.1 MB each second, and one that breathes."""
    samples = Samples()
    samples.rows = [{"s": s, "leak": 1e5 * s, "calm": 1e6 * (s % 7)} for s in range(90)]
    assert samples.slope("leak") == pytest.approx(6e6) and samples.grown("leak") > 2 * MB
    assert abs(samples.grown("calm")) < 2 * MB
