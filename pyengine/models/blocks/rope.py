"""Rotary embedding on the host: frequencies in each published scaling, and the two rotation
tables."""
import math
from array import array
from copy import copy

from pyengine.errors import EngineError
from pyengine.formats.hf_config import over_zero, refuse

FINE = 64  # position = FINE * coarse + fine; cos and sin of a sum come from the two tables


def _number(p, name):
    """p[name], a number over 0. Raises `E_UNSUPPORTED_CONFIG`, which says that it is of RoPE."""
    try:
        return over_zero(p, name)
    except EngineError as error:
        raise EngineError(error.code, **{**error.facts, "field": f"rope {name}"}) from None


def _llama3(frequencies, p):
    """Llama 3.1's scaling: long wavelengths divided by `factor`, short kept, a ramp between (Meta
    2024)."""
    factor, low, high, original = (_number(p, name) for name in (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"))
    if not low < high:
        refuse("rope high_freq_factor", high, f"a number over low_freq_factor, {low}")
    out = []
    for f in frequencies:
        turns = original * f / (2 * math.pi)
        smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
        out.append((1 - smooth) * f / factor + smooth * f)
    return out


def _yarn(frequencies, p, theta):
    """YaRN (Peng et al. 2023): dims that turn less than `beta_slow` times over the original context
    are divided by `factor`, those that turn more than `beta_fast` times kept, a ramp between."""
    factor, original = (_number(p, name)
                        for name in ("factor", "original_max_position_embeddings"))
    fast, slow = (_number(p, name) if p.get(name) else default
                  for name, default in (("beta_fast", 32), ("beta_slow", 1)))
    half = len(frequencies)

    def dim_of(turns):
        return half * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    low, high = dim_of(fast), dim_of(slow)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    out = []
    for i, f in enumerate(frequencies):
        ramp = min(1.0, max(0.0, (i - low) / ((high - low) or 0.001)))
        out.append(f / factor * ramp + f * (1 - ramp))
    return out


def _yarn_attention(p):
    """What YaRN multiplies rotated q and k with."""
    factor = p["factor"]
    if p.get("attention_factor") is not None:
        return _number(p, "attention_factor")

    def scaled(weight):
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    if p.get("mscale") and p.get("mscale_all_dim"):
        return scaled(_number(p, "mscale")) / scaled(_number(p, "mscale_all_dim"))
    return scaled(1.0)


def _factors(frequencies, p):
    """llama.cpp's form of Llama 3's scaling: what each frequency is divided by, from a tensor."""
    factors = p.get("factors")
    if not isinstance(factors, list) or len(factors) != len(frequencies) or not all(
            type(by) is float and 0 < by < math.inf for by in factors):
        refuse("rope factors", str(factors)[:80], f"{len(frequencies)} numbers over 0")
    return [f / by for f, by in zip(frequencies, factors, strict=True)]


def _scaled(frequencies, p, theta):
    """(frequencies, size of the rotated vectors) of the scaling that `p` names."""
    kind = p.get("rope_type", "default")
    if kind == "yarn":
        return _yarn(frequencies, p, theta), _yarn_attention(p)
    if kind == "llama3":
        return _llama3(frequencies, p), 1.0
    if kind == "factors":
        return _factors(frequencies, p), 1.0
    if kind == "linear":
        factor = _number(p, "factor")
        return [f / factor for f in frequencies], 1.0
    if kind != "default":
        refuse("rope_type", str(kind)[:80], "default, linear, llama3 or yarn")
    return frequencies, 1.0


class RopeTables:
    """Frequencies theta^(-2i/d) of the first `rotated` dims of a head, scaled as `parameters` (a
    config's merged rope parameters) say. Raises `E_UNSUPPORTED_CONFIG` for a scaling that is not
    known, and for numbers that make none."""

    def __init__(self, rotated, parameters):
        theta = over_zero(parameters, "rope_theta")
        if theta <= 1:
            refuse("rope_theta", theta, "a number over 1")
        plain = [theta ** (-2 * i / rotated) for i in range(rotated // 2)]
        frequencies, self.size = _scaled(plain, parameters, theta)  # size: of what was rotated
        self.frequencies = frequencies
        self.half = rotated // 2

    def scaled(self, factor):
        """Tables of `factor` times these frequencies."""
        found = copy(self)
        found.frequencies = [factor * f for f in self.frequencies]
        return found

    def _table(self, positions, size=1.0):
        table = array("f")
        for position in positions:
            for f in self.frequencies:
                table.extend((size * math.cos(position * f), size * math.sin(position * f)))
        return table

    def coarse(self, rows):
        """f32 (rows, half, 2): cos and sin at positions 0, 64, 128, ..., times `size`."""
        return self._table((FINE * i for i in range(rows)), self.size)

    def fine(self):
        """f32 (64, half, 2): cos and sin at positions 0 .. 63."""
        return self._table(range(FINE))
