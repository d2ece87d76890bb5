"""Embedding, norm and element-wise kernels: any number of rows."""
from pyengine.kernels.spec import (KernelSpec, Launch, NodeView, ceil_div, reduction_features,
                                   subgroup_constants)
from pyengine.kernels.weights import WEIGHT_VARIANTS, weight_constants, weight_variant
from pyengine.quant.kinds import WeightKind


EMBED_VARIANTS = {into: tuple({**w, "into": into} for w in WEIGHT_VARIANTS)
                  for into in (False, True)}


def _launch_embed(into):
    def launch(node, values, caps):
        view = NodeView(node, values)
        tokens, weight = view[0], view[1]
        kind = WeightKind.parse(weight.dtype)
        block = 128 // (kind.bits if kind.family == "affine" else 32 if kind.dtype == "f32" else 16)
        constants = {**weight_constants(weight), "MANY": tokens.shape[0] > 1, "V": weight.shape[0],
                     "SCALE": float(view.attrs.get("scale", 1.0))}
        if into:
            constants["ROW0"] = view.attrs["row0"]
        grid = (ceil_div(ceil_div(weight.shape[1], block), 64), tokens.shape[0], 1)
        return Launch({**weight_variant(weight), "into": into}, constants, grid)
    return launch


def _launch_rmsnorm(node, values, caps):
    view = NodeView(node, values)
    rows, width = view[0].shape
    constants = {"MANY": rows > 1, "K": width, "EPS": float(view.attrs["eps"]),
                 "SHIFT": float(view.attrs.get("shift", 0.0))}
    features = reduction_features(caps)
    return Launch({"residual": node.op == "norm_add"},
                  {**constants, **subgroup_constants(features, caps)}, (rows, 1, 1), features, True)


def _launch_elementwise(op):
    def launch(node, values, caps):
        view = NodeView(node, values)
        rows, width = view[len(view.operands) - 1].shape
        constants = {"MANY": view[0].shape[0] > 1, "WIDTH": width}
        return Launch({"op": op}, constants, (ceil_div(width, 64), rows, 1))
    return launch


SPECS = (KernelSpec("embed", "embed", _launch_embed(False), EMBED_VARIANTS[False]),
         KernelSpec("embed_into", "embed", _launch_embed(True), EMBED_VARIANTS[True]),
         KernelSpec("rmsnorm", "rmsnorm", _launch_rmsnorm, ({"residual": False},)),
         KernelSpec("norm_add", "rmsnorm", _launch_rmsnorm, ({"residual": True},))) + tuple(
    KernelSpec(op, "elementwise", _launch_elementwise(op), ({"op": op},))
    for op in ("add", "silu_mul", "gelu_mul", "tanh", "take_last"))
