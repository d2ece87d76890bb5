"""The registry of sampling parameters: one row each, from which requests are checked, defaults
taken and forms drawn."""

import math
from dataclasses import asdict, dataclass

from pyengine.errors import EngineError
from pyengine.flags import VARIANTS, Hybrid, variants_of


@dataclass(frozen=True)
class Setting:
    """One parameter: `type` is int or float, `low` and `high` are inclusive unless `open_low`, None
    has no bound.

    `default` is Jird's own; a model's generation_config overrides it under the key `model_key`.
    """

    name: str
    type: type
    low: float | None
    high: float | None
    default: float | int | None
    help: str
    open_low: bool = False
    model_key: str | None = None

    def wanted(self):
        """The accepted values in words, e.g. `a number from 0 to 2`."""
        noun = "an integer" if self.type is int else "a number"
        if self.low is None:
            return noun
        lower = f"above {self.low}" if self.open_low else f"from {self.low}"
        if self.high is None:
            return f"{noun} {lower}" + ("" if self.open_low else " up")
        return f"{noun} {lower}{', at most' if self.open_low else ' to'} {self.high}"

    def check(self, value):
        """`value` as this parameter's type. Raises E_BAD_REQUEST with the name, the value and the
        accepted range."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and self.type is int and isinstance(value, float):
            number = math.isfinite(value) and value == int(value)
        elif number:
            number = math.isfinite(value)
        if not number or not self._in_range(value):
            raise EngineError(
                "E_BAD_REQUEST", param=self.name, got=shown(value), wanted=self.wanted()
            )
        return self.type(value)

    def _in_range(self, value):
        if self.low is not None and (value <= self.low if self.open_low else value < self.low):
            return False
        return self.high is None or value <= self.high


# OpenAI's ranges where it has the parameter; those of the common local servers for the others.
SAMPLING = {
    row.name: row
    for row in (
        Setting(
            "temperature",
            float,
            0,
            2,
            1.0,
            "How freely words are chosen: 0 always takes the likeliest.",
            model_key="temperature",
        ),
        Setting(
            "top_p",
            float,
            0,
            1,
            1.0,
            "Keep the likeliest words whose probabilities add up to this.",
            open_low=True,
            model_key="top_p",
        ),
        Setting(
            "top_k",
            int,
            0,
            2**31 - 1,
            0,
            "Keep this many of the likeliest words; 0 keeps all.",
            model_key="top_k",
        ),
        Setting(
            "min_p",
            float,
            0,
            1,
            0.0,
            "Drop words less likely than this share of the likeliest one.",
            model_key="min_p",
        ),
        Setting(
            "repetition_penalty",
            float,
            0,
            10,
            1.0,
            "Above 1, words already in the text become less likely.",
            open_low=True,
            model_key="repetition_penalty",
        ),
        Setting(
            "frequency_penalty",
            float,
            -2,
            2,
            0.0,
            "Above 0, each use of a word makes it less likely.",
        ),
        Setting(
            "presence_penalty", float, -2, 2, 0.0, "Above 0, words used once become less likely."
        ),
        Setting(
            "seed",
            int,
            -(2**63),
            2**64 - 1,
            None,
            "The same seed gives the same text; empty draws a new one.",
        ),
    )
}

MAX_TOKENS = Setting(
    "max_tokens", int, 1, None, None, "The most tokens to write; empty is what the context leaves."
)


QUANTS = ("keep", "affine4-g32", "affine4-g64", "affine8-g64", "mixed4")
KV = ("f16", "f32")
CONTEXT = Setting(
    "context", int, 1, None, None, "How many tokens a conversation holds; empty is what fits."
)
BURST = Setting(
    "burst", int, 1, 64, None, "Tokens per GPU submission; auto keeps the stream smooth."
)


DEVICES = ("webgpu", "reference")


def load_device(params):
    """Which of DEVICES a `load` asks for; the reference device only where it is named. Raises
    E_BAD_REQUEST."""
    device = DEVICES[0] if params.get("device") is None else params["device"]
    if device not in DEVICES:
        raise EngineError(
            "E_BAD_REQUEST", param="device", got=shown(device), wanted=" or ".join(DEVICES)
        )
    return device


def load_tune(params):
    """Whether a `load` asks to measure kernels: a bool, None where it leaves that to the device.
    Raises E_BAD_REQUEST."""
    asked = params.get("tune")
    if asked is not None and not isinstance(asked, bool):
        raise EngineError("E_BAD_REQUEST", param="tune", got=shown(asked), wanted="true or false")
    return asked


def load_variants(params):
    """The `flags.FEATURES` that a `load` lets kernels use; flags.VARIANTS (None: those that gain)
    where it leaves that open. Raises E_BAD_REQUEST."""
    asked = params.get("variants")
    return VARIANTS if asked is None else variants_of(asked)


def load_options(params):
    """{quant, kv, context, burst, hybrid}: those of `params` that are given, checked. Raises
    E_BAD_REQUEST."""
    chosen = {}
    for name, legal in (("quant", QUANTS), ("kv", KV)):
        if params.get(name) is None:
            continue
        if params[name] not in legal:
            raise EngineError(
                "E_BAD_REQUEST", param=name, got=shown(params[name]), wanted=" or ".join(legal)
            )
        chosen[name] = params[name]
    if params.get("context") is not None:
        chosen["context"] = CONTEXT.check(params["context"])
    if params.get("burst") is not None:
        chosen["burst"] = "auto" if params["burst"] == "auto" else BURST.check(params["burst"])
    if params.get("apart") is not None or params.get("delta_state") is not None:
        chosen["hybrid"] = Hybrid.of(params.get("apart"), params.get("delta_state"))
    return chosen


def load_room(params):
    """(platform or None, GiB of memory or None, MB that the person allows or None) of the page's
    device. Raises E_BAD_REQUEST."""
    memory, chosen = params.get("memory_gib"), params.get("budget_mb")
    if memory is not None and not isinstance(memory, (int, float)):
        raise EngineError("E_BAD_REQUEST", param="memory_gib", got=shown(memory),
                          wanted="a number of GiB")
    try:
        chosen = None if chosen is None else float(chosen)  # from an address it is a text
        if chosen is not None and not 1 <= chosen <= 1e6:
            raise ValueError
    except (TypeError, ValueError):
        raise EngineError("E_BAD_REQUEST", param="budget_mb", got=shown(params["budget_mb"]),
                          wanted="a number of MB from 1 to 1000000") from None
    return params.get("platform"), memory, chosen


def shown(value):
    """`value` for an error message, cut short."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def defaults(generation_config=None):
    """{name: default}, the model's own where its generation_config has a valid one."""
    given = generation_config or {}
    chosen = {}
    for name, row in SAMPLING.items():
        chosen[name] = row.default
        value = given.get(row.model_key) if row.model_key else None
        if value is None:
            continue
        try:
            chosen[name] = row.check(value)
        except EngineError:
            continue  # a checkpoint's odd default must not make every request fail
    return chosen


def merged(given, generation_config=None):
    """{name: value}: `given` (None means absent) checked over the defaults. Raises
    E_BAD_REQUEST."""
    chosen = defaults(generation_config)
    for name, row in SAMPLING.items():
        if given.get(name) is not None:
            chosen[name] = row.check(given[name])
    return chosen


def as_json():
    """The registry as JSON-able rows, for forms: {name, type, low, high, default, help,
    open_low}."""
    rows = []
    for row in (*SAMPLING.values(), MAX_TOKENS):
        fields = asdict(row)
        fields["type"] = row.type.__name__
        del fields["model_key"]
        rows.append(fields)
    return rows
