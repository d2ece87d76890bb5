"""Checks a graph against the op table; run after the builder and after every pass."""
from pyengine.errors import EngineError
from pyengine.ir.graph import ROLES
from pyengine.ir.ops import OPS


def _fail(graph, node, detail):
    types = {name: graph.values.get(name) for name in node.operands}
    raise EngineError(
        "E_INTERNAL", detail=f"graph {graph.name}: {node.op}: {detail}; operands {types}"
    )


def _infer(graph, node, spec):
    """What the op's rule gives; a wrong number of operands or a missing attribute is the node's
    fault."""
    try:
        return spec.infer(dict(node.attrs), *[graph.values[n] for n in node.inputs])
    except (TypeError, KeyError, IndexError) as error:
        _fail(graph, node, f"operands or attributes do not fit the op ({error!r})")


def verify(graph):
    """Raises `E_INTERNAL` on an unknown op, an undeclared or not yet written value, a second
    writer, or a shape or dtype that the op's rule does not give. Returns the graph, so that passes
    can be chained."""
    written = {name for name, value in graph.values.items() if value.role != "temp"}
    for node in graph.nodes:
        spec = OPS.get(node.op)
        if spec is None:
            _fail(graph, node, "unknown op")
        for name in node.operands:
            if name not in graph.values:
                _fail(graph, node, f"{name} is not declared")
            if graph.values[name].role not in ROLES:
                _fail(graph, node, f"{name} has role {graph.values[name].role}")
        for name in node.inputs:
            if name not in written:
                _fail(graph, node, f"{name} is read before it is written")
        for name in node.outputs:
            if name in written and graph.values[name].role != "io":
                _fail(graph, node, f"{name} is written twice")
            written.add(name)
        want = _infer(graph, node, spec)
        for index in spec.mutates:
            if not spec.prepares and graph.values[node.inputs[index]].role in ("weight", "const"):
                _fail(graph, node, f"{node.inputs[index]} is constant but mutated")
        got = [(graph.values[n].shape, graph.values[n].dtype) for n in node.outputs]
        if list(want) != got:
            _fail(graph, node, f"outputs are {got}, the rule gives {list(want)}")
    for name in graph.outputs:
        if name not in written:
            raise EngineError(
                "E_INTERNAL", detail=f"graph {graph.name}: output {name} is never written"
            )
    return graph
