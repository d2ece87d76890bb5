"""Warm-up: every pipeline runs, nothing but the state changes, and large prefills only where they
are quick."""
import asyncio
import random

import pytest

from pyengine.compile import compile_model
from pyengine.device.null import NullDevice
from pyengine.warmup import LARGER_SECONDS, steps, warm_up
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
    async def run():
        runner = await device(on).prepare(PLAN)
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
