"""The self-test on a GPU that computes wrongly: what it finds, and that answers are right with it."""
import asyncio
import json
import random
from pathlib import Path

import numpy as np
import pytest

from app.steady import load_steadily
from pyengine import selftest as st
from pyengine.device.api import Layout
from pyengine.device.native import NativeDevice, NativeRunner
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_path
from tests.checkpoints import GREEDY, batches

TINY = Path(__file__).resolve().parent / "goldens/models-tiny/llama"


class ZeroRunner(NativeRunner):
    """After `most` dispatches of a submit (or of a pass), further ones give zeros."""

    def _passes(self, passes):
        most, per = self.zeros
        encoder, done = self._device.create_command_encoder(), 0
        for dispatches in passes:
            done = 0 if per == "pass" else done
            self._encode(encoder, dispatches[:max(0, most - done)])
            for _, group, _ in dispatches[max(0, most - done):]:
                for buffer, offset, size in self.written[group]:
                    encoder.clear_buffer(buffer, offset, size)
            done += len(dispatches)
        return encoder

    def _group(self, pipeline, ranges):
        group = super()._group(pipeline, ranges)
        access = self.plan.pipelines[pipeline].access
        self.written[group] = [(self._buffers[b], offset, size) for (b, offset, size), a
                               in zip(ranges, access, strict=True) if a == "read_write"]
        return group


class ZeroDevice(NativeDevice):
    zeros = (1 << 30, "submit")

    async def prepare(self, plan, progress=None):
        runner = ZeroRunner(self.device, plan, lambda: self.layout)
        runner.zeros, runner.written = self.zeros, {}
        runner.prepare(progress)
        return runner


async def zero_device(most=1 << 30, per="submit"):
    try:
        device = await ZeroDevice.create()
    except EngineError as error:
        pytest.skip(str(error))
    device.zeros = (most, per)
    return device


class Memory(dict):
    async def get(self, key):
        return dict.get(self, key)

    async def put(self, key, text):
        self[key] = text


POWERS = [1 << n for n in range(9)]
SEEDED = sorted(random.Random(769).sample(range(1, 2 * st.WHOLE), 20))


async def with_zeros(most, count=32):
    """The tiny model's ids where dispatches beyond the `most`-th of a submit give zeros; stats."""
    golden = np.load(TINY / "golden.npz")
    engine = await load_steadily(await open_path(str(TINY)), lambda: zero_device(most),
                                 quant="keep", kv="f32", context=256, burst=16)
    found = await batches(engine, golden["ids"], GREEDY, max_tokens=count)
    stats = engine.stats()
    await engine.close()
    return [i for batch in found for i in batch.ids], stats


@pytest.mark.parametrize("most", POWERS)
def test_zeros_after_n_dispatches_change_no_text(most):
    ids, stats = asyncio.run(with_zeros(most))
    assert ids == np.load(TINY / "golden.npz")["greedy32"].tolist()
    assert stats["device"]["dispatches_per_submit"] == max(n for n in st.SIZES if n <= most)


@pytest.mark.long
def test_zeros_after_any_number_and_what_the_small_submits_cost():
    """The table of docs/reliability.md; -s shows it. Timings are this machine's."""
    golden = np.load(TINY / "golden.npz")["greedy32"].tolist()
    asyncio.run(with_zeros(1 << 30, 200))  # shaders are compiled
    whole = asyncio.run(with_zeros(1 << 30, 200))[1]
    print(f"\n| zeros after | dispatches a submit | tok/s |\n|---|---|---|\n| never | {st.WHOLE} | "
          f"{whole['decode_tps']:.0f} |")
    for most in sorted({*POWERS, *SEEDED}):
        ids, stats = asyncio.run(with_zeros(most, 200))
        layout = stats["device"]["dispatches_per_submit"]
        print(f"| {most} | {layout} | {stats['decode_tps']:.0f} |")
        assert ids[:32] == golden and len(ids) == 200, most
        assert layout == max(n for n in (*st.SIZES, st.WHOLE) if n <= most)


@pytest.mark.parametrize(("most", "per", "want"), [
    (1 << 30, "submit", (1, st.WHOLE)), (100, "pass", (1, 64)), (1, "pass", (1, 1)),
    (2000, "submit", (1, 256))])
def test_the_largest_layout_that_is_right(most, per, want):
    async def run():
        device, cache = await zero_device(most, per), Memory()
        first = await st.selftest(device, cache)
        assert device.layout == Layout(*want) and not first.cached and first.off == []
        device.layout = Layout()
        again = await st.selftest(device, cache)
        assert again.cached and device.layout == Layout(*want) and len(cache) == 1
        cache[next(iter(cache))] = "{damaged"
        assert not (await st.selftest(device, cache)).cached
        device.close()
    asyncio.run(run())


def test_passes_are_cut_where_dispatches_of_one_pass_do_not_wait():
    """Each pass of a submit is right on its own up to two dispatches, submits up to two passes."""
    layout = Layout(2, 4)
    assert layout.submits(list(range(10))) == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert Layout().submits([1, 2, 3]) == [[[1, 2, 3]]] and Layout(1, 4).submits([]) == [[]]


def test_nothing_right_is_an_error_and_leaves_nothing():
    async def run():
        device = await zero_device(0)
        with pytest.raises(EngineError) as caught:
            await st.selftest(device)
        assert caught.value.code == "E_GPU" and "self-test" in caught.value.message
        device.close()
    asyncio.run(run())


@pytest.mark.parametrize("name", ["f16", "subgroups", "kv_f16"])
def test_a_feature_that_computes_wrongly_is_not_used(name, monkeypatch):
    code, right = st.FEATURES[name]
    wrong = (code.replace("f16(1.0)", "f16(1.5)").replace("subgroupAdd(1u)", "(1u)")
             .replace("0.375", "0.376"))
    assert wrong != code

    async def run():
        device = await zero_device()
        if not {"f16": device.caps.f16, "subgroups": device.caps.subgroups}.get(name, True):
            pytest.skip("this GPU has no " + name)
        assert (await st.selftest(device)).off == []
        monkeypatch.setitem(st.FEATURES, name, (wrong, right))
        report = await st.selftest(device)
        assert report.off == [name]
        if name != "kv_f16":
            assert not getattr(device.caps, name) and device.info[name] is False
        device.close()
    asyncio.run(run())


def test_the_whole_test_reports_every_size():
    async def run():
        device = await zero_device(50)
        report = await st.selftest(device, full=True)
        json.dumps(st.asdict(report))
        chains = [row for row in report.rows if row["what"] == "chain"]
        assert {row["dispatches"] for row in chains} >= {1, 8, 32, 64, 128, 256, st.WHOLE}
        assert any(row["passes"] > row["submits"] for row in chains)
        assert any(row["submits"] > 1 and row["right"] for row in chains)
        assert report.layout == (1, 32)
        device.close()
    asyncio.run(run())


def test_known_answers_are_those_of_the_chain():
    words = list(range(64))
    for _ in range(5):
        words = [(words[(i + 1) % 64] * st.A + st.C) & st.MASK for i in range(64)]
    assert words == st.chained(5)
