"""`WeightKind`: how a matrix lies on the GPU, and which kind a file's encoding or a `--quant` name
asks for.

Row layout (docs/architecture.md, "Bytes"): codes, then one scale word (f16 or bf16 pair) or two
(f32) per group, then zeros up to a multiple of 4 words. Everything here is plain integers: no
numpy, so planning needs none.
"""

import re
from dataclasses import dataclass

from pyengine.errors import EngineError

GROUPS = (128, 64, 32, 16)
DENSE = ("f32", "f16", "bf16")
QUANT_NAMES = ("keep", "affine4-g32", "affine4-g64", "affine8-g64", "mixed4")
_WANTED = "affine{4|8}_g{16|32|64|128}_{f16|bf16|f32} or dense_{f32|f16|bf16}"
_NAME = re.compile(r"affine(4|8)_g(16|32|64|128)_(f16|bf16|f32)|dense_(f32|f16|bf16)")


@dataclass(frozen=True)
class WeightKind:
    """`affine` (bits 4|8, group 16..128, scale f16|bf16|f32) or `dense` (dtype f32|f16|bf16)."""

    family: str
    bits: int = 0
    group: int = 0
    scale: str = ""
    dtype: str = ""

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            raise EngineError(
                "E_BAD_REQUEST",
                param="kind",
                got=self.name,
                wanted=_WANTED,
            )

    @property
    def name(self):
        """The stable name: `affine4_g32_f16`, `dense_bf16`."""
        if self.family == "affine":
            return f"affine{self.bits}_g{self.group}_{self.scale}"
        return f"{self.family}_{self.dtype}"

    @classmethod
    def parse(cls, name):
        """The kind of that name. Raises E_BAD_REQUEST."""
        match = _NAME.fullmatch(name)
        if not match:
            raise EngineError(
                "E_BAD_REQUEST",
                param="kind",
                got=name[:80],
                wanted=_WANTED,
            )
        bits, group, scale, dtype = match.groups()
        return cls("dense", dtype=dtype) if dtype else cls("affine", int(bits), int(group), scale)

    def code_words(self, K):
        """u32 words of one row's codes (affine; `group` divides K) or values (dense, odd K rounded
        up).
        """
        if self.family == "dense":
            return K if self.dtype == "f32" else -(-K // 2)
        if K % self.group:
            raise EngineError(
                "E_BAD_REQUEST", param="K", got=K, wanted=f"a multiple of {self.group}"
            )
        return K * self.bits // 32

    def scale_words(self, K):
        """u32 words of one row's scales and biases: a group has two as f32, else one."""
        if self.family == "dense":
            return 0
        return K // self.group * (2 if self.scale == "f32" else 1)

    def row_words(self, K):
        """u32 words of one row, padded to a multiple of 4 so that vec4<u32> loads line up."""
        return (self.code_words(K) + self.scale_words(K) + 3) // 4 * 4

    def nbytes(self, N, K):
        """Bytes of an [N, K] matrix."""
        return N * self.row_words(K) * 4


# K-quants multiply two scales, which f16 cannot hold exactly: they take f32.
_KEEP = {
    "q4_0": WeightKind("affine", 4, 32, "f16"),
    "q4_1": WeightKind("affine", 4, 32, "f16"),
    "q5_0": WeightKind("affine", 8, 32, "f16"),
    "q5_1": WeightKind("affine", 8, 32, "f16"),
    "q8_0": WeightKind("affine", 8, 32, "f16"),
    "q4_k": WeightKind("affine", 4, 32, "f32"),
    "q5_k": WeightKind("affine", 8, 32, "f32"),
    "q6_k": WeightKind("affine", 8, 16, "f32"),
    **{dtype: WeightKind("dense", dtype=dtype) for dtype in DENSE},
}
_QUANT = {  # name: ((bits, group) of a matrix, (bits, group) of the embedding and the head)
    "affine4-g32": ((4, 32), (4, 32)),
    "affine4-g64": ((4, 64), (4, 64)),
    "affine8-g64": ((8, 64), (8, 64)),
    "mixed4": ((4, 64), (8, 64)),
}


def is_joined(encoding):
    """True for a matrix whose codes, scales and biases are tensors of their own (MLX)."""
    return encoding.startswith("affine")


def for_encoding(encoding, K, tensor="?"):
    """The kind that holds `encoding` exactly (`--quant keep`), for rows of K elements; the name of
    an affine kind is an encoding too: that of an MLX matrix.

    Raises E_UNSUPPORTED_TENSOR (integers and unknown encodings) and E_BAD_REQUEST when K does not
    fit the group.
    """
    kind = WeightKind.parse(encoding) if is_joined(encoding) else _KEEP.get(encoding)
    if kind is None:
        raise EngineError(
            "E_UNSUPPORTED_TENSOR",
            tensor=tensor,
            detail=f"encoding {encoding}, wanted one of {', '.join(_KEEP)}",
        )
    kind.code_words(K)
    return kind


def resolve_quant(quant_name, encoding, is_embedding_or_head, K):
    """The kind of a matrix [*, K] under a `--quant` name (DESIGN section 2).

    A group that does not divide K gives way to the next smaller one, then to dense. Raises
    E_BAD_REQUEST for an unknown name and for another quantisation of MLX's, E_UNSUPPORTED_TENSOR
    for an encoding without weights.
    """
    kept = for_encoding(encoding, K)
    if quant_name == "keep":
        return kept
    if is_joined(encoding):
        raise EngineError("E_BAD_REQUEST", param="quant", got=quant_name,
                          wanted=f"keep, as the file holds {encoding}")
    if quant_name not in _QUANT:
        raise EngineError(
            "E_BAD_REQUEST", param="quant", got=quant_name, wanted=", ".join(QUANT_NAMES)
        )
    bits, wanted = _QUANT[quant_name][1 if is_embedding_or_head else 0]
    for group in GROUPS:
        if group <= wanted and K % group == 0:
            return WeightKind("affine", bits, group, "f16")
    return kept
