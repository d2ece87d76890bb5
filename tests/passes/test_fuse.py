"""Fusion: applied where it may be, left alone where it may not, and the same numbers either way."""
import asyncio
from dataclasses import replace

import numpy as np
import pytest

from pyengine import kernels
from pyengine.compile import compile_model
from pyengine.decode.loop import DecodeLoop
from pyengine.ir import sample_ops  # noqa: F401  registers the sampling ops
from pyengine.ir.graph import Graph, Node, Value
from pyengine.ir.ops import OPS
from pyengine.ir.verify import verify
from pyengine.kernels.spec import Caps
from pyengine.passes.fuse import fuse
from tests.checkpoints import CONFIG, checkpoint, config, device, first_logits, generated, tensors

EPS = (("eps", 1e-5),)


def graph(nodes, outputs, rows=1):
    """A graph of `nodes` over x, r (rows, 64), gains g, weights w (64, 64), gu (192, 64) and k."""
    g = Graph("g", rows)
    known = {
        "x": ((rows, 64), "f32", "io"),
        "r": ((rows, 64), "f32", "io"),
        "state": ((32,), "u32", "io"),
        "g": ((64,), "f32", "weight"),
        "g2": ((64,), "f32", "weight"),
        "w": ((64, 64), "dense_f32", "weight"),
        "gu": ((192, 64), "dense_f32", "weight"),
        "half": ((32, 64), "dense_f32", "weight"),
    }
    for name in {n for node in nodes for n in node.operands}:
        shape, dtype, role = known.get(name, ((rows, 64), "f32", "temp"))
        if role == "temp":
            op = next(node.op for node in nodes if name in node.outputs)
            shape = {"silu_mul": (rows, 96), "gelu_mul": (rows, 96),"norm_linear": (rows, 192)}.get(op, shape)
            shape = (rows, 192) if name == "wide" else shape
        g.add(Value(name, shape, dtype, role, name if role == "weight" else ""))
    g.nodes, g.outputs = nodes, outputs
    return verify(g)


def ops_after(g, supported=lambda node, graph: True):
    fused = fuse(g, kernels.FUSIONS, supported, lambda node: OPS[node.op].mutates)
    return [node.op for node in verify(fused).nodes], fused


def norm(out="h", x="x"):
    return Node("rmsnorm", (x, "g", "state"), (out,), EPS)


def linear(x="h", out="y", weight="w"):
    return Node("linear", (x, weight, "state"), (out,))


def add(y="y", out="z", x="r"):
    return Node("add", (x, y, "state"), (out,))


def test_each_fusion_applies():
    ops, fused = ops_after(graph([norm(), linear()], ("y",)))
    assert ops == ["norm_linear"] and fused.nodes[0] == Node(
        "norm_linear", ("x", "g", "w", "state"), ("y",), EPS
    )
    ops, fused = ops_after(graph([linear("x"), add()], ("z",)))
    assert ops == ["linear_add"] and fused.nodes[0] == Node(
        "linear_add", ("x", "w", "r", "state"), ("z",)
    )
    glu = Node("silu_mul", ("wide", "state"), ("a",))
    ops, fused = ops_after(graph([norm(), linear(out="wide", weight="gu"), glu], ("a",)))
    assert ops == ["norm_gate_up"]
    assert fused.nodes[0] == Node("norm_gate_up", ("x", "g", "gu", "state"), ("a",), EPS)
    assert "h" not in fused.values and "wide" not in fused.values


def behind(eps=EPS):
    """A norm behind a sublayer, the sum, and its two readers: norm_linear's part, and a later add."""
    first = Node("rmsnorm", ("x", "g2", "state"), ("p",), eps)
    return [first, add("p", out="s"), norm(x="s"), linear(), Node("add", ("s", "y", "state"), ("z",))]


def test_a_sum_with_later_readers_is_kept():
    ops, fused = ops_after(graph(behind(), ("z",)))
    assert ops == ["add_norm_linear", "add"]
    inputs = ("x", "g2", "r", "g", "w", "state")
    assert fused.nodes[0] == Node("add_norm_linear", inputs, ("y", "s"), EPS)
    assert ops_after(graph(behind()[:4], ("y", "s")))[0] == ["add_norm_linear"]
    glu = [*behind()[:3], linear(out="wide", weight="gu"),
           Node("gelu_mul", ("wide", "state"), ("a",), (("act", "gelu_tanh"),))]
    ops, fused = ops_after(graph(glu, ("a", "s")))
    assert ops == ["add_norm_gate_up"] and fused.nodes[0].attr("act") == "gelu_tanh"


def test_norms_of_another_kind_are_not_joined():
    """One fused node has one eps and one shift."""
    for other in ((("eps", 1e-6),), (*EPS, ("shift", 1.0))):
        assert ops_after(graph(behind(other), ("z",)))[0] == ["norm_add", "norm_linear", "add"]


