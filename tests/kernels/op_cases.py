"""The matrix of op cases: {group: [Case]}, in which every template variant and awkward size occurs."""

import random
from itertools import product

from pyengine.quant.kinds import WeightKind
from tests.kernels import audio_cases, codec_cases, hybrid_cases
from tests.kernels.one_op import Case

SIZES = (1, 7, 83, 769)
# of each way that a template reads weights, for what need not meet every group size
PLAIN_KINDS = (*(f"affine{bits}_g32_{scale}" for bits in (4, 8) for scale in ("f16", "bf16", "f32")),
               "dense_f32", "dense_f16", "dense_bf16")
ROWS_OPS = ("linear", "linear_into", "linear_add", "norm_linear", "norm_gate_up")
ROWS = ((2, 1), (16, 16), (16, 7), (17, 17), (128, 83))  # T and n
AFFINE = tuple(f"affine{bits}_g{group}_{scale}" for bits, group, scale
               in product((4, 8), (16, 32, 64, 128), ("f16", "bf16", "f32")))
KINDS = (*AFFINE, "dense_f32", "dense_f16", "dense_bf16")
# (positions, n, T): around the rotation tables' step of 64 and attention's tiles of 64
PLACES = ((0, 1, 1), (6, 1, 1), (62, 1, 1), (63, 1, 1), (64, 1, 1), (82, 1, 1), (127, 1, 1),
          (128, 1, 1), (0, 2, 2), (0, 16, 16), (63, 2, 16), (64, 7, 16), (0, 83, 128),
          (45, 83, 128), (128, 17, 17))
HEADS = ((1, 1), (2, 1), (3, 1), (8, 1), (6, 2), (4, 4), (16, 2))  # heads, KV heads
# the same, past the end of caches that are rings: window and what chunks may add to it
RINGS = ((0, 1, 1, 1, 1), (83, 1, 1, 7, 7), (82, 2, 2, 7, 20), (769, 1, 1, 64, 83),
         (770, 16, 16, 64, 80), (63, 7, 16, 83, 90), (300, 83, 128, 130, 213), (0, 83, 128, 7, 100))
HEAD_DIMS = (6, 16, 36, 64, 128, 256)
TILE_DIMS = (72, 80, 112)  # head sizes at which attention's tiles differ, beside those


