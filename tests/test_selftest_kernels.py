"""The kernels' known answers: what they are, and that kernels which compute wrongly are found and
left apart, whatever they are."""
import asyncio
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from app.steady import load_steadily
from pyengine import selftest as st
from pyengine import selftest_kernels as sk
from pyengine.caps import Caps
from pyengine.compile import compile_model
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError
from pyengine.flags import FEATURES
from pyengine.formats.checkpoint import open_path
from tests import known_answers
from tests.checkpoints import GREEDY, batches
from tests.test_selftest import Memory

TINY = known_answers.TINY
MODEL = "llama-mlx4"


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
    row = sk.known(name)
    first, last, ids, lead = asyncio.run(known_answers.answers(row, row["prompt"]))
    np.testing.assert_allclose(first, np.frombuffer(row["logits"], "<f4"), atol=1e-4)
    np.testing.assert_allclose(last, np.frombuffer(row["last"], "<f4"), atol=1e-4)
    assert len(row["prompt"]) == sk.SHORT[0][-1][0] == sk.CUT[0][-1][0]
    assert ids == row["ids"] and len(set(ids)) > 3 and lead > sk.LIMIT
    assert np.ptp(first) > 20 * sk.LIMIT
    family, kind = name.split("-")
    assert row["tensors"] == known_answers.tensors(known_answers.fixture(family, kind), kind)


def templates(plan):
    """The kernels of a plan, without what tells one size from another."""
    return {pipeline.label.partition("#")[0] for pipeline in plan.pipelines}


def test_every_model_is_right_on_this_gpu_with_all_that_it_offers():
    """As a start runs it, with f16 and subgroups."""
    async def run():
        device, wrong = await wrong_device(), []
        for name in sk.MODELS:
            trial = await sk.Trial.begin(device, name)
            wrong += [] if await trial.right() else [name]
            trial.close()
        device.close()
        return wrong

    assert asyncio.run(run()) == []


# What a start leaves to the whole test and to the tests of the kernels: samplers but greedy, which
# use no feature, and weights from other types than the tiny models have.
UNTESTED = re.compile(r"sample_|logprob_|mask_logits|repack\.")
VOICE = {"frame_start", "speaker_rows", "rope_kv.f16.norm.frames"}  # of Kani-TTS beside LFM2


@pytest.mark.parametrize("features", [(), FEATURES], ids=["plain", "f16, subgroups"])
@pytest.mark.parametrize("folder", sorted(path.parent.name for path in TINY.glob("*/model.safetensors")))
def test_a_load_is_preceded_by_a_model_with_all_its_kernels(folder, features):
    caps = Caps(f16=True, subgroups=True, subgroup=32, variants=features)

    async def run():
        found = await open_path(str(TINY / folder))
        model = compile_model(found.config, found.tensors, kv="f16", context=128, caps=caps)
        tested, _ = await sk._planned(sk.like(found.config), sk.plain(caps), "f16", (sk.SHORT,))
        return templates(model.plan), templates(tested)

    used, tested = asyncio.run(run())
    untested = {name for name in used - tested if not UNTESTED.match(name)}
    assert untested == (VOICE if folder == "kani_tts_2" else set())


@pytest.mark.parametrize(("config", "name"), [
    ({"model_type": "llama"}, "llama-mixed"), ({"model_type": "smollm3"}, "llama-mixed"),
    ({"model_type": "mistral", "quantization": {"bits": 4}}, "llama-mlx4"),
    ({"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text"},
      "quantization": {"bits": 8}}, "qwen3_5-mlx4"),
    ({"model_type": "lfm2"}, "lfm2-mixed"), ({"model_type": "gemma3_text"}, "gemma3-mixed"),
    ({"model_type": "moonshine"}, "llama-mixed"), ({}, "llama-mixed"),
    ({"model_type": ["llama"]}, "llama-mixed"),
])
def test_which_model_is_like_another(config, name):
    assert sk.like(config) == name


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
        report = await st.selftest(device, cache, kernels=MODEL)
        assert report.off == want and report.kernels_ms > 0
        assert (device.caps.f16, device.caps.subgroups, device.caps.fused) == tuple(
            name not in want for name in ("f16", "subgroups", "fused"))
        trials = [row for row in report.rows if row["what"].startswith("kernels")]
        assert [row["right"] for row in trials] == [False] * (len(trials) - 1) + [True]
        again = await st.selftest(device, cache, kernels=MODEL)
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
            report = await st.selftest(device, cache, kernels=MODEL)
            found.append((report.cached, report.off))
        device.close()
        return found, len(cache)

    assert asyncio.run(run()) == ([(False, []), (False, ["f16"]), (True, []), (True, ["f16"])], 2)


