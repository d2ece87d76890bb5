"""Every op's kernels on a GPU against the op's numpy reference, at awkward sizes."""

import asyncio
import struct
from dataclasses import replace

import numpy as np
import pytest

from pyengine import kernels
from pyengine.decode import state as st
from pyengine.errors import EngineError
from pyengine.ir.verify import verify
from pyengine.kernels.spec import Caps
from pyengine.models.builder import Builder, Weights
from pyengine.plan.schedule import make_plan
from pyengine.quant import affine
from pyengine.quant.kinds import WeightKind
from tests.checkpoints import device as open_device
from tests.kernels import op_cases
from tests.kernels.one_op import Case, faults, graph_of, packed_weight, run

GROUPS = op_cases.groups()
QUICK = {"rope_kv": 8, "bias_rope_kv": 8, "norm_rope_kv": 8, "attention": 12, "attention_parts": 10,
         "rope_attention_parts": 10, "attention_combine": 6, "gated_combine": 6, "rmsnorm": 4,
         "norm_add": 4, "add": 3,
         "silu_mul": 3, "gelu_mul": 3, "take_last": 3, "add_norm_linear": 1, "add_norm_gate_up": 1,
         "short_conv": 6, "gated_conv": 6, "gated_norm": 4, "delta_step": 6, "delta_step_norm": 6,
         "norm_linear_conv": 2, "sigmoid_gate": 3, "delta_chunks": 6, "delta_rows": 6,
         "causal_conv": 6, "snake_conv": 8, "snake_conv_add": 6, "snake_conv_into": 6,
         "snake_conv_clamp": 6, "snake_up": 8, "fsq_dequant": 4, "weight_norm": 4,
         "unfold": 5, "tanh": 3, "group_stats": 5, "group_norm": 5, "layernorm": 5, "bias_gelu": 4,
         "bias_add": 3, "bias_silu_mul": 3, "source_attention": 8, "store_kv": 4, "speech_mask": 30,
         "speaker_rows": 9}


@pytest.fixture(scope="module")
def device():
    return open_device("native")


def both_caps(device):
    """As on this machine, and as on the other sort: a CPU that pretends to be a GPU gets other lanes."""
    return [device.caps, replace(device.caps, software=not device.caps.software)]


def featured(device):
    """As on a GPU whose subgroups kernels may use."""
    return replace(device.caps, software=False, variants=("subgroups",))


async def check(device, cases, every_caps):
    """Cases run with both sorts of caps that have a kernel, or with the two in turn."""
    found = []
    for i, case in enumerate(cases):
        caps = both_caps(device)
        graph, _ = graph_of(case)
        caps = [one for one in caps if kernels.supported(graph.nodes[0], graph, one)]
        if not every_caps:
            caps = [caps[i % len(caps)]]
        for one in caps:
            found += [f"software={one.software} {text}"
                      for text in faults(case, await run(case, device, one))]
    assert not found, "\n".join([f"{len(found)} faults", *found[:5]])


@pytest.mark.parametrize("group", GROUPS)
def test_op(device, group):
    count = QUICK.get(group.split("-")[0], 1 if "-rows-" in group or "-tiles-" in group
                      or "embed" in group else 2)
    asyncio.run(check(device, op_cases.sample(group, GROUPS[group], count), False))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("group", GROUPS)
def test_op_at_every_size(device, group):
    asyncio.run(check(device, GROUPS[group], True))


@pytest.mark.parametrize("group", [g for g in GROUPS if "-" not in g or "affine4_g32_f16" in g
                                   or g.endswith(("-f32", "f16x2"))])
def test_a_stopped_op_writes_nothing(device, group):
    case, = op_cases.sample(group + "stopped", GROUPS[group], 1)
    graph, _ = graph_of(case)
    caps = next(c for c in both_caps(device) if kernels.supported(graph.nodes[0], graph, c))
    outcome = asyncio.run(run(case, device, caps, stopped=True))
    for name, before in outcome.before.items():
        assert outcome.got[name].tobytes() == before.tobytes(), f"{case.name}: {name} changed"


async def check_candidates(device, case):
    """The case with every candidate of its tunable kernel, on both sorts of caps."""
    graph, _ = graph_of(case)
    found, launches, tunables = [], set(), []
    for caps in (*both_caps(device), featured(device)):
        if not kernels.supported(graph.nodes[0], graph, caps):
            continue
        spec, _ = kernels.choose(graph.nodes[0], graph.values, caps)
        tunable = spec.tunable(graph.nodes[0], graph.values, caps)
        if tunable is None:
            continue
        tunables.append(tunable)
        for candidate in tunable.candidates:
            tuned = replace(caps, tuning={tunable.key: candidate})
            launches.add(str(kernels.choose(graph.nodes[0], graph.values, tuned)[1]))
            found += [f"{candidate}: {text}" for text in faults(case, await run(case, device, tuned))]
    assert not found, "\n".join([f"{len(found)} faults", *found[:5]])
    different = {str((t.key, c)) for t in tunables for c in t.candidates}
    assert len(launches) == len(different) > 1, "a candidate changes nothing"


@pytest.mark.parametrize("group", [g for g in GROUPS if g.endswith("affine4_g32_f16")
                                   and "rows" not in g and "embed" not in g
                                   or "-tiles-dense_f16" in g])
