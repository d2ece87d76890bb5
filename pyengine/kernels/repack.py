"""Repack: tensor rows as a file has them -> weight rows. The oracles are `quant.blocks.repack` and,
for the three tensors of an MLX matrix, `quant.blocks.place`."""
from pyengine.errors import EngineError
from pyengine.kernels.spec import Launch, ceil_div, variants
from pyengine.quant.blocks import BLOCKS
from pyengine.quant.kinds import for_encoding

FLOATS = ("f32", "f16", "bf16")
BLOCKED = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k")


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
    + variants(encoding=FLOATS, mode=("kernel",), bits=(32,), scale=("",), dtype=("f32",))
    + tuple(
        {"encoding": e, "mode": "place", "bits": bits, "scale": "", "dtype": ""}
        for e, bits in (("u16", 16), ("u32", 32))
    )
)


def repack_launch(encoding, columns, kind, head_dim=0, add=0.0):
    """The `Launch` (grid unset: it depends on the slice) that turns rows of `columns` elements into
    `kind`, plus `add` where that is dense f32.

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
        "ADD": float(add),
    }
    return Launch(variant, constants, (0, 0, 0))


def place_launch(part, columns, kind):
    """The `Launch` that writes an MLX matrix's codes, scales or biases into its rows' words."""
    groups, codes = columns // kind.group, kind.code_words(columns)
    slot = 1 if part == "biases" else 0
    bits = 32 if part == "codes" or kind.scale == "f32" else 16
    first, stride, shift = codes, 1, 16 * slot
    if part == "codes":
        first = 0
    elif bits == 32:
        first, stride, shift = codes + slot, 2, 0
    fields = codes if part == "codes" else groups
    variant = {"encoding": f"u{bits}", "mode": "place", "bits": bits, "scale": "", "dtype": ""}
    constants = {"K": fields, "SRC_BYTES": fields * bits // 8, "HEAD": 0, "FIRST": first,
                 "ROW_WORDS": kind.row_words(columns), "STRIDE": stride, "SHIFT": shift}
    return Launch(variant, constants, (0, 0, 0))


def kernel_launch(encoding, channels, taps, outputs):
    """The `Launch` that turns a convolution's rows (channels, taps), one an output, into columns of
    (taps, channels padded to a multiple of 4, outputs) f32. Raises `E_UNSUPPORTED_TENSOR`."""
    if encoding not in FLOATS:
        raise EngineError("E_UNSUPPORTED_TENSOR", tensor="?",
                          detail=f"no repack from {encoding} to a convolution's kernel")
    variant = {"encoding": encoding, "mode": "kernel", "bits": 32, "scale": "", "dtype": "f32"}
    constants = {"K": channels * taps, "SRC_BYTES": channels * taps * BLOCKS[encoding].nbytes,
                 "HEAD": 0, "ROW_WORDS": 1, "TAPS": taps, "OUTPUTS": outputs,
                 "WIDE": ceil_div(channels, 4) * 4}
    return Launch(variant, constants, (0, 0, 0))


def units_per_row(columns, kind):
    """Threads per row: one per group, or one per destination word."""
    return columns // kind.group if kind.family == "affine" else kind.code_words(columns)
