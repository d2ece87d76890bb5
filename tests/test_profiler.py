"""The profiler: each dispatch is in one row, bytes are those of the operands, and a device's clock
measures what ran."""
import asyncio
import time

import pytest

from pyengine.compile import compile_model
from pyengine.device.null import NullDevice
from pyengine.kernels.spec import Caps
from pyengine.profiler import groups, profile, table, traffic
from pyengine.quant.kinds import WeightKind
from tests.checkpoints import CONFIG, checkpoint, close, engine, generated, refused

IDS = [5, 17, 82, 3, 42, 7, 8]
PLAN = compile_model(CONFIG, context=256, kv="f16", caps=Caps(software=True)).plan
PARTS = compile_model(CONFIG, context=256, kv="f16").plan  # with attention cut into parts


def test_each_dispatch_is_in_one_group_of_one_kernel():
    for program, dispatches in PLAN.programs.items():
        found = groups(PLAN, program)
        assert sorted(i for group in found for i in group) == list(range(len(dispatches)))
        for group in found:
            assert len({(dispatches[i].pipeline, dispatches[i].grid) for i in group}) == 1
    assert max(map(len, groups(PLAN, "decode"))) == CONFIG["num_hidden_layers"]


def by_op(program, op, plan=PLAN):
    return next(d for d in plan.programs[program] if d.node.op == op)


def test_bytes_of_a_matrix_are_its_own():
    dispatch = by_op("decode", "linear_add")
    weight = next(o for o in dispatch.operands if o.value.role == "weight")
    kind = WeightKind.parse(weight.value.dtype)
    read, written = traffic(dispatch, 64, 1)
    x, y = 4 * weight.value.shape[1], 4 * weight.value.shape[0]
    assert read == kind.nbytes(*weight.value.shape) + x + y + 128
    assert written == y


def test_bytes_of_the_cache_are_those_in_use():
    d, heads, kv_heads = 16, 4, 2
    read, written = traffic(by_op("decode", "attention"), 99, 1)
    assert read == 2 * kv_heads * d * 2 * 100 + 4 * heads * d + 128
    assert written == 4 * heads * d
    read, written = traffic(by_op("prefill16", "rope_kv"), 0, 16)
    assert written == 16 * 2 * kv_heads * d * 2 + 16 * 4 * heads * d
    assert read < 16 * 4 * (heads + 2 * kv_heads) * d + 3000
    read, written = traffic(by_op("decode", "rope_attention_parts", PARTS), 99, 1)
    assert read > 2 * kv_heads * d * 2 * 100 > 2 * kv_heads * d * 2 < written


def test_bytes_of_an_embedding_are_its_rows():
    read, written = traffic(by_op("prefill16", "embed"), 0, 16)
    table_value = by_op("prefill16", "embed").operands[1].value
    assert read == 16 * WeightKind.parse(table_value.dtype).nbytes(1, 64) + 16 * 4 + 128
    assert written == 16 * 64 * 4


@pytest.mark.parametrize("speed, repeats", [(1e-6, 512), (1e-3, None), (0.2, 1)])
def test_a_short_pass_is_repeated_until_it_can_be_measured(speed, repeats):
    """A device that needs `speed` seconds a dispatch, and that clocks round to 0.1 ms."""
    passes = []

    async def run():
        runner = await NullDevice().prepare(PLAN)
        runner.clocks = "gpu"

        async def clock(program, indices=None, times=1):
            count = (len(PLAN.programs[program]) if indices is None else len(indices)) * times
            passes.append(times)
            return round(count * speed, 4)

        runner.clock = clock
        return await profile(runner, PLAN, ("decode", "greedy"), pos=64, rows=1)

    report = asyncio.run(run())
    for row in report["kernels"]:
        assert row["us"] == pytest.approx(1e6 * speed, rel=0.2), row
        assert row["gb_s"] == pytest.approx(
            (row["read_bytes"] + row["written_bytes"]) / row["us"] / 1e3)
    assert sum(row["share"] for row in report["kernels"]) == pytest.approx(1)
    calls = PLAN.dispatches("decode", "greedy")
    assert sum(row["calls"] for row in report["kernels"]) == calls
    assert report["ms"] == pytest.approx(1e3 * speed * calls, rel=0.2)
    assert repeats is None or max(passes) == repeats


# a layer's sum repeated on its own output doubles each time
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("on", ["native", "numpy"])
def test_a_device_profiles_and_generates_on(on):
    one = engine(checkpoint(), on, burst=4)
    before = generated(one, IDS, max_tokens=9)
    began = time.perf_counter()
    report = asyncio.run(one.profile("decode", position=40, repeats=2))
    assert 0 < report["ms"] < 1e3 * (time.perf_counter() - began)
    assert report["clock"] in ("gpu", "wall") and report["position"] == 40
    assert {row["op"] for row in report["kernels"]} >= {"norm_linear", "sample_take"}
    assert all(row["us"] > 0 for row in report["kernels"])
    assert generated(one, IDS, max_tokens=9) == before
    assert asyncio.run(one.profile("prefill16", 0, 1))["rows"] == 16
    text = table(report)
    assert text.count("\n") == len(report["kernels"]) + 2 and "GPU" in text or "wall" in text
    close(one)


@pytest.mark.parametrize("arguments", [("sample",), ("nothing",), ("decode", -1), ("decode", 256),
                                       ("prefill16", 241), ("decode", 0, 0), ("decode", 0, 1.5)])
def test_what_cannot_be_profiled_is_refused(arguments):
    one = engine(checkpoint(), NullDevice())
    refused("E_BAD_REQUEST", lambda: asyncio.run(one.profile(*arguments)))
    assert generated(one, IDS, max_tokens=1)[1] == "length"
