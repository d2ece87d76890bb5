"""Repack: tensor rows as a file has them -> weight rows. The oracle is `quant.blocks.repack`."""
from pyengine.errors import EngineError
from pyengine.kernels.spec import Launch, variants
from pyengine.quant.blocks import BLOCKS
from pyengine.quant.kinds import for_encoding

FLOATS = ("f32", "f16", "bf16")
BLOCKED = ("q4_0", "q4_1", "q8_0", "q4_k", "q5_k", "q6_k")


def _exact(encoding):
    kind = for_encoding(encoding, 256)
    return {"encoding": encoding, "mode": "exact", "bits": kind.bits, "scale": kind.scale,
            "dtype": ""}


VARIANTS = (
    tuple(_exact(encoding) for encoding in BLOCKED)
    + variants(
        encoding=FLOATS + BLOCKED, mode=("quantize",), bits=(4, 8), scale=("f16",), dtype=("",)
    )
    + variants(encoding=FLOATS + BLOCKED, mode=("dense",), bits=(32,), scale=("",), dtype=("f32",))
    + tuple(
        {"encoding": e, "mode": "dense", "bits": 16, "scale": "", "dtype": e}
        for e in ("f16", "bf16")
    )
)


def repack_launch(encoding, columns, kind, head_dim=0):
    """The `Launch` (grid unset: it depends on the slice) that turns rows of `columns` elements into
    `kind`.

    Raises `E_UNSUPPORTED_TENSOR` for a pair of encoding and kind without a kernel."""
    if kind.family == "dense":
        variant = {"encoding": encoding, "mode": "dense",
                   "bits": 32 if kind.dtype == "f32" else 16, "scale": "", "dtype": kind.dtype}
    else:
        exact = encoding in BLOCKED and kind == for_encoding(encoding, columns)
        variant = {"encoding": encoding, "mode": "exact" if exact else "quantize",
                   "bits": kind.bits, "scale": kind.scale, "dtype": ""}
    if variant not in VARIANTS:
        raise EngineError(
            "E_UNSUPPORTED_TENSOR", tensor="?", detail=f"no repack from {encoding} to {kind.name}"
        )
    block = BLOCKS[encoding]
    constants = {
        "K": columns,
        "SRC_BYTES": columns // block.elements * block.nbytes,
        "HEAD": head_dim,
        "ROW_WORDS": kind.row_words(columns),
        "CODE_WORDS": kind.code_words(columns),
        "GROUP": kind.group if kind.family == "affine" else 1,
    }
    return Launch(variant, constants, (0, 0, 0))


def units_per_row(columns, kind):
    """Threads per row: one per group, or one per destination word."""
    return columns // kind.group if kind.family == "affine" else kind.code_words(columns)
