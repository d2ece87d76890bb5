"""Whether a model fits a device, before any download: config -> bytes by part and a verdict.

The bytes are those of `compile_model(...).plan.bytes_needed()`, to the byte, because they come from
the same planner: a few layers are planned and the repeated ones counted, so that a 30-layer model
costs what three layers do.
"""

import json
import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache

from pyengine.compile import TIGHTER, compile_model, default_quant
from pyengine.errors import EngineError
from pyengine.formats import hf_config
from pyengine.formats.mlx import Quantization
from pyengine.kernels.spec import Caps
from pyengine.plan.plan import PARTS

TIGHT = 0.8  # of the budget: above it another tab or a long answer may tip the device over
STEP = 64  # contexts are searched in multiples of this
PLANNED_LAYERS = 3  # at least so many: first, last, and one between
UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Fit:
    """`verdict` is "fits", "tight" (over 80% of the budget) or "no"; `bytes` has the plan's parts
    and "total".

    `quant` is how the weights will lie, `context` the one asked for. `largest_context` is that one
    where it fits, else the largest multiple of 64 (or the model's own limit) that does, 0 for none.
    `reason` is a sentence, empty where the model fits.
    """

    verdict: str
    bytes: dict
    context: int
    largest_context: int
    reason: str
    quant: str

    def to_dict(self):
        """The form that crosses to JavaScript."""
        return {
            "verdict": self.verdict,
            "bytes": dict(self.bytes),
            "context": self.context,
            "largest_context": self.largest_context,
            "reason": self.reason,
            "quant": self.quant,
        }


def fit(config, *, budget, quant=None, context=None, kv="f16", caps=None, encodings=None):
    """The Fit of a Hugging Face config in `budget` bytes of GPU memory.

    `encodings` {"matrix": "q4_1", "embedding": "q8_0"} says what the file holds where the config
    does not (a GGUF); `quant` None is then "keep". Where no quant is asked for and the default
    takes more than the budget, the Fit is of its smaller form, which a load takes then
    (`compile_within`). Raises what `compile_model` raises for a wrong config, quant, kv or context.
    """
    options = {"kv": kv, "caps": caps or Caps(), "encodings": encodings}
    found = _fit(_Sizes(config, quant, **options), context, budget)
    if quant is None and found.bytes["total"] > budget and found.quant in TIGHTER:
        return _fit(_Sizes(config, TIGHTER[found.quant], **options), context, budget)
    return found


def _fit(sizes, context, budget):
    try:
        needed, asked = sizes.strict(context)
        why = _reason(needed, budget)
        if needed["total"] <= budget:
            tight = needed["total"] > TIGHT * budget
            return Fit("tight" if tight else "fits", needed, asked, asked, why if tight else "",
                       sizes.quant)
    except EngineError as error:
        if error.code != "E_OUT_OF_MEMORY":
            raise
        why = error.message
        needed, asked = sizes.anyhow(context)
    largest = _largest(sizes, asked, budget)
    return Fit(
        "no",
        needed,
        asked,
        largest,
        f"{why} A context of {largest} tokens fits." if largest else why,
        sizes.quant,
    )


def largest_context(config, *, budget, quant=None, kv="f16", caps=None, encodings=None):
    """The largest context up to the model's own that fits `budget` bytes; 0 for none."""
    sizes = _Sizes(config, quant, kv, caps or Caps(), encodings)
    return _largest(sizes, sizes.most, budget)


def _reason(needed, budget):
    parts = ", ".join(f"{part} {needed[part] / 1e6:.0f}" for part in PARTS if needed[part] >= 1e6)
    verb = "more than" if needed["total"] > budget else "close to"
    return (
        f"It needs {needed['total'] / 1e6:.0f} MB of memory ({parts}), {verb} the "
        f"{budget / 1e6:.0f} MB that this device gives a page."
    )


