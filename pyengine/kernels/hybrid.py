"""Short convolutions and the gated delta rule (`ir/hybrid_ops.py`)."""
from pyengine.ir.hybrid_ops import CHUNK, columns
from pyengine.kernels.spec import KernelSpec, Launch, NodeView, ceil_div, variants
from pyengine.passes.fuse import Fusion

# per-head norm and silu(z) in the delta rule's kernel: two round trips of all value heads fewer
EPILOGUE = Fusion("delta_step", "gated_norm", 0, "delta_step_norm", order=(0, 1, 2, 3, 5, 6))

LOT = 8             # rows of a convolution read at once: their loads overlap
THREADS = 256       # at most, of a delta_step workgroup


def _launch_conv(node, values, caps):
    view = NodeView(node, values)
    x, ring = view[0], view[2]
    taps, channels = ring.shape
    constants = {"MANY": x.shape[0] > 1, "C": channels, "TAPS": taps, "WIDTH": x.shape[1],
                 "LOT": LOT if x.shape[0] > 1 else 1}
    return Launch({"op": node.op}, constants, (ceil_div(channels, 64), 1, 1))


def _heads(view):
    """Constants of common/delta.wgsl."""
    names = {"NK": "key_heads", "NV": "value_heads", "DK": "key_dim", "DV": "value_dim"}
    c = {constant: view.attrs[name] for constant, name in names.items()}
    ggml = bool(view.attrs.get("ggml"))
    return {**c, "EACH": 1 if ggml else c["NV"] // c["NK"], "RATES": ggml}


def _launch_step(node, values, caps):
    view, norm = NodeView(node, values), node.op == "delta_step_norm"
    c = _heads(view)
    groups = 1
    while c["DK"] % (2 * groups) == 0 and 2 * groups * c["DV"] // 4 <= THREADS:
        groups *= 2
    c |= {"GROUPS": groups, "PER": c["DK"] // groups}
    if norm:
        c["EPS"] = float(view.attrs["eps"])
    return Launch({"norm": norm, "half": view[3].dtype == "f16x2"}, c, (c["NV"], 1, 1))


def _launch_chunks(node, values, caps):
    view = NodeView(node, values)
    rows, c = view[0].shape[0], _heads(view)
    return Launch({}, {**c, "SIZE": min(CHUNK, rows)}, (c["NV"], ceil_div(rows, CHUNK), 1))


def _launch_rows(node, values, caps):
    view = NodeView(node, values)
    y, c = view[0], _heads(view)
    size = min(CHUNK, y.shape[0])
    cols = max(1, min(c["DV"] // 4, 4, 14336 // (16 * (c["DK"] + size))))
    variant = {"vec": columns(view.attrs)[-1] % 4 == 0, "half": view[2].dtype == "f16x2"}
    return Launch(variant, {**c, "SIZE": size, "COLS": cols},
                  (c["NV"], ceil_div(c["DV"] // 4, cols), 1))


def _launch_gated_norm(node, values, caps):
    view = NodeView(node, values)
    o, y, gain = view[0], view[1], view[2]
    heads = o.shape[1] // gain.shape[0]
    constants = {"MANY": o.shape[0] > 1, "HEADS": heads, "D": gain.shape[0], "WIDTH": y.shape[1],
                 "COL": view.attrs["col"], "EPS": float(view.attrs["eps"])}
    return Launch({}, constants, (heads, o.shape[0], 1))


def _launch_gate(node, values, caps):
    view = NodeView(node, values)
    o, qkv = view[0], view[1]
    constants = {"MANY": o.shape[0] > 1, "WIDTH": o.shape[1], "QKV": qkv.shape[1],
                 "D": view.attrs["head_dim"]}
    return Launch({}, constants, (ceil_div(o.shape[1], 64), o.shape[0], 1))


CONVS, STEPS = ("short_conv", "gated_conv"), ("delta_step", "delta_step_norm")
HALF = (False, True)
SPECS = (
    *(KernelSpec(op, "short_conv", _launch_conv, ({"op": op},)) for op in CONVS),
    *(KernelSpec(op, "delta_step", _launch_step, variants(norm=(op != "delta_step",), half=HALF))
      for op in STEPS),
    KernelSpec("delta_chunks", "delta_chunks", _launch_chunks, ({},)),
    KernelSpec("delta_rows", "delta_rows", _launch_rows, variants(vec=(True, False), half=HALF)),
    KernelSpec("gated_norm", "gated_norm", _launch_gated_norm, ({},)),
    KernelSpec("sigmoid_gate", "sigmoid_gate", _launch_gate, ({},)),
)
FUSIONS = (EPILOGUE,)
