"""Bursts begun ahead of the one that is read: the same ids, and nothing of what was in vain stays."""
import asyncio

import pytest

from pyengine.decode.loop import CancelToken
from pyengine.decode.sampling import SamplingParams
from pyengine.device.numpy_ref import NumpyDevice, NumpyRunner
from pyengine.engine import load
from pyengine.formats.checkpoint import open_path

GREEDY = SamplingParams(temperature=0)
SAMPLED = SamplingParams(temperature=1, seed=7, repetition_penalty=1.2)


class EagerRunner(NumpyRunner):
    """As the browser's: the work is done, in order, when `submit` returns."""
    ahead = 2

    def __init__(self, plan):
        super().__init__(plan)
        self.under_way, self.most = 0, 0

    def submit(self, sequence, read=None):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        done = self.run(sequence, read)
        try:
            done.send(None)
        except StopIteration as result:
            return self._landed(result.value)
        raise AssertionError("the numpy device waits for nothing")

    async def _landed(self, value):
        self.under_way -= 1
        return value


class EagerDevice(NumpyDevice):
    async def prepare(self, plan, progress=None):
        return EagerRunner(plan)


@pytest.fixture
def engines(goldens):
    async def make(device, burst):
        checkpoint = await open_path(goldens / "models-tiny/llama")
        return await load(checkpoint, device, quant="keep", kv="f32", context=128, burst=burst)
    return make


async def ids_of(engine, prompt, params, **options):
    found, reason = [], None
    async for batch in engine.generate_ids(prompt, params, **options):
        found += batch.ids
        reason = batch.finish_reason
    return found, reason


@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_same_ids_and_two_under_way(engines, params):
    async def go():
        plain, ahead = await engines(NumpyDevice(), 1), await engines(EagerDevice(), 4)
        wanted = await ids_of(plain, [1, 2, 3], params, max_tokens=30)
        assert await ids_of(ahead, [1, 2, 3], params, max_tokens=30) == wanted
        assert ahead._runner.most == 2 and ahead._runner.under_way == 0
        stop = wanted[0][6]
        first = wanted[0].index(stop)
        for _ in range(2):  # and again: what ran past the stop must not be taken for resident
            found = await ids_of(ahead, [1, 2, 3], params, max_tokens=30, stop_ids=[stop])
            assert found == (wanted[0][:first + 1], "stop")
        assert ahead._runner.under_way == 0
        longer = [1, 2, 3, *wanted[0][:first + 1], 9]
        assert (await ids_of(ahead, longer, GREEDY, max_tokens=8)
                == await ids_of(plain, longer, GREEDY, max_tokens=8))
    asyncio.run(go())


def test_cancel_and_leaving_early_wait_for_what_is_under_way(engines):
    async def go():
        engine = await engines(EagerDevice(), 2)
        wanted, _ = await ids_of(engine, [5, 6], GREEDY, max_tokens=20)
        token, found = CancelToken(), []
        async for batch in engine.generate_ids([5, 6], GREEDY, max_tokens=20, cancel=token):
            found += batch.ids
            if len(found) > 4:
                token.cancel()
        assert found == wanted[:len(found)] and len(found) < 20
        assert engine._runner.under_way == 0
        batches = engine.generate_ids([5, 6], GREEDY, max_tokens=20)
        await anext(batches)
        await anext(batches)
        await batches.aclose()
        assert engine._runner.under_way == 0
        assert (await ids_of(engine, [5, 6], GREEDY, max_tokens=20))[0] == wanted
    asyncio.run(go())
