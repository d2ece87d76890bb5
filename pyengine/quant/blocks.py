"""GGUF block layouts: raw bytes -> f32, and raw bytes -> weight rows. The oracle for the GPU's
repack kernels.

Each encoding is decoded to `scale * code + bias` with unsigned codes. In f32 that gives bit for bit
the values of ggml's own formulas: the products `scale * code` need at most 24 bits, so only the
last sum rounds. Layouts: ggml-common.h and `dequantize_row_*` of ggml-quants.c.
"""

from dataclasses import dataclass

from pyengine.errors import EngineError
from pyengine.lazy import np
from pyengine.quant import affine
from pyengine.quant.kinds import for_encoding


@dataclass(frozen=True)
class Block:
    """`nbytes` bytes hold `elements` consecutive elements of a row, in groups of `group` (0: not
    affine).
    """

    nbytes: int
    elements: int
    group: int = 0


BLOCKS = {
    "f32": Block(4, 1),
    "f16": Block(2, 1),
    "bf16": Block(2, 1),
    "u32": Block(4, 1),
    "i32": Block(4, 1),
    "i64": Block(8, 1),
    "u8": Block(1, 1),
    "i8": Block(1, 1),
    "bool": Block(1, 1),
    "q4_0": Block(18, 32, 32),  # f16 d, 16 x two nibbles
    "q4_1": Block(20, 32, 32),  # f16 d, f16 m, 16 x two nibbles
    "q5_0": Block(22, 32, 32),  # f16 d, u32 of fifth bits, 16 x two nibbles
    "q5_1": Block(24, 32, 32),  # f16 d, f16 m, u32 of fifth bits, 16 x two nibbles
    "q8_0": Block(34, 32, 32),  # f16 d, 32 x i8
    "q4_k": Block(
        144, 256, 32
    ),  # f16 d, f16 dmin, 12 bytes of 6-bit scales and mins, 128 x two nibbles
    "q5_k": Block(176, 256, 32),  # as q4_k with 32 bytes of fifth bits before the nibbles
    "q6_k": Block(
        210, 256, 16
    ),  # 128 low nibble pairs, 64 x four high bit pairs, 16 x i8 scale, f16 d
}


def data_bytes(encoding, n_elements):
    """Bytes of `n_elements` in `encoding`, or None when they do not fill whole blocks."""
    block = BLOCKS[encoding]
    return None if n_elements % block.elements else n_elements // block.elements * block.nbytes


def dequantize(raw, encoding, n_elements):
    """bytes -> float32 [n_elements]. Raises E_UNSUPPORTED_TENSOR, and E_TRUNCATED when `raw` is
    short.
    """
    if encoding in ("f32", "f16", "bf16"):
        return _floats(raw, encoding, n_elements)
    codes, scales, biases = split(raw, encoding, n_elements)
    with np.errstate(over="ignore", invalid="ignore"):
        grouped = codes.reshape(*scales.shape, -1).astype(np.float32)
        return (grouped * scales[..., None] + biases[..., None]).reshape(-1)


def split(raw, encoding, n_elements):
    """bytes -> codes uint8 [blocks, elements], scales and biases float32 [blocks, groups]."""
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise EngineError(
            "E_UNSUPPORTED_TENSOR", tensor="?", detail=f"encoding {encoding} holds no weights"
        )
    block = BLOCKS[encoding]
    rows = _whole(raw, encoding, n_elements).reshape(-1, block.nbytes)
    with np.errstate(over="ignore", invalid="ignore"):
        return decode(rows)


def repack(raw, encoding, N, K, kind, rope_head_dim=0):
    """bytes of an [N, K] tensor -> uint32 [N, row_words] of `kind`.

    Exact when `kind` is `for_encoding(encoding, K)` or holds its values; else quantised or rounded
    from f32. `rope_head_dim` hd > 0 undoes llama.cpp's row order for interleaved RoPE: within each
    head of hd rows, source row 2*j + half goes to row half*hd/2 + j. Raises E_BAD_REQUEST when hd
    is odd or does not divide N.
    """
    if kind.family == "affine" and kind == for_encoding(encoding, K):
        codes, scales, biases = split(raw, encoding, N * K)
        groups = K // kind.group
        packed = affine.pack(
            codes.reshape(N, K), scales.reshape(N, groups), biases.reshape(N, groups), kind
        )
    else:
        w = dequantize(raw, encoding, N * K).reshape(N, K)
        packed = affine.pack_dense(w, kind) if kind.family == "dense" else affine.quantize(w, kind)
    return unpermute_rope(packed, rope_head_dim) if rope_head_dim else packed


