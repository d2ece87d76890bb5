"""A short convolution of one row, folded into the epilogue of the matrix that makes its input."""
from pyengine.ir.graph import Node


def fold_conv(graph, supported):
    """`graph` with each short_conv that follows the norm_linear whose output it changes, and that
    nothing read in between, folded into it where `supported(node, graph)` has a kernel."""
    nodes = list(graph.nodes)
    for conv in [node for node in nodes if node.op == "short_conv"]:
        x, taps, ring, state = conv.inputs
        linear = next((node for node in nodes if x in node.outputs), None)
        if linear is None or linear.op != "norm_linear" or _touched(nodes, linear, conv, x, ring):
            continue
        attrs = {**dict(linear.attrs), **dict(conv.attrs)}
        node = Node("norm_linear_conv", (*linear.inputs[:-1], taps, ring, state), linear.outputs,
                    tuple(sorted(attrs.items())))
        if supported(node, graph):
            nodes = [node if n is linear else n for n in nodes if n is not conv]
    return graph.replace(nodes)


def _touched(nodes, first, last, *names):
    """True where a node between the two has one of `names` among its operands."""
    between = nodes[nodes.index(first) + 1:nodes.index(last)]
    return any(name in node.operands for node in between for name in names)
