"""A kept plan says what the plan said, and an engine on it writes the same ids."""
import asyncio
from dataclasses import replace

import pytest

from pyengine.compile import compile_model
from pyengine.engine import attach
from pyengine.plan.kept import compact, dump, is_kept, restore
from pyengine.plan.plan import Pipeline
from pyengine.warmup import steps
from tests.checkpoints import checkpoint, close, device, engine, generated

IDS = [5, 17, 82, 3, 42, 7, 8]


def model_of(ck, **options):
    return compile_model(ck.config, ck.tensors, quant="keep", kv="f32", context=256, **options)


def shown(plan):
    """What a plan's programs launch, whatever the numbers of its pipelines."""
    return {name: [(plan.pipelines[d.pipeline], d.grid, d.operands) for d in dispatches]
            for name, dispatches in plan.programs.items()}


def test_compact_drops_what_nothing_uses_and_changes_nothing_else():
    plan = model_of(checkpoint()).plan
    spare = [Pipeline(f"spare{i}", f"// {i}", ("read",)) for i in range(3)]

    def moved(thing):
        return replace(thing, pipeline=thing.pipeline + 2 if thing.pipeline >= 0 else -1)

    grown = replace(
        plan, pipelines=[*spare[:2], *plan.pipelines, spare[2]],
        programs={name: list(map(moved, found)) for name, found in plan.programs.items()},
        uploads=list(map(moved, plan.uploads)))
    small = compact(grown)
    assert len(small.pipelines) == len(plan.pipelines) == len(grown.pipelines) - 3
    assert shown(small) == shown(plan) and small.uploads == plan.uploads
    assert any(upload.pipeline < 0 for upload in plan.uploads)


def test_what_is_restored_is_what_was_kept():
    model = replace(model_of(checkpoint()), ring=(7, 83))
    text = dump(model, steps(model.plan))
    found, todo = restore(text)
    assert found.plan.buffers == model.plan.buffers and found.plan.saved == model.plan.saved
    assert todo == steps(model.plan) and found.ring == (7, 83)
    assert found.plan.bytes_needed() == model.plan.bytes_needed()
    assert found.plan.dispatches("decode", "greedy") == model.plan.dispatches("decode", "greedy")
    for name in ("model_type", "context", "vocab", "quant", "kv"):
        assert getattr(found, name) == getattr(model, name)
    assert list(found.plan.programs) == list(model.plan.programs)
    assert is_kept(found.plan) and not is_kept(model.plan)
    assert dump(found, todo) == text  # the form is stable


@pytest.mark.parametrize("on", ["numpy", "native"])
def test_an_engine_on_a_kept_plan_writes_the_same(on):
    ck = checkpoint()
    planned = engine(ck, on, context=256)
    wanted = generated(planned, IDS, max_tokens=9)
    close(planned)

    async def attached():
        machine = device(on)
        model = model_of(ck, caps=machine.caps)
        runner = await machine.prepare(model.plan)

        async def replan():
            return model

        pair = restore(dump(model, steps(model.plan)))
        return await attach(pair, runner, machine, ck.files, replan), model

    one, model = asyncio.run(attached())
    try:
        assert generated(one, IDS, max_tokens=9) == wanted
        assert one.stats()["kept_plan"] and one.stats()["load_ms"]["warmup"] > 0
        report = asyncio.run(one.profile("decode", 3, 1))
        assert sum(row["calls"] for row in report["kernels"]) == model.plan.dispatches(
            "decode", "greedy")
    finally:
        close(one)
