"""Rotary embedding on the host: frequencies in each published scaling, and the two rotation
tables."""
import math
from array import array
from copy import copy

from pyengine.errors import EngineError

FINE = 64  # position = FINE * coarse + fine; cos and sin of a sum come from the two tables


def _llama3(frequencies, p):
    """Llama 3.1's scaling: long wavelengths divided by `factor`, short kept, a ramp between (Meta
    2024)."""
    factor, low, high = p["factor"], p["low_freq_factor"], p["high_freq_factor"]
    original = p["original_max_position_embeddings"]
    out = []
    for f in frequencies:
        turns = original * f / (2 * math.pi)
        smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
        out.append((1 - smooth) * f / factor + smooth * f)
    return out


def _yarn(frequencies, p, theta):
    """YaRN (Peng et al. 2023): dims that turn less than `beta_slow` times over the original context
    are divided by `factor`, those that turn more than `beta_fast` times kept, a ramp between."""
    factor, original = p["factor"], p["original_max_position_embeddings"]
    half = len(frequencies)

    def dim_of(turns):
        return half * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    low, high = dim_of(p.get("beta_fast") or 32), dim_of(p.get("beta_slow") or 1)
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
    given, factor = p.get("attention_factor"), p["factor"]
    if given is not None:
        return float(given)

    def scaled(weight):
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    if p.get("mscale") and p.get("mscale_all_dim"):
        return scaled(p["mscale"]) / scaled(p["mscale_all_dim"])
    return scaled(1.0)


class RopeTables:
    """Frequencies theta^(-2i/d) of the first `rotated` dims of a head, scaled as `parameters` (a
    config's merged rope parameters) say. Raises `E_UNSUPPORTED_CONFIG` for a scaling that is not
    known."""

    def __init__(self, rotated, parameters):
        kind = parameters.get("rope_type", "default")
        theta = parameters["rope_theta"]
        if not theta > 0:
            raise EngineError(
                "E_UNSUPPORTED_CONFIG", field="rope_theta", got=theta, wanted="a number over 0"
            )
        frequencies = [theta ** (-2 * i / rotated) for i in range(rotated // 2)]
        self.size = 1.0  # of the rotated vectors, in those that come
        try:
            if kind == "yarn":
                frequencies = _yarn(frequencies, parameters, theta)
                self.size = _yarn_attention(parameters)
            elif kind == "llama3":
                frequencies = _llama3(frequencies, parameters)
            elif kind == "factors":
                factors = parameters["factors"]
                frequencies = [f / by for f, by in zip(frequencies, factors, strict=True)]
            elif kind == "linear":
                frequencies = [f / parameters["factor"] for f in frequencies]
            elif kind != "default":
                raise EngineError(
                    "E_UNSUPPORTED_CONFIG",
                    field="rope_type",
                    got=kind,
                    wanted="default, linear, llama3 or yarn",
                )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise EngineError(
                "E_UNSUPPORTED_CONFIG",
                field=f"rope parameters of {kind}",
                got=str(parameters)[:200],
                wanted=f"the numbers this scaling needs ({error!r})",
            ) from None
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