def _largest(sizes, most, budget):
    """The last of STEP, 2 STEP, ..., `most` that fits: bytes grow about as the context."""

    def fits(step):
        found = sizes.at(min(step * STEP, most))
        return found is not None and found["total"] <= budget

    low, high = 0, -(-most // STEP)  # `low` fits, `high + 1` does not
    if not fits(1):
        return 0
    if fits(high):
        return most
    guess = _guess(sizes, most, budget)
    for step in (guess, guess + 1):
        if low < step <= high:
            low, high = (step, high) if fits(step) else (low, step - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return min(low * STEP, most)


def _guess(sizes, most, budget):
    """The step at which a line through the smallest and the largest context meets the budget."""
    first = min(STEP, most)
    start, end = (sizes.anyhow(context)[0]["total"] for context in (first, most))
    if end <= start:
        return 1
    return (first + (budget - start) * (most - first) // (end - start)) // STEP


class _Sizes:
    """Plan sizes of one model at any context."""

    def __init__(self, config, quant, kv, caps, encodings):
        text = hf_config.text_config(config)
        if "encoder_num_hidden_layers" in text:  # two stacks of few layers: all are planned
            small, self._times, self._period, self._kept = text, 0, 1, 0
        else:
            layers = hf_config.require(text, "num_hidden_layers")
            small, self._times, self._period, self._kept = _shortened(text, layers)
        self._key = json.dumps(small, sort_keys=True)
        self.quant = quant or ("keep" if encodings else default_quant(text, None))
        self._encodings = tuple(sorted(encodings.items())) if encodings else None
        self._kv, self._caps = kv, caps
        self._loose = replace(caps, max_binding=UNLIMITED, max_buffer=UNLIMITED)

    def _planned(self, context, caps):
        return _planned(self._key, self.quant, context, self._kv, caps, self._encodings)

    @property
    def most(self):
        """The model's own largest context."""
        return self._planned(1, self._loose)[1]

    def anyhow(self, context):
        """(bytes by part, context: None becomes the default) whatever the device's limits are."""
        buffers, _, used = self._planned(context, self._loose)
        return self._whole(buffers), used

    def strict(self, context):
        """(bytes by part, context). Raises `E_OUT_OF_MEMORY` for a buffer the device lacks."""
        buffers, _, used = self._planned(context, self._caps)
        return self._whole(buffers), used

    def at(self, context):
        """Bytes by part, or None where the device offers no buffer or binding of that size."""
        try:
            return self.strict(context)[0]
        except EngineError as error:
            if error.code != "E_OUT_OF_MEMORY":
                raise
            return None

    def _whole(self, buffers):
        parts = dict.fromkeys(PARTS, 0)
        for nbytes, part, layer in buffers:
            repeated = layer is not None and layer >= self._kept - self._period
            parts[part] += nbytes * (1 + self._times if repeated else 1)
        return {**parts, "total": sum(parts.values())}


_LAYER = re.compile(r"(?:^|[.+])layers\.(\d+)\.")


@lru_cache(maxsize=256)
def _planned(key, quant, context, kv, caps, encodings):
    """(buffers as (bytes, part, layer or None), the model's largest context, the planned one)."""
    config = json.loads(key)
    model = compile_model(
        config,
        quant=quant,
        context=context,
        kv=kv,
        caps=caps,
        encodings=dict(encodings) if encodings else None,
    )
    found = []
    for buffer in model.plan.buffers:
        layer = _LAYER.search(buffer.name)
        found.append((buffer.nbytes, buffer.part, int(layer.group(1)) if layer else None))
    return tuple(found), model.config.max_context, model.context


def _shortened(config, layers):
    """(config with fewer layers, how often its last period is left out, period, layers kept)."""
    period = _period(config, layers)
    kept = layers % period + period * max(2, -(-PLANNED_LAYERS // period)) if period else layers
    if kept >= layers:
        return config, 0, period or 1, layers
    small = {
        name: value[:kept] if _per_layer(value, layers) else value for name, value in config.items()
    }
    return {**small, "num_hidden_layers": kept}, (layers - kept) // period, period, kept


def _per_layer(value, layers):
    return isinstance(value, list) and len(value) == layers


def _period(config, layers):
    """Layers after which their kinds repeat; 0 where that cannot be told: then all are planned."""
    quantization = Quantization.of(config)
    if quantization and any("layers." in path for path in quantization.exceptions):
        return 0
    lists = [value for name, value in config.items() if _per_layer(value, layers)]
    named = [
        config[name]
        for name in ("full_attention_interval", "sliding_window_pattern")
        if isinstance(config.get(name), int)
    ]
    # A list of layer numbers says nothing about the layers that it does not name.
    if any(
        name.endswith(("_idxs", "_layers"))
        and isinstance(value, list)
        and value
        and not _per_layer(value, layers)
        for name, value in config.items()
    ):
        return 0
    step = math.lcm(1, *named)
    for period in range(step, layers + 1, step):
        if all(value[i] == value[i - period] for value in lists for i in range(period, layers)):
            return period
    return 0
