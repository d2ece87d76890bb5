"""verify: every kind of illegal graph is refused, with the op named; a legal one passes
unchanged."""
import pytest

from pyengine.ir import sample_ops  # noqa: F401  registers the sampling ops
from pyengine.ir.graph import Graph, Node, Value
from pyengine.ir.ops import OPS, REDUCTION, register
from pyengine.ir.verify import verify
from tests.checkpoints import refused

STATE = Value("state", (32,), "u32", "io")


def graph():
    """x -> linear -> add x -> y, legal."""
    g = Graph("g", 7)
    for value in (
        STATE,
        Value("x", (7, 64), "f32", "io"),
        Value("w", (64, 64), "dense_f32", "weight", "w"),
        Value("gain", (64,), "f32", "weight", "gain"),
        Value("h", (7, 64), "f32"),
        Value("y", (7, 64), "f32"),
    ):
        g.add(value)
    g.nodes = [
        Node("linear", ("x", "w", "state"), ("h",)),
        Node("add", ("x", "h", "state"), ("y",)),
    ]
    g.outputs = ("y",)
    return g


def test_a_legal_graph_is_returned():
    g = graph()
    assert verify(g) is g


def edited(index, node, *values):
    g = graph()
    for value in values:
        g.add(value)
    if index is None:
        g.nodes.append(node)
    else:
        g.nodes[index] = node
    return g


CASES = {
    "unknown op": edited(0, Node("linaer", ("x", "w", "state"), ("h",))),
    "z is not declared": edited(1, Node("add", ("x", "z", "state"), ("y",))),
    "q is not declared": edited(1, Node("add", ("x", "h", "state"), ("q",))),
    "role scratch": edited(
        None,
        Node("add", ("x", "s", "state"), ("t",)),
        Value("s", (7, 64), "f32", "scratch"),
        Value("t", (7, 64), "f32"),
    ),
    "t is read before it is written": edited(
        1, Node("add", ("x", "t", "state"), ("y",)), Value("t", (7, 64), "f32")
    ),
    "y is written twice": edited(None, Node("add", ("x", "h", "state"), ("y",))),
    "w is written twice": edited(None, Node("add", ("x", "h", "state"), ("w",))),
    "constant but mutated": edited(
        None, Node("linear_into", ("x", "w", "w", "state"), (), (("col", 0),))
    ),
    "the rule gives": edited(0, Node("linear", ("x", "w", "state"), ("h",), (("width", 96),))),
    "linear: x": edited(
        0,
        Node("linear", ("x", "narrow", "state"), ("h",)),
        Value("narrow", (64, 32), "dense_f32", "weight", "narrow"),
    ),
    "rmsnorm gain": edited(
        None,
        Node("rmsnorm", ("x", "state", "state"), ("v",), (("eps", 1e-5),)),
        Value("v", (7, 64), "f32"),
    ),
    "linear_into: x": edited(
        None, Node("linear_into", ("x", "w", "y", "state"), (), (("col", 1),))
    ),
    "linear_add: residual": edited(
        None, Node("linear_add", ("x", "w", "gain", "state"), ("v",)), Value("v", (7, 64), "f32")
    ),
    "add: x": edited(1, Node("add", ("x", "gain", "state"), ("y",))),
    "an odd width of gate_up (7, 83)": edited(
        None,
        Node("silu_mul", ("odd", "state"), ("v",)),
        Value("odd", (7, 83), "f32", "io"),
        Value("v", (7, 41), "f32"),
    ),
    "do not fit the op (TypeError": edited(1, Node("add", ("x", "h"), ("y",))),
    "do not fit the op (KeyError": edited(None, Node("linear_into", ("x", "w", "h", "state"), ())),
}


@pytest.mark.parametrize("detail", CASES)
def test_an_illegal_graph_is_refused(detail):
    error = refused("E_INTERNAL", lambda: verify(CASES[detail]))
    assert detail in error.message


@pytest.mark.parametrize("detail", [
    "unknown op", "z is not declared", "role scratch", "t is read before it is written",
    "w is written twice", "constant but mutated", "the rule gives", "do not fit the op (TypeError"])
def test_the_error_names_graph_op_and_operands(detail):
    bad = [node for node in CASES[detail].nodes if node not in graph().nodes]
    message = refused("E_INTERNAL", lambda: verify(CASES[detail])).message
    assert f"graph g: {bad[0].op}" in message and bad[0].inputs[0] in message


def test_an_output_must_be_written():
    g = graph()
    g.nodes.pop()
    assert "output y is never written" in refused("E_INTERNAL", lambda: verify(g)).message


def test_one_name_has_one_declaration():
    g = graph()
    assert g.add(STATE) is g.values["state"]
    assert "state declared twice" in refused(
        "E_INTERNAL", lambda: g.add(Value("state", (16,), "u32", "io"))).message


def test_one_op_has_one_reference():
    again = register("linear", OPS["linear"].infer, REDUCTION)
    assert (
        "linear is registered twice" in refused("E_INTERNAL", lambda: again(lambda *a: ())).message
    )


def test_io_may_be_written_by_more_than_one_node():
    g = edited(None, Node("add", ("x", "h", "state"), ("x",)))
    assert verify(g) is g


def test_replace_drops_what_nobody_names():
    g = graph()
    smaller = g.replace(g.nodes[:1])
    assert set(smaller.values) == {"x", "w", "state", "h", "y"} and "gain" in g.values
