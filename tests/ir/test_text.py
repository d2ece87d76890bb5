"""graph_text: the stable form that golden files hold."""
from pyengine.ir.graph import Graph, Node, Value
from pyengine.ir.text import graph_text

WANT = """graph decode rows=1
  %h: f32[1x64] = linear(%x: f32[1x64], %cut: affine4_g32_f16[32x64]@big, %state: u32[32]) {width=64}
  linear_into(%x, %w: dense_f32[32x64], %h, %state) {col=32}
  return %h
"""


def graph():
    g = Graph("decode", 1)
    for value in (Value("state", (32,), "u32", "io"), Value("x", (1, 64), "f32", "io"),
                  Value("cut", (32, 64), "affine4_g32_f16", "weight", "big"),
                  Value("w", (32, 64), "dense_f32", "weight", "w"), Value("h", (1, 64), "f32")):
        g.add(value)
    g.nodes = [Node("linear", ("x", "cut", "state"), ("h",), (("width", 64),)),
               Node("linear_into", ("x", "w", "h", "state"), (), (("col", 32),))]
    g.outputs = ("h",)
    return g


def test_text():
    assert graph_text(graph()) == WANT


def test_text_does_not_depend_on_the_order_of_declarations():
    other = graph()
    other.values = dict(reversed(other.values.items()))
    assert graph_text(other) == WANT


def test_bytes_of_values():
    values = graph().values
    assert values["x"].nbytes == 256 and values["state"].nbytes == 128
    assert values["cut"].nbytes == 32 * (64 // 8 + 2 + 2) * 4  # codes, scales, padding
    assert Value("k", (2, 83, 16), "f16x2", "state").nbytes == 2 * 83 * 16 * 2
