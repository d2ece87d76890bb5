"""Op cases of the kernels of encoders that read raw audio: {group name: [Case]}."""
from itertools import product

from tests.kernels.one_op import Case

ROWS = ((1, 1), (2, 1), (16, 7), (17, 17), (128, 83))  # T and n
WIDTHS = (1, 7, 72, 83, 769)
# kernel, stride, channels, n: Moonshine's three and others
FOLDS = ((127, 64, 1, 7), (7, 3, 72, 83), (3, 2, 144, 17), (1, 1, 7, 1), (4, 4, 3, 7), (5, 2, 83, 1))
# rows, valid rows, positions that the cache holds and that are there
SOURCES = ((1, 1, 7, 7), (1, 1, 90, 83), (1, 1, 769, 500), (16, 7, 83, 80), (83, 83, 83, 83),
           (128, 83, 413, 413), (17, 17, 64, 1))
SHAPES = ((1, 1, 36), (2, 2, 6), (8, 8, 36), (4, 4, 52), (6, 2, 64), (3, 3, 128))  # heads, KV, d


def fold_cases():
    for (kernel, stride, channels, n), spare in product(FOLDS, (0, 5)):
        before = (n + spare - 1) * stride + kernel
        x = ("x", (before, channels), "f32")
        yield Case("unfold", (("kernel", kernel), ("stride", stride)), (x,), n + spare, n)


def narrow_cases(op):
    for (rows, n), width in product(ROWS, WIDTHS):
        wide = 2 * width if op == "bias_silu_mul" else width
        x, bias = ("x", (rows, wide), "f32"), ("beta", (wide,), "f32")
        gain, y = ("gain", (width,), "f32"), ("residual", (rows, width), "f32")
        stats = ("stats", (64, 4), "f32")
        extra = {"tanh": (), "group_stats": (), "layernorm": (gain,), "bias_add": (bias, y),
                 "group_norm": (stats, gain, bias)}.get(op, (bias,))
        attrs = (("eps", 1e-5),) if op in ("layernorm", "group_norm") else ()
        yield Case(op, attrs, (x, *extra), rows, n)


def caches(heads, length, d, kv):
    return ("k_cache", (heads, length, d), kv), ("v_cache", (heads, length, d), kv)


def source_cases(kv):
    for (rows, n, length, source), (heads, kv_heads, d) in product(SOURCES, SHAPES):
        inputs = (("q", (rows, heads * d), "f32"), *caches(kv_heads, length, d, kv))
        yield Case("source_attention", (("scale", 0.5 * d**-0.5),), inputs, rows, n, source=source)


def store_cases(kv):
    for (rows, n), (heads, _, d), spare in product(ROWS, SHAPES, (0, 83)):
        inputs = (("kv", (rows, 2 * heads * d), "f32"), *caches(heads, rows + spare, d, kv))
        yield Case("store_kv", (), inputs, rows, n)


def groups():
    found = {"unfold": list(fold_cases())}
    for op in ("tanh", "group_stats", "group_norm", "layernorm", "bias_gelu", "bias_add",
               "bias_silu_mul"):
        found[op] = list(narrow_cases(op))
    for kv in ("f16x2", "f32"):
        found[f"source_attention-{kv}"] = list(source_cases(kv))
        found[f"store_kv-{kv}"] = list(store_cases(kv))
    return found
