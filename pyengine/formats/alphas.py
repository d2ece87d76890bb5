"""Kani-TTS 2's numbers that scale the RoPE frequencies of each layer: tensors of one element, read
into the config while a checkpoint opens, as rotation tables are computed from a config."""
import math
import re
import struct

from pyengine.errors import EngineError
from pyengine.formats.hf_config import ROPE_ALPHAS

NAME = re.compile(r"model\.learnable_rope_layers\.(\d+)\.alpha_weight")


async def add_alphas(config, tensors, files):
    """Sets config[ROPE_ALPHAS] to {layer: number} of the tensors of that name, where there are any.
    Raises `E_UNSUPPORTED_TENSOR`, `E_TRUNCATED`."""
    found = {}
    for name, ref in tensors.items():
        layer = NAME.fullmatch(name)
        if layer:
            found[layer[1]] = _number(ref, await files[ref.file].read(ref.offset, ref.nbytes))
    if found:
        config[ROPE_ALPHAS] = found


def _number(ref, raw):
    value = math.nan
    if ref.shape in ((), (1,)) and ref.encoding in ("f32", "f16", "bf16"):
        if ref.encoding == "bf16":
            raw = bytes(2) + raw  # the upper half of an f32
        (value,) = struct.unpack("<e" if ref.encoding == "f16" else "<f", raw)
    if not math.isfinite(value):
        raise EngineError("E_UNSUPPORTED_TENSOR", tensor=ref.name[:120],
                          detail=f"it is {ref.encoding} {list(ref.shape)}, wanted one finite "
                                 "number")
    return value