def place(raw, part, rows, kind):
    """Writes one tensor of an MLX matrix, `part` "codes", "scales" or "biases", into weight rows.

    raw: its bytes, row-major. rows: uint32 [N, row_words], of which only that part changes."""
    N = len(rows)
    if part == "codes":
        words = np.frombuffer(raw, "<u4").reshape(N, -1)
        rows[:, : words.shape[1]] = words
        return
    slot = ("scales", "biases").index(part)
    dtype = "<u4" if kind.scale == "f32" else "<u2"
    found = np.frombuffer(raw, dtype).reshape(N, -1)
    codes = found.shape[1] * kind.group * kind.bits // 32  # words
    at = codes * 4 // found.itemsize + slot
    rows.view(dtype)[:, at : at + 2 * found.shape[1] : 2] = found


def unpermute_rope(rows, head_dim):
    """rows [N, W] in llama.cpp's interleaved order -> Hugging Face's order of halves."""
    N, W = rows.shape
    if head_dim % 2 or N % head_dim:
        raise EngineError(
            "E_BAD_REQUEST",
            param="rope_head_dim",
            got=head_dim,
            wanted=f"an even divisor of the {N} rows",
        )
    return rows.reshape(N // head_dim, head_dim // 2, 2, W).swapaxes(1, 2).reshape(N, W)


def _whole(raw, encoding, n_elements):
    """The first `n_elements` of `raw` as uint8; refuses a short buffer or a part of a block."""
    wanted = data_bytes(encoding, n_elements)
    if wanted is None:
        raise EngineError(
            "E_BAD_REQUEST",
            param="n_elements",
            got=n_elements,
            wanted=f"a multiple of {BLOCKS[encoding].elements} for {encoding}",
        )
    raw = np.frombuffer(raw, np.uint8)
    if raw.size < wanted:
        raise EngineError(
            "E_TRUNCATED", file=f"{encoding} data", start=0, end=wanted, size=raw.size
        )
    return raw[:wanted]


def _floats(raw, encoding, n_elements):
    raw = _whole(raw, encoding, n_elements)
    if encoding == "bf16":
        return affine.from_bf16(raw.view("<u2"))
    return raw.view("<f2" if encoding == "f16" else "<f4").astype(np.float32)


def _half(rows, at):
    """The f16 at byte `at` of each block -> float32 [blocks, 1]."""
    return np.ascontiguousarray(rows[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(qs):
    """[..., B] bytes -> [..., 2B]: all low nibbles, then all high ones."""
    return np.concatenate([qs & 15, qs >> 4], axis=-1)


def _q4_0(rows):
    d = _half(rows, 0)
    return _nibbles(rows[:, 2:]), d, d * np.float32(-8)


def _q4_1(rows):
    return _nibbles(rows[:, 4:]), _half(rows, 0), _half(rows, 2)


def _fifth_bits(rows, at):
    """Bits of the little-endian u32 at byte `at` of each block, times 16: [blocks, 32]."""
    return np.unpackbits(rows[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)


def _q5_0(rows):
    d = _half(rows, 0)
    return _nibbles(rows[:, 6:]) | _fifth_bits(rows, 2), d, d * np.float32(-16)


def _q5_1(rows):
    return _nibbles(rows[:, 8:]) | _fifth_bits(rows, 4), _half(rows, 0), _half(rows, 2)


def _q8_0(rows):
    d = _half(rows, 0)
    return rows[:, 2:] ^ 0x80, d, d * np.float32(-128)  # i8 + 128 as u8 flips the top bit


def _k_scales(rows):
    """Scales and biases [blocks, 8] of a K-quant: 6-bit pairs packed in the 12 bytes at 4."""
    q = rows[:, 4:16]
    low, mid, high = q[:, 0:4], q[:, 4:8], q[:, 8:12]
    scale = np.concatenate([low & 63, high & 15 | low >> 6 << 4], axis=1).astype(np.float32)
    least = np.concatenate([mid & 63, high >> 4 | mid >> 6 << 4], axis=1).astype(np.float32)
    return _half(rows, 0) * scale, -(_half(rows, 2) * least)


def _q4_k(rows):
    codes = _nibbles(rows[:, 16:].reshape(-1, 4, 32)).reshape(-1, 256)
    return codes, *_k_scales(rows)


def _q5_k(rows):
    low = _nibbles(rows[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    shift = np.arange(8, dtype=np.uint8)[:, None]
    fifth = rows[:, None, 16:48] >> shift & 1  # bit g of byte l is the fifth bit of element 32g + l
    return (low | fifth << 4).reshape(-1, 256), *_k_scales(rows)


def _q6_k(rows):
    low = _nibbles(rows[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    shift = np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = rows[:, 128:192].reshape(-1, 2, 1, 32) >> shift & 3
    scale = _half(rows, 208) * np.ascontiguousarray(rows[:, 192:208]).view(np.int8).astype(
        np.float32
    )
    return (low | high << 4).reshape(-1, 256), scale, scale * np.float32(-32)


_DECODERS = {
    "q4_0": _q4_0,
    "q4_1": _q4_1,
    "q5_0": _q5_0,
    "q5_1": _q5_1,
    "q8_0": _q8_0,
    "q4_k": _q4_k,
    "q5_k": _q5_k,
    "q6_k": _q6_k,
}
