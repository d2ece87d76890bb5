"""Rotary embedding with the KV write, and attention over the cache."""
from pyengine.kernels.spec import KernelSpec, Launch, NodeView, ceil_div, variants

# what a rope_kv kernel does to qkv first, by op
BEFORE = {"rope_kv": "", "bias_rope_kv": "bias", "norm_rope_kv": "norm"}
ATTENTION_VARIANTS = variants(kv=("f16", "f32"), wide=(True, False))
GPU_THREADS, SOFTWARE_THREADS = 256, 64


def _kv(value):
    return "f16" if value.dtype == "f16x2" else "f32"


def _launch_rope_kv(node, values, caps):
    view, before = NodeView(node, values), BEFORE[node.op]
    slot = 2 if before else 1  # of the coarse table
    qkv, coarse, fine, cache = view[0], view[slot], view[slot + 1], view[slot + 2]
    heads, kv_heads, d = (view.attrs[k] for k in ("heads", "kv_heads", "head_dim"))
    constants = {
        "MANY": qkv.shape[0] > 1,
        "HEADS": heads,
        "KV_HEADS": kv_heads,
        "D": d,
        "HALF": coarse.shape[1] if view.attrs.get("rotate", True) else 0,
        "FREQUENCIES": coarse.shape[1],
        "CONTEXT": cache.shape[1],
        "RING": "window" in view.attrs,
        "FINE": fine.shape[0],
        "GATED": bool(view.attrs.get("gate", False)),
    }
    if before == "norm":
        constants |= {"EPS": float(view.attrs["eps"]), "SHIFT": float(view.attrs.get("shift", 0.0))}
    groups = heads + 2 * kv_heads if before == "norm" else ceil_div((heads + 2 * kv_heads) * d, 128)
    return Launch({"kv": _kv(cache), "before": before}, constants, (groups, qkv.shape[0], 1))


def _threads(caps, pairs):
    """Threads of a workgroup: at least one for each pair of dims of a head."""
    threads = SOFTWARE_THREADS if caps.software else GPU_THREADS
    while threads < pairs:
        threads *= 2
    return threads


def _launch_attention(node, values, caps):
    view = NodeView(node, values)
    q, cache = view[0], view[1]
    kv_heads, context, d = cache.shape
    heads = q.shape[1] // d
    constants = {
        "MANY": q.shape[0] > 1,
        "HEADS": heads,
        "KV_HEADS": kv_heads,
        "D": d,
        "CONTEXT": context,
        "RING": "window" in view.attrs,
        "WINDOW": view.attrs.get("window", context),
        "SCALE": float(view.attrs["scale"]),
        "THREADS": _threads(caps, d // 2),
    }
    kv = _kv(cache)
    wide = d % (8 if kv == "f16" else 4) == 0
    return Launch({"kv": kv, "wide": wide}, constants, (heads, q.shape[0], 1))


SPECS = (*(KernelSpec(op, "rope_kv", _launch_rope_kv, variants(kv=("f16", "f32"), before=(before,)))
           for op, before in BEFORE.items()),
         KernelSpec("attention", "attention", _launch_attention, ATTENTION_VARIANTS))
