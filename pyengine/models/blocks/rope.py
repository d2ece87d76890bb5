"""Rotary embedding on the host: frequencies in each published scaling, and the two rotation
tables."""
import math
from array import array

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
        try:
            if kind == "llama3":
                frequencies = _llama3(frequencies, parameters)
            elif kind == "linear":
                frequencies = [f / parameters["factor"] for f in frequencies]
            elif kind != "default":
                raise EngineError(
                    "E_UNSUPPORTED_CONFIG",
                    field="rope_type",
                    got=kind,
                    wanted="default, linear or llama3",
                )
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise EngineError(
                "E_UNSUPPORTED_CONFIG",
                field=f"rope parameters of {kind}",
                got=str(parameters)[:200],
                wanted=f"the numbers this scaling needs ({error!r})",
            ) from None
        self.frequencies = frequencies
        self.half = rotated // 2

    def _table(self, positions):
        table = array("f")
        for position in positions:
            for f in self.frequencies:
                table.extend((math.cos(position * f), math.sin(position * f)))
        return table

    def coarse(self, rows):
        """f32 (rows, half, 2): cos and sin at positions 0, 64, 128, ..."""
        return self._table(FINE * i for i in range(rows))

    def fine(self):
        """f32 (64, half, 2): cos and sin at positions 0 .. 63."""
        return self._table(range(FINE))
