"""Kernels with optional features: subgroups of several sizes change no number beyond rounding, f16
stays within its tolerance, and a model's logits within the engine's."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from pyengine import engine, kernels, selftest
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError
from pyengine.flags import FEATURES, variants_of
from pyengine.formats.checkpoint import open_path
from pyengine.ir.ops import HALVES
from tests.kernels import op_cases
from tests.kernels.one_op import faults, graph_of, run, written_part


GROUPS = op_cases.groups()
REDUCING = ("linear-affine4_g32_f16", "linear_add-affine8_g16_f32", "norm_gate_up-affine4_g16_bf16",
            "add_norm_linear-affine8_g128_f16", "norm_linear_conv-dense_f32",
            "combine_linear_add-affine4_g32_f16", "rmsnorm", "norm_add", "layernorm", "attention-f16x2",
            "attention_parts-f16x2", "rope_attention_parts-f32")
TILES = ("norm_linear-rows-affine4_g32_f16", "norm_gate_up-tiles-affine8_g32_f16",
         "linear_add-rows-affine4_g64_bf16", "linear-tiles-affine4_g32_f32")


@pytest.fixture(scope="module")
def device():
    try:
        return asyncio.run(NativeDevice.create())
    except EngineError as error:
        pytest.skip(str(error))


def featured(device, *names):
    """As on a GPU whose features kernels may use."""
    return replace(device.caps, software=False, variants=names or FEATURES)


def rounded(case, outcome):
    """What is wrong where products are rounded to f16: an error beyond 0.2% of the values' size,
    both as root mean squares, or anything but a rounding."""
    got, want = outcome.got["out0"], outcome.want["out0"]
    mask = written_part(case, "out0", got)
    size = np.sqrt(np.mean(want[mask].astype(np.float64) ** 2))
    error = np.sqrt(np.mean((got[mask].astype(np.float64) - want[mask]) ** 2))
    loose = replace(HALVES, atol=HALVES.atol * max(1.0, size))
    found = [] if error < 2e-3 * size else [f"{case.name}: error {error:.3g} of {size:.3g}"]
    return found + faults(case, outcome, loose)


async def check(device, case, caps):
    """The case by the kernel's default and by every other candidate; -> features that were used."""
    graph, _ = graph_of(case)
    spec, launch = kernels.choose(graph.nodes[0], graph.values, caps)
    tunable = spec.tunable(graph.nodes[0], graph.values, caps)
    found, used = [], {*launch.features}
    for candidate in tunable.candidates if tunable else ({},):
        one = replace(caps, tuning={tunable.key: candidate}) if tunable else caps
        _, launch = kernels.choose(graph.nodes[0], graph.values, one)
        used |= {*launch.features}
        outcome = await run(case, device, one)
        texts = rounded(case, outcome) if "f16" in launch.features else faults(case, outcome)
        found += [f"{candidate}: {text}" for text in texts]
    assert not found, "\n".join([f"{len(found)} faults", *found[:5]])
    return used


@pytest.mark.parametrize("group", REDUCING)
def test_subgroups_change_no_number(device, group):
    caps = featured(device, "subgroups")
    for case in op_cases.sample(group + "subgroups", GROUPS[group], 2):
        assert case.rows > 1 or asyncio.run(check(device, case, caps)) == {"subgroups"}


