"""Fusion: applied where it may be, left alone where it may not, and the same numbers either way."""
import asyncio

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
        "w": ((64, 64), "dense_f32", "weight"),
        "gu": ((192, 64), "dense_f32", "weight"),
        "half": ((32, 64), "dense_f32", "weight"),
    }
    for name in {n for node in nodes for n in node.operands}:
        shape, dtype, role = known.get(name, ((rows, 64), "f32", "temp"))
        if role == "temp":
            op = next(node.op for node in nodes if name in node.outputs)
            shape = {"silu_mul": (rows, 96), "norm_linear": (rows, 192)}.get(op, shape)
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


REFUSED = {
    "two readers": ([norm(), linear(), linear(out="y2")], ("y", "y2")),
    "read twice by one node": ([linear("x"), add("y", x="y")], ("z",)),
    "an output": ([norm(), linear()], ("h", "y")),
    "another slot": ([linear("x"), add("r", x="y")], ("z",)),
    "another consumer": ([norm(), add("h")], ("z",)),
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
    assert ops_after(many, by_kernels(Caps()))[0] == ["rmsnorm", "linear"]


def test_the_model_is_fused_to_six_nodes_a_layer():
    fused, plain = (compile_model(CONFIG, fused=f).graphs[0].nodes for f in (True, False))
    assert [n.op for n in fused] == ["embed"] + 2 * [
        "norm_linear",
        "rope_kv",
        "attention",
        "linear_add",
        "norm_gate_up",
        "linear_add",
    ] + ["norm_linear"]
    assert len(plain) == 1 + 2 * 11 + 2


async def _runner(source, found, fused):
    model = compile_model(
        source.config, source.tensors, quant="keep", kv="f32", caps=found.caps, fused=fused
    )
    runner = await found.prepare(model.plan)
    await runner.upload(source.files, lambda done, total: None)
    return runner, model


class Unfused:
    """As much of an Engine as `first_logits` and `generated` use."""

    def __init__(self, source, on, fused):
        self.runner, model = asyncio.run(_runner(source, device(on), fused))
        self.loop = DecodeLoop(self.runner, model, 4)
        self.first_logits, self.generate_ids = self.loop.logits, self.loop.generate


@pytest.mark.parametrize("on,limit", [("numpy", 1e-5), ("native", 2e-5)])
@pytest.mark.parametrize("tied", [True, False])
def test_fused_equals_unfused(on, limit, tied):
    c = config(tie_word_embeddings=tied)
    source = checkpoint(c, tensors(c))
    one, other = (Unfused(source, on, fused) for fused in (True, False))
    for ids in ([7], list(range(18))):
        a, b = first_logits(one, ids), first_logits(other, ids)
        assert np.abs(a - b).max() < limit and a.std() > 0.3
    assert generated(one, [1, 2, 3], max_tokens=12) == generated(other, [1, 2, 3], max_tokens=12)
    one.runner.close()
    other.runner.close()
