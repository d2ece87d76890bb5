"""Attention of one row cut into parts: `attention` becomes `attention_parts` and
`attention_combine`, which fusion folds into the neighbours where these have kernels for it."""
from pyengine.ir.graph import Node, Value
from pyengine.ir.split_ops import parts_width


def split_attention(graph, split_attrs):
    """`graph` with every attention node cut for which `split_attrs(node)` gives {splits, span}."""
    nodes = []
    for node in graph.nodes:
        attrs = split_attrs(node) if node.op == "attention" else None
        nodes += [node] if attrs is None else _cut(graph, node, attrs)
    return graph.replace(nodes)


def _cut(graph, node, attrs):
    q, k_cache, v_cache, state = node.inputs
    d = graph.values[k_cache].shape[2]
    heads = graph.values[q].shape[1] // d
    parts = f"{node.outputs[0]}.parts"
    graph.add(Value(parts, (attrs["splits"], parts_width(heads, d)), "f32"))
    shape = {**attrs, "heads": heads, "head_dim": d}
    return [
        Node("attention_parts", (q, k_cache, v_cache, state), (parts,),
             tuple(sorted({**dict(node.attrs), **attrs}.items()))),
        Node("attention_combine", (parts, state), node.outputs, tuple(sorted(shape.items()))),
    ]