def test_a_sum_that_is_read_earlier_is_not_moved():
    nodes = behind()
    nodes.insert(2, Node("take_last", ("s", "state"), ("last",)))
    assert ops_after(graph(nodes, ("z", "last")))[0] == ["norm_add", "take_last",
                                                            "norm_linear", "add"]


REFUSED = {
    "two readers": ([norm(), linear(), linear(out="y2")], ("y", "y2")),
    "read twice by one node": ([linear("x"), add("y", x="y")], ("z",)),
    "an output": ([norm(), linear()], ("h", "y")),
    "another slot": ([linear("x"), add("r", x="y")], ("z",)),
    "another consumer": ([norm(), Node("take_last", ("h", "state"), ("last",))], ("last",)),
    "its input mutated between": (
        [norm(), Node("linear_into", ("r", "half", "x", "state"), (), (("col", 0),)), linear()],
        ("y",),
    ),
    "its output mutated between": (
        [linear("x"), Node("linear_into", ("r", "half", "y", "state"), (), (("col", 0),)), add()],
        ("z",),
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_no_fusion_where_it_may_not(why):
    nodes, outputs = REFUSED[why]
    g = graph(nodes, outputs)
    assert ops_after(g)[0] == [node.op for node in g.nodes]


def test_a_mutation_of_something_else_does_not_hinder():
    between = Node("linear_into", ("x", "half", "r", "state"), (), (("col", 0),))
    assert ops_after(graph([norm(), between, linear()], ("y",)))[0] == [
        "linear_into",
        "norm_linear",
    ]


def test_only_what_a_kernel_supports():
    g = graph([norm(), linear()], ("y",))
    assert ops_after(g, lambda node, graph: False)[0] == ["rmsnorm", "linear"]

    def by_kernels(caps):
        return lambda node, graph: kernels.supported(node, graph, caps)

    assert ops_after(g, by_kernels(Caps()))[0] == ["norm_linear"]
    assert ops_after(g, by_kernels(Caps(workgroup_memory=512)))[0] == ["rmsnorm", "linear"]
    many = graph([norm(), linear()], ("y",), rows=16)
    assert ops_after(many, by_kernels(Caps()))[0] == ["norm_linear"]
    assert ops_after(many, by_kernels(Caps(software=True)))[0] == ["rmsnorm", "linear"]


@pytest.mark.parametrize("software, attention", [
    (False, ["rope_attention_parts", "combine_linear_add"]),
    (True, ["rope_kv", "attention", "linear_add"]),
])
def test_the_model_is_fused_to_few_nodes_a_layer(software, attention):
    caps = Caps(software=software)
    fused, plain = (
        compile_model(CONFIG, fused=f, caps=caps).graphs[0].nodes for f in (True, False)
    )
    layer = ["norm_linear", *attention, "norm_gate_up", "linear_add"]
    assert [n.op for n in fused] == ["embed", *layer, *layer, "norm_linear"]
    assert len(plain) == 1 + 2 * 11 + 2


async def _runner(source, found, fused, kv, software):
    caps = replace(found.caps, software=software)
    model = compile_model(
        source.config, source.tensors, quant="keep", kv=kv, caps=caps, fused=fused
    )
    runner = await found.prepare(model.plan)
    await runner.upload(source.files, lambda done, total: None)
    return runner, model


class Unfused:
    """As much of an Engine as `first_logits` and `generated` use."""

    def __init__(self, source, on, fused, kv="f32", software=False):
        self.runner, model = asyncio.run(_runner(source, device(on), fused, kv, software))
        self.loop = DecodeLoop(self.runner, model, 4)
        self.first_logits, self.generate_ids = self.loop.logits, self.loop.generate


@pytest.mark.parametrize("on,limit", [("numpy", 1e-5), ("native", 2e-5)])
@pytest.mark.parametrize("tied, kv", [(True, "f32"), (False, "f32"), (True, "f16")])
def test_fused_equals_unfused(on, limit, tied, kv):
    """Also where the row's parts of the cache become two, at position 64."""
    c = config(tie_word_embeddings=tied)
    source = checkpoint(c, tensors(c))
    one, two, other = (Unfused(source, on, *how) for how in
                       ((True, kv, False), (True, kv, True), (False, kv, True)))
    for ids in ([7], list(range(18)), [5] + [i % 83 for i in range(65)]):
        a, b, plain = (first_logits(m, ids) for m in (one, two, other))
        if kv == "f16":  # another last bit before a rounding to f16 is another f16
            limit = 5e-5
        assert np.abs(a - plain).max() < limit and np.abs(b - plain).max() < limit
        assert a.std() > 0.3
    want = generated(other, list(range(60)), max_tokens=12)
    assert generated(one, list(range(60)), max_tokens=12) == want
    assert generated(two, list(range(60)), max_tokens=12) == want
    for m in (one, two, other):
        m.runner.close()