def widths(kind):
    """Columns that the kind allows: one group, an odd number of groups, and about 769."""
    kind = WeightKind.parse(kind)
    if kind.family == "dense":
        return (1, 7, 36, 83, 769)
    return tuple(kind.group * n for n in (1, 3, 769 // kind.group, 1024 // kind.group + 1))


def outputs(glu):
    return tuple(2 * n if glu else n for n in (*SIZES, 64))


def weight_cases(op, kind):
    """Every size of a matrix op of one row: x, gain, weight, and what the op adds."""
    for width, rows in product(widths(kind), outputs(op.endswith("gate_up"))):
        x, weight = ("x", (1, width), "f32"), ("weight", (rows, width), kind)
        gain, attrs = ("gain", (width,), "f32"), (("eps", 1e-5),)
        if rows % 2:  # some with Gemma's gains and gate
            attrs += (("shift", 1.0),)
        if op.endswith("gate_up") and width % 2:
            attrs = (("act", "gelu_tanh"), *attrs)
        if op == "linear_add":
            yield Case(op, (), (x, weight, ("residual", (1, rows), "f32")))
        elif op == "norm_linear_conv":
            channels, taps = -(-rows // 2), 2 + rows % 3
            attrs += (("channels", channels), ("taps", taps))
            state = (("taps", (channels * taps,), "f32"), ("ring", (taps, channels), "f32"))
            for pos in (0, 2, 83):
                yield Case(op, attrs, (x, gain, weight, *state), pos=pos)
        elif op.startswith("norm"):
            yield Case(op, attrs, (x, gain, weight))
        elif op.startswith("add_norm"):
            before = ("post_gain", (width,), "f32"), ("residual", (1, width), "f32")
            yield Case(op, attrs, (x, *before, gain, weight))
        else:
            yield from _linear(op, x, weight, 1, 1)


def _linear(op, x, weight, rows, n):
    """The whole output; or columns from 5 on of a wider one, which `linear_into` finds filled."""
    if op == "linear_into":
        y = ("y", (rows, weight[1][0] + 12), "f32")
        yield Case(op, (("col", 5),), (x, weight, y), rows, n)
    else:
        yield Case(op, (), (x, weight), rows, n)
        yield Case(op, (("width", weight[1][0] + 7),), (x, weight), rows, n)


MANY_ROWS = ((512, 449), (128, 83))  # with LARGE outputs: enough for each size of tile
LARGE = 2100


def rows_cases(op, kind, counts=(1, 7, 64, 83, 130), rows_of=ROWS):
    """Prefill: matrices times T rows."""
    for width, count, (rows, n) in product(widths(kind), counts, rows_of):
        if count == LARGE and (width > 128 or width % 4):
            continue
        x, weight = ("x", (rows, width), "f32"), ("weight", (count, width), kind)
        if op.startswith("linear") and op != "linear_add":
            yield from _linear(op, x, weight, rows, n)
        elif width % 4 == 0:  # fused ones are for whole vec4
            gain, attrs = ("gain", (width,), "f32"), (("eps", 1e-5), ("shift", float(count % 2)))
            if op == "linear_add":
                yield Case(op, (), (x, weight, ("residual", (rows, count), "f32")), rows, n)
            elif op == "norm_linear":
                yield Case(op, attrs, (x, gain, weight), rows, n)
            else:
                act = "gelu_tanh" if width % 3 == 0 else "silu"
                weight = ("weight", (2 * count, width), kind)
                yield Case(op, (("act", act), *attrs), (x, gain, weight), rows, n)


def embed_cases(kind):
    for width, vocab, (rows, n) in product(widths(kind), SIZES, ((1, 1), *ROWS)):
        inputs = (("tokens", (rows,), "u32"), ("table", (vocab, width), kind))
        yield Case("embed", (("scale", 1.0 if vocab % 2 else 27.7),), inputs, rows, n)


def embed_into_cases(kind):
    """Rows 40 .. 40 + V of a table; the ids are 0 .. V - 1, so that some lie before them."""
    for width, vocab, (rows, n) in product(widths(kind), (7, 83), ((1, 1), *ROWS)):
        for row0 in (0, 3, 40):
            inputs = (("tokens", (rows,), "u32"), ("table", (vocab, width), kind),
                      ("x", (rows, width), "f32"))
            yield Case("embed_into", (("row0", row0), ("scale", 1.5)), inputs, rows, n)


def narrow_cases(op):
    """Norms and element-wise ops."""
    for width, (rows, n) in product((*SIZES, 64, 576), ((1, 1), *ROWS)):
        x = ("x", (rows, 2 * width if op.endswith("_mul") else width), "f32")
        gain, y = ("gain", (width,), "f32"), ("residual", (rows, width), "f32")
        extra = {"rmsnorm": (gain,), "add": (y,), "norm_add": (gain, y)}
        attrs = (("eps", 1e-6), ("shift", float(width % 2))) if "norm" in op else ()
        yield Case(op, attrs, (x, *extra.get(op, ())), rows, n)


def places():
    """((pos, n, T), positions that a cache holds, attributes) in plain caches and in rings."""
    for pos, n, rows in PLACES:
        yield (pos, n, rows), pos + n, ()
        yield (pos, n, rows), pos + n + 83, ()
    for pos, n, rows, window, length in RINGS:
        yield (pos, n, rows), length, (("window", window),)


def frame_case(op, attrs, inputs, rows, n, pos):
    """With frames that begin before, among or behind the rows."""
    token, frame, group = ((1, 1, 4), (2, 1, 4), (3, 4, 7))[(pos + n) % 3]
    most = (pos + n) * max(token, frame)
    inputs = tuple((name, (most // 64 + 1, *shape[1:]), dtype) if name == "coarse" else (name, shape, dtype)
                   for name, shape, dtype in inputs)
    first = (pos // 3, pos + n // 2, pos + n + 5)[(pos + rows) % 3]
    return Case(op, (*attrs, ("frames", (token, frame, group))), inputs, rows, n, pos, first)


def rope_cases(op, kv):
    for ((pos, n, rows), length, ring), (heads, kv_heads), d in product(places(), HEADS, HEAD_DIMS):
        all_heads, cache = heads + 2 * kv_heads, (kv_heads, length, d)
        extra = {"rope_kv": (), "bias_rope_kv": (("bias", (all_heads, d), "dense_f32"),),
                 "norm_rope_kv": (("gains", (2, d), "dense_f32"),)}[op]
        attrs = (("head_dim", d), ("heads", heads), ("kv_heads", kv_heads), *ring)
        if op == "norm_rope_kv":
            attrs += (("eps", 1e-6), ("shift", float(heads % 2)))
        wide = all_heads
        if op == "norm_rope_kv" and (heads + d // 2) % 3 == 0:
            attrs, wide = (*attrs, ("gate", True)), all_heads + heads
        for half in {d // 2, d // 4 if d % 4 == 0 else d // 2}:  # all dims or a part of them rotate
            inputs = (("qkv", (rows, wide * d), "f32"), *extra,
                      ("coarse", ((pos + n) // 64 + 1, half, 2), "f32"), ("fine", (64, half, 2), "f32"),
                      ("k_cache", cache, kv), ("v_cache", cache, kv))
            yield Case(op, attrs, inputs, rows, n, pos)
        yield Case(op, (*attrs, ("rotate", False)), inputs, rows, n, pos)
        yield frame_case(op, attrs, inputs, rows, n, pos)
        yield Case(op, (*attrs, ("interleaved", True)), inputs, rows, n, pos)


def attention_cases(kv):
    for ((pos, n, rows), length, ring), (heads, kv_heads), d in product(places(), HEADS,
                                                                        (*HEAD_DIMS, *TILE_DIMS)):
        cache = (kv_heads, length, d)
        inputs = (("q", (rows, heads * d), "f32"), ("k_cache", cache, kv), ("v_cache", cache, kv))
        yield Case("attention", (("scale", 0.5 * d**-0.5), *ring), inputs, rows, n, pos)


# positions of a row that is cut into parts of at least 64: within one, at edges, more than suffice
CUTS = ((0, 1), (6, 7), (62, 3), (63, 1), (64, 2), (82, 7), (127, 2), (128, 2), (700, 3), (768, 64),
        (8191, 64))
GROUPED = ((1, 1), (3, 1), (6, 2), (9, 3), (8, 1))
CUT_DIMS = (16, 64, 80, 96, 128, 256)


def parts_cases(op, kv):
    for (pos, splits), (heads, kv_heads), d in product(CUTS, GROUPED, CUT_DIMS):
        if pos > 1000 and (heads > 3 or d > 80):
            continue
        attrs = (("scale", 0.5 * d**-0.5), ("span", 64), ("splits", splits))
        context = pos + 1 + 83 * (pos % 2)
        cache = (("k_cache", (kv_heads, context, d), kv), ("v_cache", (kv_heads, context, d), kv))
        if op == "attention_parts":
            yield Case(op, attrs, (("q", (1, heads * d), "f32"), *cache), 1, 1, pos)
            continue
        attrs += (("head_dim", d), ("heads", heads), ("kv_heads", kv_heads))
        for half in {d // 2, d // 4}:
            inputs = (("qkv", (1, (heads + 2 * kv_heads) * d), "f32"),
                      ("coarse", (-(-context // 64), half, 2), "f32"), ("fine", (64, half, 2), "f32"))
            yield Case(op, attrs, (*inputs, *cache), 1, 1, pos)


def combine_cases(op, kind=None):
    for (pos, splits), heads, d in product(CUTS, (1, 3, 9), CUT_DIMS):
        attrs = (("head_dim", d), ("heads", heads), ("span", 64), ("splits", splits))
        parts = ("parts", (splits, heads * d + -(-heads // 4) * 4), "f32")
        if kind is None:
            qkv = (("qkv", (1, (2 * heads + 2) * d), "f32"),) if op == "gated_combine" else ()
            yield Case(op, attrs, (parts, *qkv), 1, 1, pos)
        elif heads * d % max(WeightKind.parse(kind).group, 1) == 0:
            for rows in (7, 83):
                extra = (("residual", (1, rows), "f32"),) if op == "combine_linear_add" else ()
                weight = ("weight", (rows, heads * d), kind)
                yield Case(op, attrs, (parts, weight, *extra), 1, 1, pos)


def groups():
    """{group name: [Case]}."""
    found = {}
    for kind in KINDS:
        for op in ("linear", "linear_into", "linear_add", "norm_linear", "norm_gate_up",
                   "add_norm_linear", "add_norm_gate_up", "norm_linear_conv"):
            found[f"{op}-{kind}"] = list(weight_cases(op, kind))
        for op in ROWS_OPS:
            found[f"{op}-rows-{kind}"] = list(rows_cases(op, kind))
            if kind in PLAIN_KINDS and op != "linear_into":
                found[f"{op}-tiles-{kind}"] = list(rows_cases(op, kind, (LARGE,), MANY_ROWS))
        for op in ("combine_linear", "combine_linear_add"):
            found[f"{op}-{kind}"] = list(combine_cases(op, kind))
        found[f"embed-{kind}"] = list(embed_cases(kind))
        found[f"embed_into-{kind}"] = list(embed_into_cases(kind))
    for op in ("rmsnorm", "norm_add", "add", "silu_mul", "gelu_mul", "take_last"):
        found[op] = list(narrow_cases(op))
    for kv in ("f16x2", "f32"):
        for op in ("rope_kv", "bias_rope_kv", "norm_rope_kv"):
            found[f"{op}-{kv}"] = list(rope_cases(op, kv))
        found[f"attention-{kv}"] = list(attention_cases(kv))
        for op in ("attention_parts", "rope_attention_parts"):
            found[f"{op}-{kv}"] = list(parts_cases(op, kv))
    for op in ("attention_combine", "gated_combine"):
        found[op] = list(combine_cases(op))
    return found | hybrid_cases.groups() | codec_cases.groups() | audio_cases.groups()


def sample(name, cases, count):
    """`count` of a group's cases, always the same ones."""
    return random.Random(name).sample(cases, min(count, len(cases)))
