"""Kernels of encoders that read raw audio: convolutions as matrices, norms, biased activations, and
the keys and values that a decoder attends to."""
from pyengine.ir import audio_ops
from pyengine.kernels.spec import (KernelSpec, Launch, NodeView, ceil_div, reduction_features,
                                   subgroup_constants, variants)

BIASED = ("bias_gelu", "bias_add", "bias_silu_mul")


def _launch_stride_rows(node, values, caps):
    attrs = dict(node.attrs)
    return Launch({}, {"KERNEL": attrs["kernel"], "STRIDE": attrs["stride"]}, (1, 1, 1))


def _launch_unfold(node, values, caps):
    view = NodeView(node, values)
    rows, width = view[2].shape
    constants = {"WIDTH": width, "CHANNELS": view[0].shape[1], "KERNEL": view.attrs["kernel"],
                 "STRIDE": view.attrs["stride"]}
    return Launch({}, constants, (ceil_div(width, 64), rows, 1))


def _reducing(constants, grid, caps):
    features = reduction_features(caps)
    return Launch({}, {**constants, **subgroup_constants(features, caps)}, grid, features, True)


def _launch_group_stats(node, values, caps):
    constants = {"C": NodeView(node, values)[0].shape[1], "SLABS": audio_ops.SLABS}
    return _reducing(constants, (audio_ops.SLABS, 1, 1), caps)


def _launch_group_norm(node, values, caps):
    rows, width = NodeView(node, values)[0].shape
    constants = {"C": width, "SLABS": audio_ops.SLABS, "EPS": float(dict(node.attrs)["eps"])}
    return _reducing(constants, (rows, 1, 1), caps)


def _launch_layernorm(node, values, caps):
    rows, width = NodeView(node, values)[0].shape
    constants = {"MANY": rows > 1, "K": width, "EPS": float(dict(node.attrs)["eps"])}
    return _reducing(constants, (rows, 1, 1), caps)


def _launch_biased(node, values, caps):
    rows, width = values[node.outputs[0]].shape
    constants = {"MANY": rows > 1, "WIDTH": width}
    return Launch({"op": node.op}, constants, (ceil_div(width, 64), rows, 1))


def _launch_store_kv(node, values, caps):
    view = NodeView(node, values)
    heads, length, d = view[1].shape
    constants = {"MANY": view[0].shape[0] > 1, "HEADS": heads, "LENGTH": length, "D": d}
    kv = "f16" if view[1].dtype == "f16x2" else "f32"
    return Launch({"kv": kv}, constants, (ceil_div(heads * d, 64), view[0].shape[0], 1))


SPECS = (
    KernelSpec("stride_rows", "stride_rows", _launch_stride_rows, ({},)),
    KernelSpec("unfold", "unfold", _launch_unfold, ({},)),
    KernelSpec("group_stats", "group_stats", _launch_group_stats, ({},)),
    KernelSpec("group_norm", "group_norm", _launch_group_norm, ({},)),
    KernelSpec("layernorm", "layernorm", _launch_layernorm, ({},)),
    KernelSpec("store_kv", "store_kv", _launch_store_kv, variants(kv=("f16", "f32"))),
    *(KernelSpec(op, "biased", _launch_biased, ({"op": op},)) for op in BIASED),
)
