"""How a weight's kind reaches a template: the variant (weights, scale) and the constants of
common/weights.wgsl."""
from pyengine.kernels.spec import variants
from pyengine.quant.kinds import WeightKind

WEIGHT_VARIANTS = (variants(weights=("affine4", "affine8"), scale=("f16", "bf16", "f32"))
                   + variants(weights=("f32", "f16", "bf16"), scale=("",)))


# what a matrix op does besides the product, as the branches of wgsl/matvec.wgsl and
# wgsl/matmul_tile.wgsl
FLAGS = {"linear": {}, "linear_into": {"into": True}, "linear_add": {"residual": True},
         "norm_linear": {"norm": True}, "norm_gate_up": {"norm": True, "glu": True},
         "add_norm_linear": {"norm": True, "post": True},
         "add_norm_gate_up": {"norm": True, "glu": True, "post": True},
         "norm_linear_conv": {"norm": True, "conv": True},
         "combine_linear": {"combine": True},
         "combine_linear_add": {"combine": True, "residual": True}}


def weight_slot(op):
    """The weight's place among a matrix op's operands: behind x and what the norms need."""
    return 4 if "post" in FLAGS[op] else 2 if "norm" in FLAGS[op] else 1


def weight_variant(value):
    kind = WeightKind.parse(value.dtype)
    if kind.family == "affine":
        return {"weights": f"affine{kind.bits}", "scale": kind.scale}
    return {"weights": kind.dtype, "scale": ""}


def weight_constants(value):
    """K, ROW_VECS and, for affine kinds, GROUP and CODE_WORDS of a weight value (N, K)."""
    kind = WeightKind.parse(value.dtype)
    columns = value.shape[1]
    constants = {"K": columns, "ROW_VECS": kind.row_words(columns) // 4}
    if kind.family == "affine":
        constants |= {"GROUP": kind.group, "CODE_WORDS": kind.code_words(columns)}
    return constants


def matrix_constants(op, weight, attrs):
    """Those of the weight, N and COL of its outputs, and what the op's norm and gate need."""
    outputs = weight.shape[0] // 2 if "glu" in FLAGS[op] else weight.shape[0]
    constants = {**weight_constants(weight), "N": outputs, "COL": attrs.get("col", 0)}
    if "norm" in FLAGS[op]:
        constants |= {"EPS": float(attrs["eps"]), "SHIFT": float(attrs.get("shift", 0.0))}
    if "glu" in FLAGS[op]:
        constants["GELU"] = attrs.get("act") == "gelu_tanh"
    return constants
