"""The self-test's plans that a build makes: each is, to the last byte, what planning would give, and
the planner is left alone where one is there."""
import asyncio
import json
from dataclasses import replace

import pytest

from app.build import wheels
from pyengine import selftest_kernels as sk
from pyengine.caps import Caps
from pyengine.flags import FEATURES
from pyengine.kernels import source
from pyengine.plan import export, stored


@pytest.fixture(scope="module")
def rendered():
    return source.render_all()


@pytest.fixture(scope="module")
def built(rendered):
    return sk.unpacked(asyncio.run(sk.plans("llama-mlx4", rendered)))


@pytest.fixture
def in_a_wheel(built, rendered, monkeypatch):
    nothing = {"plans": {}}
    monkeypatch.setattr(sk, "_plans", lambda name: built if name == "llama-mlx4" else nothing)
    monkeypatch.setattr(source, "every_rendered", lambda: rendered)


def planned(caps, runs=(sk.SHORT,), name="llama-mlx4", kv="f16"):
    return asyncio.run(sk._plan(name, caps, kv, runs))


def crossing(plan):
    """All that a device gets of a plan."""
    return (export.header_json(plan), export.program_ints(plan), plan.consts, plan.uploads,
            plan.saved, plan.text())


DEVICES = [Caps(f16=f16, subgroups=size > 0, subgroup=size or 4, variants=FEATURES, backend="webgpu")
           for f16 in (False, True) for size in (0, *sk.SUBGROUPS)]


@pytest.mark.parametrize("caps", DEVICES, ids=lambda c: f"f16={c.f16}, subgroup={c.subgroups * c.subgroup}")
def test_a_built_plan_is_what_planning_gives(caps, built, in_a_wheel, monkeypatch):
    """Also on a large device with another vendor's name: the tiny model needs none of it."""
    large = replace(caps, max_binding=1 << 32, max_buffer=1 << 34, max_storage_buffers=16, vendor="nvidia")
    live = asyncio.run(sk._planned("llama-mlx4", large, "f16", (sk.SHORT,)))
    monkeypatch.setattr(sk, "compile_model", None)
    plan, files = planned(sk.plain(large))
    assert crossing(plan) == crossing(live[0])
    assert [(f.name, f.size) for f in files] == [(f.name, f.size) for f in live[1]]
    assert len(built["plans"]) == len(DEVICES)


def test_what_no_build_has_planned_is_planned(in_a_wheel, monkeypatch):
    calls, real = [], sk.compile_model
    monkeypatch.setattr(sk, "compile_model", lambda *a, **k: calls.append(k) or real(*a, **k))
    caps = sk.plain(Caps())
    planned(caps)
    assert calls == []
    others = [{"caps": replace(caps, fused=False)}, {"caps": replace(caps, software=True)},
              {"caps": replace(caps, max_binding=1 << 20)}, {"caps": replace(caps, tuning={"a": 1})},
              {"caps": caps, "kv": "f32"}, {"caps": caps, "runs": (sk.SHORT, sk.CUT)},
              {"caps": caps, "name": "qwen3_5-mlx4"}]
    for number, other in enumerate(others, 1):
        plan, _ = planned(**other)
        assert len(calls) == number and plan.programs["decode"]


def test_shaders_are_their_constants_and_the_sites_templates(built, rendered):
    plan = {**json.loads(next(iter(built["plans"].values()))), "consts": json.loads(built["consts"])}
    assert stored.restore(plan, rendered).programs["decode"]
    for label, (head, *keys), _ in plan["pipelines"]:
        assert "fn main" not in head and keys and set(keys) <= set(rendered), label
    with pytest.raises(KeyError):
        stored.restore(plan, {})


def test_a_wheel_has_the_plans_of_every_model(built):
    files = wheels.jird_files()
    found = {name: sk.unpacked(files[f"{wheels.KNOWN}/{name}.plans"])
             for name in sk.MODELS}
    assert found["llama-mlx4"] == built
    assert all(list(row["plans"]) == list(built["plans"]) for row in found.values())
