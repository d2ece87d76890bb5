"""Rotary embedding with the KV write, and attention over the cache."""
from pyengine.kernels.spec import (KernelSpec, Launch, NodeView, ceil_div, reduction_features,
                                   subgroup_constants, variants)

# what a rope_kv kernel does to qkv first, by op
BEFORE = {"rope_kv": "", "bias_rope_kv": "bias", "norm_rope_kv": "norm"}
ATTENTION_VARIANTS = variants(kv=("f16", "f32"), wide=(True, False))
TILE_ROWS, TILE_KEYS = 16, (32, 16, 8)  # rows and positions of wgsl/attention_tile.wgsl
TILE_DIMS = 128
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
        "PAIRED": bool(view.attrs.get("interleaved", False)),
    }
    if before == "norm":
        constants |= {"EPS": float(view.attrs["eps"]), "SHIFT": float(view.attrs.get("shift", 0.0))}
    if "frames" in view.attrs:
        constants |= dict(zip(("TOKEN_STEPS", "FRAME_STEPS", "GROUP"), view.attrs["frames"]))
    groups = heads + 2 * kv_heads if before == "norm" else ceil_div((heads + 2 * kv_heads) * d, 128)
    variant = {"kv": _kv(cache), "before": before, "frames": "frames" in view.attrs}
    return Launch(variant, constants, (groups, qkv.shape[0], 1))


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
        "SOURCE": node.op == "source_attention",
        "THREADS": _threads(caps, d // 2),
    }
    kv = _kv(cache)
    wide = d % (8 if kv == "f16" else 4) == 0
    features = reduction_features(caps)
    return Launch({"kv": kv, "wide": wide}, {**constants, **subgroup_constants(features, caps)},
                  (heads, q.shape[0], 1), features, True)


def _tile(kv, d, memory):
    """(positions of a tile, lots of dims of a lane) of wgsl/attention_tile.wgsl; None where not
    even its smallest tile fits workgroup memory, or heads are no whole lots."""
    lot = 8 if kv == "f16" else 4
    loads = d // lot
    for keys in TILE_KEYS:
        used = 4 * TILE_ROWS * (d + keys + 8) + 2 * keys * (loads | 1) * 16
        if d % lot == 0 and used <= memory:
            return keys, ceil_div(loads, 8)
    return None


def _launch_attention_tile(node, values, caps):
    launch, (q, cache) = _launch_attention(node, values, caps), (values[n] for n in node.inputs[:2])
    kv_heads, _, d = cache.shape
    tile = _tile(_kv(cache), d, min(caps.workgroup_memory, 16384))
    if caps.software or q.shape[0] == 1 or d > TILE_DIMS or tile is None:
        return None
    unused = ("THREADS", "MANY", "SUBGROUP")
    rows = q.shape[0] * (launch.constants["HEADS"] // kv_heads)
    return Launch({"kv": _kv(cache), "keys": tile[0], "lots": tile[1]},
                  {k: v for k, v in launch.constants.items() if k not in unused},
                  (ceil_div(rows, TILE_ROWS), kv_heads, 1))


def _tile_variants():
    """Those that some head size leads to."""
    found = {(kv, _tile(kv, d, 16384)) for kv in ("f16", "f32") for d in range(4, TILE_DIMS + 1, 4)}
    return tuple({"kv": kv, "keys": tile[0], "lots": tile[1]}
                 for kv, tile in sorted(found, key=str) if tile)


ROPE_VARIANTS = {before: variants(kv=("f16", "f32"), before=(before,), frames=(False, True))
                 for before in BEFORE.values()}

SPECS = (*(KernelSpec(op, "rope_kv", _launch_rope_kv, ROPE_VARIANTS[before])
           for op, before in BEFORE.items()),
         *(KernelSpec(op, stem, launch, found) for op in ("attention", "source_attention")
           for stem, launch, found in (
               ("attention_tile", _launch_attention_tile, _tile_variants()),
               ("attention", _launch_attention, ATTENTION_VARIANTS))))