class SizedDevice(NativeDevice):
    """Subgroups of `size` threads, whatever the adapter's, by workgroup memory: what reduce.wgsl
    asks of a subgroup, named alike but for the size."""
    size = 32
    TEXT = """
var<workgroup> lot: array<f32, THREADS>;
fn of_lot(tid: u32, value: f32, highest: bool) -> f32 {
  workgroupBarrier();
  lot[tid] = value;
  workgroupBarrier();
  let first = tid / SIZE * SIZE;
  var found = lot[first];
  for (var i = first + 1u; i < min(first + SIZE, THREADS); i++) {
    found = select(found + lot[i], max(found, lot[i]), highest);
  }
  return found;
}
fn lot_xor(tid: u32, value: f32, mask: u32) -> f32 {
  workgroupBarrier();
  lot[tid] = value;
  workgroupBarrier();
  return select(lot[tid ^ mask], 1e9, mask >= SIZE || (tid ^ mask) >= THREADS);
}
"""
    CALLS = (("subgroupAdd(1u)", "min(SIZE, THREADS)"),
             ("subgroupAdd(value)", "of_lot(tid, value, false)"),
             ("subgroupMax(value)", "of_lot(tid, value, true)"),
             ("subgroupShuffleXor(sum, offset)", "lot_xor(tid, sum, offset)"))

    async def prepare(self, plan, progress=None):
        def sized(code):
            if "subgroupAdd" not in code:
                return code
            for call, other in self.CALLS:
                assert call in code
                code = code.replace(call, other)
            return f"{code}\nconst SIZE: u32 = {self.size}u;{self.TEXT}"

        pipelines = [replace(one, code=sized(one.code)) for one in plan.pipelines]
        return await super().prepare(replace(plan, pipelines=pipelines), progress)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_nor_do_subgroups_of_other_sizes(device, size):
    """Both where the adapter tells its smallest subgroup and where nothing is known."""
    sized = asyncio.run(SizedDevice.create())
    sized.size = size
    for group in REDUCING:
        case, = op_cases.sample(f"{group} {size}", GROUPS[group], 1)
        for least in {4, size}:
            caps = replace(featured(device, "subgroups"), subgroup=least)
            if case.rows == 1:
                assert asyncio.run(check(sized, case, caps)) == {"subgroups"}


def test_the_self_test_refuses_subgroups_smaller_than_the_adapter_says(device):
    """lavapipe has 4 threads, which its adapter does not tell."""
    sized = asyncio.run(NativeDevice.create())
    sized.caps = replace(sized.caps, subgroup=64)
    report = asyncio.run(selftest.selftest(sized))
    assert report.off == ["subgroups"] and not sized.caps.uses("subgroups")


@pytest.mark.parametrize("group", (*REDUCING[2:6], *TILES))
def test_f16_stays_within_its_tolerance(device, group):
    caps = featured(device, "f16")
    for case in op_cases.sample(group + "f16", GROUPS[group], 1):
        used = asyncio.run(check(device, case, caps))
    assert used == ({"f16"} if "dense" not in group or "tiles" not in group else set())


@pytest.mark.parametrize("model", ["llama", "qwen3"])
@pytest.mark.parametrize("names, most", [(("subgroups",), 2e-3), (("f16",), 8e-3)])
def test_logits_with_features(goldens, model, names, most):
    """f16 costs digits: four times the tolerance of f32, which is why it is no default."""
    golden = goldens / "models-tiny" / model
    ids = np.load(golden / "golden.npz")["ids"].tolist()

    async def logits(variants):
        target = await NativeDevice.create()
        target.caps = featured(target, *variants) if variants else target.caps
        loaded = await engine.load(await open_path(str(golden)), target, quant="affine4-g32",
                                   kv="f32", context=256, warm=False)
        first = np.frombuffer(await loaded.first_logits(ids), np.float32)
        more = np.frombuffer(await loaded.first_logits([*ids, ids[0]]), np.float32)
        await loaded.close()
        return np.stack([first, more])

    plain, other = asyncio.run(logits(())), asyncio.run(logits(names))
    assert 0 < np.abs(plain - other).max() < most


def test_a_software_device_and_one_without_them_use_no_features(device):
    case = GROUPS["norm_linear-affine4_g32_f16"][0]
    graph, _ = graph_of(case)
    caps = featured(device)
    for less in ({"software": True}, {"f16": False, "subgroups": False}, {"variants": ()},
                 {"variants": None, "vendor": "apple"}):
        _, launch = kernels.choose(graph.nodes[0], graph.values, replace(caps, **less))
        assert launch.features == ()
    usual = replace(caps, variants=None, vendor="NVIDIA")
    assert kernels.choose(graph.nodes[0], graph.values, usual)[1].features == ("subgroups",)


def test_features_have_names():
    assert variants_of("none") == () and variants_of("f16,subgroups") == FEATURES
    with pytest.raises(EngineError, match="variants"):
        variants_of("f16,subgroup")