def test_what_was_switched_off_is_tried_again_and_stays_off():
    """The diagnostics' button comes when a load has left f16 apart: its report is the next load's."""
    async def run():
        device, cache = await wrong_device(CASES["f16"][0]), Memory()
        await st.selftest(device, cache, kernels=MODEL)
        trials = len(sk.ways(device.caps))
        again = await st.selftest(device, None, kernels=MODEL)
        report = await st.selftest(device, cache, kernels=MODEL)
        device.close()
        return trials, again.off, report.off, device.caps.f16, device.info["f16"]

    assert asyncio.run(run()) == (3, ["f16"], ["f16"], False, False)


def test_a_report_without_the_kernels_is_not_enough_for_them():
    """A voice asks for no kernels, the chat's model after it does."""
    async def run():
        device, cache = await wrong_device(CASES["f16"][0]), Memory()
        first = await st.selftest(device, cache)
        second = await st.selftest(device, cache, kernels=MODEL)
        third = await st.selftest(device, cache, kernels=MODEL)
        device.close()
        return [(one.cached, one.off, one.kernels_ms > 0) for one in (first, second, third)]

    assert asyncio.run(run()) == [(False, [], False), (False, ["f16"], True), (True, ["f16"], True)]


def test_kernels_of_one_family_that_compute_wrongly_are_found_before_its_models_load():
    """And do not keep another family from loading; the whole test speaks for all."""
    async def run():
        device, cache = await wrong_device(lambda label, code: label.startswith("matvec")
                                           and ".conv." in label), Memory()
        found = []
        for name in ("llama-mlx4", "qwen3_5-mlx4"):
            report = await st.selftest(device, cache, kernels=name)
            found.append((name, report.off))
        device.close()
        return found

    assert asyncio.run(run()) == [("llama-mlx4", []),
                                  ("qwen3_5-mlx4", ["f16", "subgroups", "fused"])]


@pytest.mark.long
def test_the_whole_test_tells_which_kernels_are_wrong_in_every_way():
    """And lets models load that do not use them, but no other, whatever an earlier start found."""
    async def run():
        sound, cache = await wrong_device(), Memory()
        await st.selftest(sound, cache, kernels="llama-mixed")
        sound.close()
        device = await wrong_device(lambda label, code: "affine8" in label)
        report = await st.selftest(device, cache, full=True, kernels="llama-mixed")
        wrong = {row["what"].split()[2] for row in report.rows if not row["right"]}
        again = await st.selftest(device, cache, kernels="qwen3-mlx4")
        with pytest.raises(EngineError) as caught:
            await st.selftest(device, cache, kernels="llama-mixed")
        device.close()
        return wrong, report.off, again.cached, caught.value.code

    mixed = {name for name in sk.MODELS if name.endswith("mixed")}
    assert asyncio.run(run()) == (mixed, [], True, "E_GPU")


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
        await st.selftest(device, kernels=MODEL)
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
            await st.selftest(device, kernels=MODEL)
        assert caught.value.code == "E_GPU" and "plainest kernels" in caught.value.message
        device.close()

    asyncio.run(run())


@pytest.mark.long
def test_the_whole_test_tries_every_model_and_every_way_and_speaks_for_all():
    async def run():
        device, cache = await wrong_device(), Memory()
        report = await st.selftest(device, cache, full=True, kernels=MODEL)
        json.dumps(st.asdict(report))
        assert all([(await st.selftest(device, cache, kernels=name)).cached for name in sk.MODELS])
        device.close()
        return [row["what"] for row in report.rows if row["what"].startswith("kernels")], report

    tried, report = asyncio.run(run())
    others = len(sk.ways(Caps(f16=True, subgroups=True, variants=FEATURES))) - 1
    assert len(tried) == len(sk.MODELS) + others == 16 and len(set(tried)) == 16
    assert all(row["right"] for row in report.rows) and report.off == []


def test_a_cpu_that_pretends_to_be_a_gpu_is_asked_only_in_the_whole_test():
    assert sk.ways(Caps(f16=True, subgroups=True, software=True, variants=FEATURES)) == [(), ("fused",)]
    assert sk.ways(Caps(fused=False)) == [()]
