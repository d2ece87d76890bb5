"""How a weight's kind reaches a template: the variant (weights, scale) and the constants of
common/weights.wgsl."""
from pyengine.kernels.spec import variants
from pyengine.quant.kinds import WeightKind

WEIGHT_VARIANTS = (variants(weights=("affine4", "affine8"), scale=("f16", "bf16", "f32"))
                   + variants(weights=("f32", "f16", "bf16"), scale=("",)))


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
