"""Warm-up: every pipeline runs, nothing but the state changes, and large prefills only where they
are quick."""
import asyncio
import random
from dataclasses import replace

import pytest

from pyengine.compile import compile_model
from pyengine.device.null import NullDevice
from pyengine.warmup import LARGER_SECONDS, rehearse, steps, warm_up
from tests.checkpoints import CONFIG, checkpoint, close, device, engine, generated

IDS = [5, 17, 82, 3, 42, 7, 8]
PLAN = compile_model(CONFIG, context=256).plan


def test_the_steps_run_every_pipeline_of_the_programs():
    wanted = {d.pipeline for dispatches in PLAN.programs.values() for d in dispatches}
    ran = [PLAN.programs[name][i].pipeline for name, indices in steps(PLAN) for i in indices]
    assert set(ran) == wanted
    assert [name for name, _ in steps(PLAN)][:3] == ["decode", "greedy", "sample"]
    decode = len(PLAN.programs["decode"])
    assert len(ran) == decode + len(wanted - {d.pipeline for d in PLAN.programs["decode"]})


async def contents(runner):
    """{buffer: bytes} of all that a program may write and the next would read."""
    plan = runner.plan
    return {i: await runner.read(i, 0, b.nbytes // 4 * 4) for i, b in enumerate(plan.buffers)
            if b.part in ("kv", "state") and not b.name.startswith("readback")}


@pytest.mark.parametrize("on", ["numpy", "native"])
def test_it_changes_no_buffer_but_the_state(on):
    target = device(on)

    async def run():
        runner = await target.prepare(PLAN)
        try:
            await runner.ready()
            rng = random.Random(7)
            for i, data in (await contents(runner)).items():
                runner.write(i, 0, rng.randbytes(len(data)))
            before = await contents(runner)
            seen = []
            await warm_up(runner, PLAN, lambda *event: seen.append(event))
            return before, await contents(runner), seen
        finally:
            runner.close()

    before, after, seen = asyncio.run(run())
    changed = {PLAN.buffers[i].name for i in before if before[i] != after[i]}
    assert changed == {"state"} and not any(after[PLAN.buffer("state")])
    assert seen[-1][0] == seen[-1][1] == sum(len(indices) for _, indices in steps(PLAN))
    assert len(before) > 8


def test_the_text_is_the_same_with_and_without():
    texts = []
    for warm in (True, False):
        one = engine(checkpoint(), "native", burst=4, warm=warm)
        texts.append([generated(one, IDS, max_tokens=9), generated(one, IDS[:3], max_tokens=9)])
        close(one)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("larger, ran", [(0.01, ["prefill128", "prefill512"]),
                                         (LARGER_SECONDS + 0.1, ["prefill128"])])
def test_larger_prefills_run_while_they_are_quick(larger, ran):
    """Where each bucket has kernels of its own."""
    plan = compile_model(CONFIG | {"max_position_embeddings": 512}, context=512).plan
    for n, name in enumerate(("prefill16", "prefill128", "prefill512")):
        first = plan.programs[name][0]
        plan.pipelines.append(plan.pipelines[first.pipeline])
        plan.programs[name] = [type(first)(len(plan.pipelines) - 1, first.operands, first.grid,
                                           first.node)] + plan.programs[name][1:]
    now = [0.0]

    async def run():
        runner = await NullDevice().prepare(plan)
        original = runner.clock

        async def clock(program, indices=None, repeats=1):
            now[0] += larger
            return await original(program, indices, repeats)

        runner.clock = clock
        await warm_up(runner, plan, lambda *event: None, clock=lambda: now[0])
        return [names[0] for (names, _), in runner.runs]

    names = asyncio.run(run())
    assert "prefill16" in names and "decode" in names
    assert [name for name in names if name in ("prefill128", "prefill512")] == ran


class FakeLoop:
    """Prompts that take the times that `seconds(rows, prompts so far)` says."""
    prefill_sizes = [16, 128, 512]

    def __init__(self, seconds):
        self.now, self.ran, self._seconds = 0.0, [], seconds

    async def rehearse(self, rows):
        self.now += self._seconds(rows, len(self.ran))
        self.ran.append(rows)


@pytest.mark.parametrize("seconds, ran", [
    (lambda rows, n: 0.001 * rows / 16, [16, 16, 128, 128, 512, 512, 512]),
    (lambda rows, n: 0.25, [16]),                    # 128 rows might take eight times as long
    (lambda rows, n: 0.004 * rows / 16, [16, 16, 128, 128, 512]),  # no time for another
    (lambda rows, n: 0.05 * 0.85**n, [16] * 13),     # clocks that rise until the time is up
    (lambda rows, n: 0.06 if n == 0 else 0.001, [16] * 3 + [128] * 2 + [512] * 36)])
def test_a_rehearsal_ends_when_it_has_settled_or_is_late(seconds, ran):
    loop = FakeLoop(seconds)
    asyncio.run(rehearse(loop, clock=lambda: loop.now))
    assert (loop.ran, loop.now <= LARGER_SECONDS) == (ran, True)


def test_a_gpu_rehearses_and_nothing_of_it_stays(monkeypatch):
    """lavapipe taken for a GPU: the same tokens, and no figures of prompts that nobody wrote."""
    target, found = device("native"), []
    for software in (False, True):
        monkeypatch.setattr(target, "caps", replace(target.caps, software=software))
        one = engine(checkpoint(), target, burst=4)
        before = one.stats()
        ids, after = generated(one, IDS, max_tokens=9), one.stats()
        assert before["tokens"] == 0 and before["ttft_ms"] is None and after["reused_tokens"] == 0
        found.append((ids, one._loop.cache.ids))
        close(one)
    assert found[0] == found[1]


def test_only_a_gpu_rehearses(monkeypatch):
    """Not the oracle, nor lavapipe as it is."""
    async def rehearse(loop):
        raise AssertionError("a software device has no clocks to raise")

    monkeypatch.setattr("pyengine.engine.rehearse", rehearse)
    for on in ("numpy", "native"):
        close(engine(checkpoint(), on))