def test_each_candidate_of_a_tunable_kernel(device, group):
    for case in op_cases.sample(group + "tuned", GROUPS[group], 2):
        asyncio.run(check_candidates(device, case))


def test_a_choice_that_is_no_candidate_is_the_default():
    case = GROUPS["linear-affine4_g32_f16"][0]
    graph, _ = graph_of(case)
    spec, default = kernels.choose(graph.nodes[0], graph.values, Caps())
    key = spec.tunable(graph.nodes[0], graph.values, Caps()).key
    caps = Caps(tuning={key: {"groups": 3, "lanes": 5, "rows": 1}})
    assert kernels.choose(graph.nodes[0], graph.values, caps)[1] == default


# ---- what the harness itself would miss -----------------------------------------------------------


def test_faults_are_seen(device):
    """A wrong value, a value that is not a number and a write outside the op's part."""
    case = Case("linear", (("width", 14),),
                (("x", (1, 36), "f32"), ("weight", (7, 36), "dense_f32")))
    outcome = asyncio.run(run(case, device, device.caps))
    assert faults(case, outcome) == []
    for index, value in (((0, 3), 5.0), ((0, 3), np.nan), ((0, 9), 0.0)):
        outcome.got["out0"] = outcome.got["out0"].copy()
        kept, outcome.got["out0"][index] = outcome.got["out0"][index], value
        assert faults(case, outcome), value
        outcome.got["out0"][index] = kept


# ---- limits ------------------------------------------------------------------------------------


NORM = Case("norm_linear", (("eps", 1e-5),), (
    ("x", (1, 4096), "f32"), ("gain", (4096,), "f32"), ("weight", (7, 4096), "dense_f32")))


@pytest.mark.parametrize("software", [True, False])
@pytest.mark.parametrize("memory, supported", [(16384, False), (32768, True)])
def test_a_norm_is_folded_in_only_where_its_row_fits(software, memory, supported):
    graph, _ = graph_of(NORM)
    caps = Caps(software=software, workgroup_memory=memory)
    assert kernels.supported(graph.nodes[0], graph, caps) is supported


@pytest.mark.parametrize("op, software", [("linear_add", True), ("norm_linear", True),
                                          ("norm_gate_up", True), ("norm_linear_conv", False),
                                          ("add_norm_linear", False), ("add_norm_gate_up", False)])
def test_some_fused_matrices_are_for_one_row(op, software):
    case = next(c for c in GROUPS[f"{op}-affine4_g32_f16"])
    graph, _ = graph_of(case)
    values = {name: replace(value, shape=(16, *value.shape[1:])) if name == "x" else value
              for name, value in graph.values.items()}
    graph.values = values
    assert not kernels.supported(graph.nodes[0], graph, Caps(software=software))


def test_a_grid_beyond_the_limit_is_refused():
    graph, _ = graph_of(next(c for c in GROUPS["rmsnorm"] if c.rows == 128))
    with pytest.raises(EngineError) as caught:
        kernels.choose(graph.nodes[0], graph.values, Caps(max_grid=127))
    assert caught.value.code == "E_UNSUPPORTED_CONFIG" and "[128, 1, 1]" in str(caught.value)


async def cut_linear(device, kind, rows, most):
    """A matrix larger than a buffer, as the builder cuts it -> (columns of y, reference, nodes)."""
    columns, count, rng = 96, 83, np.random.default_rng(rows)
    weights = Weights(lambda tensor, width, embedding: kind, most=most)
    b = Builder("op", rows, None, weights)
    x = b._io("x", (rows, columns), "f32")
    b.linear(x, ("w", count), into=b._io("y", (rows, count), "f32"))
    plan = make_plan([verify(b.graph)], weights, {}, device.caps)
    packed = packed_weight(kind, (count, columns), rng)
    values = rng.normal(size=(rows, columns)).astype(np.float32)
    runner = await device.prepare(plan)
    for buffer in weights.buffers.values():
        first = buffer.parts[0].first
        data = packed[first:first + buffer.rows].tobytes()
        runner.write(plan.buffer(buffer.name), 0, data)
    runner.write(plan.buffer("x"), 0, values.tobytes())
    runner.write(plan.buffer("state"), 0, struct.pack(f"<{st.WORDS}I", 0, rows, *[0] * 30))
    data = await runner.run([(("op",), 1)], read=(plan.buffer("y"), 0, 4 * rows * count))
    runner.close()
    got = np.frombuffer(data, np.float32).reshape(rows, count)
    return got, values @ affine.unpack(packed, kind, columns).T, b.graph.nodes


@pytest.mark.parametrize("kind", ["affine4_g32_f16", "affine8_g16_f32", "dense_bf16"])
@pytest.mark.parametrize("rows", [1, 17])
def test_a_matrix_beyond_one_buffer_is_cut_by_rows(device, kind, rows):
    kind = WeightKind.parse(kind)
    limit = 40 * 4 * kind.row_words(96)  # 40 rows fit, so that 32 are taken
    got, want, nodes = asyncio.run(cut_linear(device, kind, rows, limit))
    assert [node.op for node in nodes] == ["linear", "linear_into", "linear_into"]
    np.testing.assert_allclose(got, want, atol=2e-5, rtol=2e-5)
