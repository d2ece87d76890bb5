"""Op cases of the hybrid layers' kernels: {group name: [Case]}."""
from itertools import product

from pyengine.ir.hybrid_ops import chunk_words, columns
from tests.kernels.one_op import Case

# positions, n, T: before, at and after a whole ring; parts of a chunk, whole ones, several
PLACES = ((0, 1, 1), (1, 1, 1), (2, 1, 1), (83, 1, 1), (0, 2, 2), (0, 7, 16), (3, 16, 16), (1, 1, 16),
          (64, 17, 17), (0, 64, 64), (5, 65, 128), (0, 83, 128), (130, 128, 128))
# key heads, value heads, key dim, value dim
HEADS = ((1, 1, 16, 16), (2, 4, 16, 16), (1, 3, 12, 20), (1, 2, 128, 128), (2, 2, 64, 36))
GGML = (3, 6, 16, 16)  # in llama.cpp's layout


def conv_cases(op):
    for (pos, n, rows), channels, taps in product(PLACES, (1, 7, 83, 769), (2, 3, 4)):
        rest = (("taps", (channels * taps,), "f32"), ("ring", (taps, channels), "f32"))
        if op == "gated_conv":
            yield Case(op, (("taps", taps),), (("bcx", (rows, 3 * channels), "f32"), *rest), rows, n, pos)
        else:
            attrs = (("channels", channels), ("taps", taps))
            yield Case(op, attrs, (("x", (rows, channels + 5), "f32"), *rest), rows, n, pos)


def delta_cases(op, half=False):
    for (pos, n, rows), heads in product(PLACES, (*HEADS, GGML)):
        if (rows == 1) != op.startswith("delta_step"):
            continue
        attrs = dict(zip(("key_heads", "value_heads", "key_dim", "value_dim"), heads))
        attrs |= {"ggml": True} if heads == GGML else {}
        nv, dk, dv = heads[1:]
        y = ("y", (rows, columns(attrs)[-1]), "f32")
        vectors = (("a_log", (nv,), "f32"), ("dt_bias", (nv,), "f32"))
        s = ("s", (nv, dk, dv), "f16x2" if half else "f32")
        inputs = {
            "delta_step": (y, *vectors, s),
            "delta_step_norm": (y, *vectors, s, ("gain", (dv,), "f32")),
            "delta_chunks": (y, *vectors),
            "delta_rows": (y, ("chunks", (-(-rows // 64), nv, chunk_words(rows)), "f32"), s),
        }[op]
        if op == "delta_step_norm":
            attrs |= {"eps": 1e-6, "col": columns(attrs)[2]}
        yield Case(op, tuple(sorted(attrs.items())), inputs, rows, n, pos)


def norm_cases():
    for (pos, n, rows), (heads, dim) in product(PLACES, ((1, 7), (3, 16), (4, 128), (2, 769))):
        attrs = (("col", 5), ("eps", 1e-6))
        inputs = (("o", (rows, heads * dim), "f32"), ("y", (rows, heads * dim + 9), "f32"),
                  ("gain", (dim,), "f32"))
        yield Case("gated_norm", attrs, inputs, rows, n, pos)


def gate_cases():
    for (pos, n, rows), (heads, dim) in product(PLACES, ((1, 7), (3, 16), (2, 256))):
        inputs = (("o", (rows, heads * dim), "f32"), ("qkv", (rows, 2 * heads * dim + 9), "f32"))
        yield Case("sigmoid_gate", (("head_dim", dim),), inputs, rows, n, pos)


def groups():
    found = {op: list(conv_cases(op)) for op in ("short_conv", "gated_conv")}
    found["gated_norm"] = list(norm_cases())
    found["sigmoid_gate"] = list(gate_cases())
    found["delta_chunks"] = list(delta_cases("delta_chunks"))
    for op in ("delta_step", "delta_step_norm", "delta_rows"):
        found[f"{op}-f32"] = list(delta_cases(op))
        found[f"{op}-f16x2"] = list(delta_cases(op, half=True))
    return found
