"""MLX-quantised checkpoints made from f32 arrays, by the numpy quantiser."""

import numpy as np

from pyengine.quant import affine
from pyengine.quant.kinds import WeightKind

DTYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


def float_bytes(array, scale):
    """(dtype, shape, bytes) of f32 values in a float dtype."""
    if scale == "bf16":
        raw = affine.to_bf16(array).tobytes()
    else:
        raw = array.astype("<f2" if scale == "f16" else "<f4").tobytes()
    return DTYPES[scale], array.shape, raw


def quantised(name, array, bits, group, scale):
    """-> ({tensor: (dtype, shape, bytes)}, the f32 values that they stand for)."""
    rows, columns = array.shape
    whole = WeightKind("affine", bits, group, "f32")
    words = affine.quantize(array, whole)
    codes, scales, biases = affine.unpack_parts(words, whole, columns)
    kind = WeightKind("affine", bits, group, scale)
    held = affine.unpack(affine.pack(codes, scales, biases, kind), kind, columns)
    packed = np.ascontiguousarray(words[:, : whole.code_words(columns)])
    base = name.removesuffix(".weight")
    return {
        name: ("U32", packed.shape, packed.tobytes()),
        base + ".scales": float_bytes(scales, scale),
        base + ".biases": float_bytes(biases, scale),
    }, held


def checkpoint_of(config, weights, bits=4, group=64, scale="bf16", exceptions=None):
    """(config with `quantization`, {tensor: (dtype, shape, bytes)}, the values they stand for).

    `exceptions` {module: (bits, group) or None for unquantised}; a matrix whose columns the group
    does not divide stays as it is, as with mlx-lm."""
    exceptions, data, held = exceptions or {}, {}, {}
    for name, array in weights.items():
        found = exceptions.get(name.removesuffix(".weight"), (bits, group))
        if array.ndim != 2 or found is None or array.shape[1] % found[1]:
            data[name] = float_bytes(array, scale)
            raw = np.frombuffer(data[name][2], "<u2" if scale == "bf16" else None or "<f4"
                                if scale != "f16" else "<f2")
            values = affine.from_bf16(raw) if scale == "bf16" else raw.astype(np.float32)
            held[name] = values.reshape(array.shape)
        else:
            tensors, held[name] = quantised(name, array, *found, scale)
            data |= tensors
    rows = {path: False if e is None else {"bits": e[0], "group_size": e[1]}
            for path, e in exceptions.items()}
    options = {"group_size": group, "bits": bits, "mode": "affine", **rows}
    saved = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[scale]
    named = {**config, "torch_dtype": saved, "quantization": options,
             "quantization_config": options}
    return named, data, held
