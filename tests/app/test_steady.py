"""An engine whose device fails: the same text, or a coded error soon, and nothing left behind."""
import asyncio
from pathlib import Path

import pytest

from app.steady import MOST_LOSSES, SAFE_CONTEXT, Policy, load_steadily, policy_after
from app.tuning import FileCache, LoadingMark
from pyengine.decode.loop import CancelToken
from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_path
from tests.checkpoints import GREEDY, batches
from tests.faults import KINDS, Faults

TINY = Path(__file__).resolve().parents[1] / "goldens" / "models-tiny"
IDS = [5, 17, 99, 3, 42, 7, 8]
PENALISED = SamplingParams(temperature=1.1, repetition_penalty=1.3, frequency_penalty=0.4,
                           presence_penalty=0.2, logit_bias={7: 2.0}, seed=12)
LENGTH = 19


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


async def steady(faults, family="llama", **options):
    given = {"quant": "keep", "kv": "f32", "context": 96, "burst": 4} | options
    checkpoint = await open_path(str(TINY / family))
    return await load_steadily(checkpoint, faults.open, **given)


async def text(engine, params=GREEDY, ids=IDS, **options):
    found = await batches(engine, ids, params, max_tokens=LENGTH, **options)
    return [i for batch in found for i in batch.ids], found[-1].finish_reason


async def calm(family, params):
    faults = Faults()
    engine = await steady(faults, family)
    found = await text(engine, params)
    await engine.close()
    assert faults.live == 0 and len(found[0]) == LENGTH
    return found


@pytest.mark.parametrize("family", ["llama", "qwen3_5_text"])
@pytest.mark.parametrize("params", [GREEDY, PENALISED], ids=["greedy", "penalised"])
def test_an_answer_goes_on_after_a_loss(family, params):
    async def run():
        want = await calm(family, params)
        for kind in KINDS:
            for at in (1, 4, 9):
                faults = Faults()
                engine = await steady(faults, family)
                faults.plant(kind, at)
                assert await text(engine, params) == want, (kind, at)
                assert faults.left == 0 and faults.opened == 2
                assert engine.stats()["device"]["rebuilds"] == 1
                assert await text(engine, params) == want
                await engine.close()
                assert faults.live == 0
    asyncio.run(run())


def test_a_loss_while_loading_is_tried_again():
    async def run():
        want = await calm("llama", GREEDY)
        for kind, at in (("lost", 0), ("lost", 1), ("map", 5), ("validation", 9), ("memory", 2)):
            faults = Faults()
            faults.plant(kind, at)
            engine = await steady(faults)
            assert await text(engine) == want and faults.left == 0
            await engine.close()
            assert faults.live == 0
    asyncio.run(run())


def test_three_losses_in_a_minute_are_safe_mode_and_a_fourth_is_told():
    async def run():
        want = await calm("llama", GREEDY)
        faults, clock = Faults(), Clock()
        engine = await steady(faults, context=2000, policy=Policy(clock))
        for _ in range(MOST_LOSSES):
            assert engine.stats()["device"]["mode"] == "normal"
            faults.plant("lost", 5)
            assert await text(engine) == want
        said = engine.stats()["device"]
        assert said["mode"] == "safe" and "3 times" in said["notice"] and engine.context < 2000
        assert not engine._device.caps.fused
        clock.now += 30
        faults.plant("lost", 5)
        with pytest.raises(EngineError) as caught:
            await text(engine)
        assert caught.value.code == "E_DEVICE_LOST"
        clock.now += 61  # by then it may try again
        assert await text(engine) == want
        await engine.close()
        assert faults.live == 0
    asyncio.run(run())


def test_a_gpu_that_hangs_is_safe_mode_and_told_the_second_time():
    async def run():
        want = await calm("llama", GREEDY)
        faults, clock = Faults(), Clock()
        engine = await steady(faults, context=2000, policy=Policy(clock))
        faults.plant("hang", 5)
        assert await text(engine) == want
        said = engine.stats()["device"]
        assert said["mode"] == "safe" and "stopped answering" in said["notice"]
        clock.now += 599
        faults.plant("hang", 5)
        with pytest.raises(EngineError) as caught:
            await text(engine)
        assert caught.value.code == "E_NO_ANSWER" and "30 seconds" in caught.value.message
        clock.now += 601  # by then it may try again
        assert await text(engine) == want
        await engine.close()
        assert faults.live == 0
    asyncio.run(run())


def test_losses_far_apart_are_no_reason_for_safe_mode():
    async def run():
        faults, clock = Faults(), Clock()
        engine = await steady(faults, policy=Policy(clock))
        for _ in range(2 * MOST_LOSSES):
            clock.now += 31
            faults.plant("lost", 4)
            await text(engine)
        assert engine.stats()["device"]["mode"] == "normal"
        await engine.close()
    asyncio.run(run())


def test_memory_is_tried_once_more_with_a_shorter_context_and_then_told():
    async def run():
        faults = Faults()
        faults.plant("memory", 1)
        engine = await steady(faults, context=1000)
        assert engine.context == 500 and "500" in engine.stats()["device"]["notice"]
        faults.plant("memory", 3)
        with pytest.raises(EngineError) as caught:
            await text(engine)
        assert caught.value.code == "E_OUT_OF_MEMORY" and caught.value.facts["needed"] == 1 << 30
        await engine.close()
        assert faults.live == 0
    asyncio.run(run())


def test_a_reader_who_leaves_and_one_who_cancels_during_a_loss():
    async def run():
        faults = Faults()
        engine = await steady(faults)
        stream = engine.generate_ids(IDS, GREEDY, max_tokens=LENGTH)
        async for batch in stream:
            faults.plant("lost", 0)
            break
        await stream.aclose()
        token = CancelToken()
        token.cancel()
        ids, reason = await text(engine, cancel=token)
        assert (ids, reason) == ([], "cancel")
        assert len((await text(engine))[0]) == LENGTH
        await engine.close()
        assert faults.live == 0
    asyncio.run(run())


def test_what_is_no_failure_of_the_device_passes():
    async def run():
        faults = Faults()
        engine = await steady(faults)
        with pytest.raises(EngineError) as caught:
            await text(engine, ids=[1] * 97)
        assert caught.value.code == "E_CONTEXT_FULL" and faults.opened == 1
        await engine.first_logits(IDS)
        faults.plant("lost", 1)
        assert await engine.first_logits(IDS) and faults.opened == 2
        await engine.close()
    asyncio.run(run())


def test_a_page_that_ended_while_loading_starts_in_safe_mode(tmp_path):
    async def run():
        mark = LoadingMark(FileCache(tmp_path / "marks.json"))
        assert await mark.found() is None
        await mark.set("m")  # and the page is gone
        mark = LoadingMark(FileCache(tmp_path / "marks.json"))
        killed = await mark.found() == "m"
        checkpoint = await open_path(str(TINY / "llama"))
        policy = policy_after(killed, checkpoint, 2048)
        engine = await steady(Faults(), context=2048, policy=policy)
        said = engine.stats()["device"]
        assert said["mode"] == "safe" and engine.context == SAFE_CONTEXT
        assert "while the model was loading" in said["notice"]
        await engine.close()
        await mark.clear()
        assert await mark.found() is None
        assert not policy_after(False, checkpoint, 2048).safe
    asyncio.run(run())
