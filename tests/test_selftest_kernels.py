"""The kernels' known answers: what they are, and that kernels which compute wrongly are found and
left apart, whatever they are."""
import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.steady import load_steadily
from pyengine import selftest as st
from pyengine import selftest_kernels as sk
from pyengine.caps import Caps
from pyengine.device.native import NativeDevice
from pyengine.device.numpy_ref import NumpyDevice
from pyengine.engine import load
from pyengine.errors import EngineError
from pyengine.flags import FEATURES
from pyengine.formats.checkpoint import open_path
from tests.checkpoints import GREEDY, batches
from tests.test_selftest import Memory

TINY = Path(__file__).resolve().parent / "goldens/models-tiny"
TWINS = {"llama": "llama-mlx4", "hybrid": "qwen3_5_text-mlx4"}


class WrongDevice(NativeDevice):
    """A GPU, rather than a CPU that pretends to be one, on which the kernels that `wrong(label,
    code)` names leave out the last row of every matrix."""

    wrong = staticmethod(lambda label, code: False)

    async def prepare(self, plan, progress=None):
        def less(match):
            return f"const N: u32 = {int(match[1]) - 1}u"

        pipelines = [replace(p, code=re.sub(r"const N: u32 = (\d+)u", less, p.code))
                     if self.wrong(p.label, p.code) else p for p in plan.pipelines]
        plan.pipelines[:] = pipelines
        return await super().prepare(plan, progress)


async def wrong_device(wrong=None):
    try:
        device = await WrongDevice.create()
    except EngineError as error:
        pytest.skip(str(error))
    device.caps = replace(device.caps, software=False, variants=FEATURES)
    if not (device.caps.f16 and device.caps.subgroups):
        pytest.skip("this GPU lacks f16 or subgroups")
    if wrong:
        device.wrong = wrong
    return device


@pytest.mark.parametrize("name", sk.MODELS)
def test_the_known_answers_are_those_of_the_references(name):
    twin = TINY / TWINS[name]
    for file in ("config.json", "model.safetensors"):
        assert (sk.FOLDER / name / file).read_bytes() == (twin / file).read_bytes()

    async def run():
        engine = await load(await open_path(str(twin)), NumpyDevice(), kv="f32", context=128)
        row = sk.known()[name]
        logits = np.frombuffer(await engine.first_logits(row["prompt"]), "<f4")
        found = await batches(engine, row["prompt"], GREEDY, max_tokens=len(row["ids"]))
        ids, margins = [i for batch in found for i in batch.ids], []
        for i in range(len(ids)):
            last = np.frombuffer(await engine.first_logits(row["prompt"] + ids[:i]), "<f4")
            top = np.sort(last)
            margins.append(top[-1] - top[-2])
        await engine.close()
        return logits, last, ids, margins

    logits, last, ids, margins = asyncio.run(run())
    row = sk.known()[name]
    np.testing.assert_allclose(logits, np.frombuffer(row["logits"], "<f4"), atol=1e-4)
    np.testing.assert_allclose(last, np.frombuffer(row["last"], "<f4"), atol=1e-4)
    assert len(row["prompt"]) == sk.SHORT[0][-1][0] == sk.CUT[0][-1][0]
    assert ids == row["ids"] and len(set(ids)) > 3 and min(margins) > sk.LIMIT
    assert np.ptp(logits) > 20 * sk.LIMIT


CASES = {
    "nothing": (None, []),
    "f16": (lambda label, code: "enable f16" in code and "const N" in code, ["f16"]),
    "subgroups": (lambda label, code: "enable subgroups" in code, ["subgroups"]),
    "both": (lambda label, code: "enable " in code, ["f16", "subgroups"]),
    "fused": (lambda label, code: ".norm" in label, ["f16", "subgroups", "fused"]),
}


LONG = ("subgroups", "both", "nothing", "fused")


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.long) if case in LONG else case
                                  for case in CASES])
def test_kernels_that_compute_wrongly_are_left_apart(case):
    wrong, want = CASES[case]

    async def run():
        device, cache = await wrong_device(wrong), Memory()
        report = await st.selftest(device, cache, kernels=True)
        assert report.off == want and report.kernels_ms > 0
        assert (device.caps.f16, device.caps.subgroups, device.caps.fused) == tuple(
            name not in want for name in ("f16", "subgroups", "fused"))
        trials = [row for row in report.rows if row["what"].startswith("kernels")]
        assert [row["right"] for row in trials] == [False] * (len(trials) - 1) + [True]
        again = await st.selftest(device, cache, kernels=True)
        assert again.cached and again.off == want
        device.close()

    asyncio.run(run())


