"""What a request may say about sampling, checked once where it enters."""
import math
import os
from dataclasses import dataclass, replace
from numbers import Real

from pyengine.decode.logprobs import MOST as MOST_LOGPROBS
from pyengine.decode.state import MIN_TEMPERATURE
from pyengine.errors import EngineError

# name: (lowest, highest, what to write); ranges are OpenAI's where it has the parameter
_FLOATS = {
    "temperature": (0.0, 100.0, "a number from 0 to 100"),
    "top_p": (0.0, 1.0, "a number over 0, at most 1"),
    "min_p": (0.0, 1.0, "a number from 0 to 1"),
    "repetition_penalty": (0.01, 100.0, "a number from 0.01 to 100"),
    "frequency_penalty": (-2.0, 2.0, "a number from -2 to 2"),
    "presence_penalty": (-2.0, 2.0, "a number from -2 to 2"),
}
_BIAS_LIMIT = 100.0


def random_seed():
    """32 bits of the platform's randomness (`secrets` would import ten modules at a start)."""
    return int.from_bytes(os.urandom(4), "little")


def _refuse(param, got, wanted):
    raise EngineError("E_BAD_REQUEST", param=param, got=repr(got), wanted=wanted)


def _is_int(value, lowest, highest):
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _is_number(value, lowest, highest):
    return (isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
            and lowest <= value <= highest)


@dataclass(frozen=True)
class SamplingParams:
    """One request: the next id is the argmax of `logit / temperature + noise(seed, position, id)`.

    Order: repetition, frequency and presence penalties and `logit_bias` change the logits,
    `temperature` scales them (0, and anything below 1e-4, is plain argmax), then `top_k` (0 is
    off), `top_p` (on what top-k kept, renormalised; the smallest prefix that reaches it, at least
    one id) and `min_p` (relative to the likeliest id) drop ids. `seed` None means "draw one":
    `with_seed()`. `logit_bias` is a mapping or pairs of id and value, kept as sorted pairs.
    `top_logprobs` (None: none at all) asks for each id's log probability and those of so many
    likeliest ids. Raises `E_BAD_REQUEST` with the parameter, what it got and what it wants.
    """
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logit_bias: tuple = ()
    top_logprobs: int | None = None

    def __post_init__(self):
        for name, (lowest, highest, wanted) in _FLOATS.items():
            value = getattr(self, name)
            if not _is_number(value, lowest, highest) or (name == "top_p" and value == 0):
                _refuse(name, value, wanted)
            object.__setattr__(self, name, float(value))
        if not _is_int(self.top_k, 0, 2 ** 31 - 1):
            _refuse("top_k", self.top_k, "an integer from 0 (off) to 2147483647")
        if self.seed is not None and not _is_int(self.seed, 0, 2 ** 32 - 1):
            _refuse("seed", self.seed, "an integer from 0 to 4294967295, or none")
        if self.top_logprobs is not None and not _is_int(self.top_logprobs, 0, MOST_LOGPROBS):
            _refuse("top_logprobs", self.top_logprobs, f"an integer from 0 to {MOST_LOGPROBS}")
        object.__setattr__(self, "logit_bias", _bias_pairs(self.logit_bias))

    @property
    def has_penalties(self):
        """Whether any of the three penalties changes a logit."""
        return (self.repetition_penalty != 1.0 or self.frequency_penalty != 0.0
                or self.presence_penalty != 0.0)

    @property
    def is_greedy(self):
        """Whether the draw is an argmax, without noise or filters."""
        return self.temperature < MIN_TEMPERATURE

    @property
    def needs_sampler(self):
        """False: the two-dispatch argmax program gives the same ids."""
        return not self.is_greedy or self.has_penalties or bool(self.logit_bias)

    def with_seed(self):
        """These parameters with a seed: the own one, else one from the system's randomness."""
        return self if self.seed is not None else replace(self, seed=random_seed())

    def check_vocab(self, vocab):
        """Raises `E_BAD_REQUEST` when `logit_bias` names an id outside a vocabulary of that size;
        returns self."""
        for token, _ in self.logit_bias:
            if token >= vocab:
                _refuse("logit_bias", token, f"token ids from 0 to {vocab - 1}")
        return self


def _bias_pairs(bias):
    wanted = "token ids with numbers from -100 to 100"
    try:
        pairs = list(bias.items() if hasattr(bias, "items") else (bias or ()))
        values = {token: value for token, value in pairs}
    except (TypeError, ValueError):
        _refuse("logit_bias", bias, wanted)
    for token, value in pairs:
        if not _is_int(token, 0, 2 ** 32 - 2) or not _is_number(value, -_BIAS_LIMIT, _BIAS_LIMIT):
            _refuse("logit_bias", {token: value}, wanted)
    if len(values) != len(pairs):
        _refuse("logit_bias", bias, wanted + ", each id once")
    return tuple(sorted((token, float(value)) for token, value in pairs))
