"""Affine and dense weight rows in numpy: the oracle for the GPU's repack and matmul kernels.

Rows are laid out as `quant.kinds` says. The quantiser is MLX's (mlx.core.quantize, mode affine),
with the scale and bias rounded to what is stored *before* the codes are chosen, so the codes are
the best for them.
"""

from pyengine.errors import EngineError
from pyengine.lazy import np

F16_MAX = 65504.0
F16_MIN_NORMAL = 2.0**-14  # GPUs may flush smaller f16 values to zero when they unpack


def pack(codes, scales, biases, kind):
    """codes [N, K] in 0..2^bits-1, scales and biases [N, K/group] -> uint32 [N, row_words]."""
    N, K = codes.shape
    out = np.zeros((N, kind.row_words(K)), np.uint32)
    bytes_ = np.ascontiguousarray(codes, np.uint8)
    if kind.bits == 4:
        bytes_ = bytes_[:, 0::2] | bytes_[:, 1::2] << np.uint8(4)  # low nibble first
    words = kind.code_words(K)
    out[:, :words] = np.ascontiguousarray(bytes_).view("<u4")
    pairs = np.stack([scales, biases], axis=-1).astype(np.float32)  # (N, G, 2)
    if kind.scale != "f32":
        pairs = to_bf16(pairs) if kind.scale == "bf16" else _to_f16(pairs)
    out[:, words : words + kind.scale_words(K)] = pairs.reshape(N, -1).view("<u4")
    return out


def unpack(packed, kind, K):
    """uint32 [N, row_words] -> float32 [N, K]: `scale * code + bias`, or the dense values."""
    if kind.family == "dense":
        return _unpack_dense(packed, kind, K)
    codes, scales, biases = unpack_parts(packed, kind, K)
    with np.errstate(over="ignore", invalid="ignore"):
        grouped = codes.reshape(len(packed), -1, kind.group).astype(np.float32)
        return (grouped * scales[..., None] + biases[..., None]).reshape(len(packed), K)


def unpack_parts(packed, kind, K):
    """uint32 [N, row_words] -> codes uint8 [N, K], scales and biases float32 [N, K/group]."""
    N, words = len(packed), kind.code_words(K)
    codes = np.ascontiguousarray(packed[:, :words], "<u4").view(np.uint8)
    if kind.bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(N, K)
    pairs = np.ascontiguousarray(packed[:, words : words + kind.scale_words(K)], "<u4")
    if kind.scale == "bf16":
        pairs = from_bf16(pairs.view("<u2"))
    pairs = pairs.view("<f2" if kind.scale == "f16" else "<f4").astype(np.float32).reshape(N, -1, 2)
    return codes, pairs[..., 0], pairs[..., 1]


def pack_dense(w, kind):
    """float32 [N, K] -> uint32 [N, row_words]; f16 and bf16 round to even, two to a word."""
    N, K = w.shape
    w = np.ascontiguousarray(w, "<f4")
    if kind.dtype == "f32":
        values = w.view("<u4")
    else:
        values = to_bf16(w) if kind.dtype == "bf16" else _to_f16(w)
        values = np.pad(values, ((0, 0), (0, K % 2))).view("<u4")
    out = np.zeros((N, kind.row_words(K)), np.uint32)
    out[:, : values.shape[1]] = values
    return out


def quantize(w, kind):
    """float32 [N, K] -> uint32 [N, row_words]; source of the maths: MLX's affine quantiser, any
    bits.

    With f16 scales, |scale| is kept in [2^-14, 65504] and |bias| below 65504. Raises E_BAD_REQUEST
    when `kind` is not affine, has bf16 scales (too coarse for 8 bits; only read from files), or its
    group does not divide K.
    """
    if kind.family != "affine" or kind.scale == "bf16":
        wanted = "an affine kind with f16 or f32 scales"
        raise EngineError("E_BAD_REQUEST", param="kind", got=kind.name, wanted=wanted)
    N, K = w.shape
    kind.code_words(K)
    groups = np.asarray(w, np.float32).reshape(N, K // kind.group, kind.group)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale, bias = _choose(groups, (1 << kind.bits) - 1)
        if kind.scale == "f16":
            scale, bias = _storable_f16(scale, bias)
        codes = np.rint((groups - bias[..., None]) / scale[..., None])
        codes = np.clip(np.nan_to_num(codes), 0, (1 << kind.bits) - 1).astype(np.uint8)
    return pack(codes.reshape(N, K), scale, bias, kind)


def _choose(groups, top):
    """MLX's scale and bias of each group [N, G, group]: zero and the edge of larger magnitude are
    exact.
    """
    low, high = groups.min(-1), groups.max(-1)
    scale = np.maximum((high - low) / np.float32(top), np.float32(1e-7))
    low_side = np.abs(low) > np.abs(high)
    scale = np.where(low_side, scale, -scale)
    edge = np.where(low_side, low, high)
    steps = np.rint(edge / scale)
    moved = steps != 0
    scale = np.where(moved, edge / np.where(moved, steps, np.float32(1)), scale)
    return scale, np.where(moved, edge, np.float32(0))


def _storable_f16(scale, bias):
    """Scale and bias as they will be read back from f16."""
    size = np.clip(np.abs(scale), F16_MIN_NORMAL, F16_MAX)
    scale = np.copysign(size, scale).astype(np.float16).astype(np.float32)
    return scale, np.clip(bias, -F16_MAX, F16_MAX).astype(np.float16).astype(np.float32)


def to_bf16(w):
    """float32 -> uint16 bf16 bits, to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(w, "<f4").view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(w), bits >> 16 | 0x40, rounded).astype("<u2")


def from_bf16(bits):
    """uint16 bf16 bits -> float32."""
    return (bits.astype("<u4") << 16).view("<f4")


def _to_f16(w):
    with np.errstate(over="ignore", invalid="ignore"):
        return w.astype("<f2").view("<u2")


def _unpack_dense(packed, kind, K):
    words = np.ascontiguousarray(packed, "<u4")
    if kind.dtype == "f32":
        return words.view("<f4")[:, :K].copy()
    halves = words.view("<u2")[:, :K]
    if kind.dtype == "bf16":
        return from_bf16(halves)
    return np.ascontiguousarray(halves).view("<f2").astype(np.float32)