def test_another_list_of_variants_is_tested_by_itself():
    """What was right with subgroups alone says nothing of f16."""
    async def run():
        device, cache = await wrong_device(CASES["f16"][0]), Memory()
        offered = device.caps
        found = []
        for variants in (("subgroups",), FEATURES, ("subgroups",), FEATURES):
            device.caps = replace(offered, variants=variants)
            report = await st.selftest(device, cache, kernels=True)
            found.append((report.cached, report.off))
        device.close()
        return found, len(cache)

    assert asyncio.run(run()) == ([(False, []), (False, ["f16"]), (True, []), (True, ["f16"])], 2)


def test_what_was_switched_off_is_tried_again_and_stays_off():
    """The diagnostics' button comes when a load has left f16 apart: its report is the next load's."""
    async def run():
        device, cache = await wrong_device(CASES["f16"][0]), Memory()
        await st.selftest(device, cache, kernels=True)
        trials = len(sk.ways(device.caps))
        again = await st.selftest(device, None, kernels=True)
        report = await st.selftest(device, cache)
        device.close()
        return trials, again.off, report.off, device.caps.f16, device.info["f16"]

    assert asyncio.run(run()) == (3, ["f16"], ["f16"], False, False)


def test_a_report_without_the_kernels_is_not_enough_for_them():
    """A voice asks for no kernels, the chat's model after it does."""
    async def run():
        device, cache = await wrong_device(CASES["f16"][0]), Memory()
        first = await st.selftest(device, cache)
        second = await st.selftest(device, cache, kernels=True)
        third = await st.selftest(device, cache)
        device.close()
        return [(one.cached, one.off, one.kernels_ms > 0) for one in (first, second, third)]

    assert asyncio.run(run()) == [(False, [], False), (False, ["f16"], True), (True, ["f16"], True)]


class Calls:
    """A runner that notes (its plan's programs, call) of what waits for the GPU."""

    def __init__(self, runner, log):
        self._runner, self._log = runner, log
        log.append((set(runner.plan.programs), "prepare"))

    def __getattr__(self, name):
        if name in ("run", "read", "upload", "ready"):
            self._log.append((set(self._runner.plan.programs), name))
        return getattr(self._runner, name)


def test_the_kernels_compile_while_the_chains_run_and_cost_few_waits():
    log = []

    async def run():
        device = await wrong_device()
        prepare = device.prepare

        async def noted(plan, progress=None):
            return Calls(await prepare(plan, progress), log)

        device.prepare = noted
        await st.selftest(device, kernels=True)
        device.close()

    asyncio.run(run())
    kernels = [(i, call) for i, (programs, call) in enumerate(log) if "decode" in programs]
    chains = [i for i, (programs, call) in enumerate(log) if "pair" in programs and call == "run"]
    assert kernels[0] == (1, "prepare") and chains[0] > 1 and chains[-1] < kernels[1][0]
    assert [call for _, call in kernels] == ["prepare", "upload", "ready", "run", "run", "read"]
    assert log[1][0] == {"decode", "prefill128", "greedy"}


def test_an_answer_on_a_gpu_whose_f16_kernels_are_wrong():
    golden = np.load(TINY / "llama/golden.npz")

    async def run():
        engine = await load_steadily(
            await open_path(str(TINY / "llama")), lambda: wrong_device(CASES["f16"][0]),
            quant="keep", kv="f32", context=256)
        found = await batches(engine, golden["ids"], GREEDY, max_tokens=32)
        said = engine.stats()["device"]
        await engine.close()
        return [i for batch in found for i in batch.ids], said

    ids, said = asyncio.run(run())
    assert ids == golden["greedy32"].tolist()
    assert said["selftest"]["off"] == ["f16"] and said["f16"] is False


@pytest.mark.long
def test_kernels_that_are_wrong_in_every_way_are_an_error():
    async def run():
        device = await wrong_device(lambda label, code: "const N: u32" in code)
        with pytest.raises(EngineError) as caught:
            await st.selftest(device, kernels=True)
        assert caught.value.code == "E_GPU" and "plainest kernels" in caught.value.message
        device.close()

    asyncio.run(run())


@pytest.mark.long
def test_the_whole_test_tries_both_models_in_every_way():
    async def run():
        device = await wrong_device()
        report = await st.selftest(device, full=True, kernels=True)
        json.dumps(st.asdict(report))
        device.close()
        return [row["what"] for row in report.rows if row["what"].startswith("kernels")], report

    tried, report = asyncio.run(run())
    assert len(tried) == 2 * len(sk.ways(Caps(f16=True, subgroups=True, variants=FEATURES))) == 10
    assert all(row["right"] for row in report.rows) and report.off == []


def test_a_cpu_that_pretends_to_be_a_gpu_is_asked_only_in_the_whole_test():
    assert sk.ways(Caps(f16=True, subgroups=True, software=True, variants=FEATURES)) == [(), ("fused",)]
    assert sk.ways(Caps(fused=False)) == [()]
