"""SamplingParams: what it refuses, and what it says about the path to take."""

import math

import pytest

from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError

NAN, INF = math.nan, math.inf
BAD = [("temperature", v) for v in (-1, -1e-9, 100.1, NAN, INF, True, "1", None, 1j)]
BAD += [("top_k", v) for v in (-1, 1.0, True, None, "5", 2**31)]
BAD += [("top_p", v) for v in (0, 0.0, -0.1, 1.0001, NAN, False, None)]
BAD += [("min_p", v) for v in (-0.1, 1.5, NAN, True)]
BAD += [("repetition_penalty", v) for v in (0, -1, NAN, INF, True, 1e30)]
BAD += [
    (name, v)
    for name in ("frequency_penalty", "presence_penalty")
    for v in (-2.01, 2.01, NAN, True)
]
BAD += [("seed", v) for v in (-1, 2**32, 1.0, True, "7")]
BAD += [
    ("logit_bias", v)
    for v in (
        {1: 101},
        {1: NAN},
        {-1: 1},
        {"1": 1},
        {True: 1},
        {1: True},
        {1.0: 1},
        5,
        [1, 2],
        [(1, 2, 3)],
        ((1, 1), (1, 2)),
        {2**32 - 1: 1},
        [([], 1)],
    )
]


@pytest.mark.parametrize("name, value", BAD, ids=repr)
def test_refused(name, value):
    with pytest.raises(EngineError) as error:
        SamplingParams(**{name: value})
    assert error.value.code == "E_BAD_REQUEST"
    assert error.value.facts["param"] == name and error.value.facts["wanted"]
    assert name in error.value.message and error.value.next_step


def test_edges_are_accepted():
    SamplingParams(
        temperature=0,
        top_k=0,
        top_p=1,
        min_p=0,
        repetition_penalty=0.01,
        frequency_penalty=-2,
        presence_penalty=2,
        seed=2**32 - 1,
        logit_bias={0: -100, 5: 100},
    )
    SamplingParams(temperature=100, top_p=1e-9, min_p=1, seed=0, logit_bias=None)


def test_frozen_hashable_and_normalised():
    params = SamplingParams(temperature=1, logit_bias={5: 1, 2: -3})
    assert params.logit_bias == ((2, -3.0), (5, 1.0)) and isinstance(params.temperature, float)
    assert hash(params) == hash(SamplingParams(logit_bias=[(5, 1), (2, -3)]))
    with pytest.raises(AttributeError):
        params.temperature = 2


@pytest.mark.parametrize(
    "kwargs, wanted",
    [
        ({"temperature": 0}, False),
        ({"temperature": 1e-5, "top_k": 5, "top_p": 0.5, "min_p": 0.1}, False),
        ({}, True),
        ({"temperature": 0, "repetition_penalty": 1.1}, True),
        ({"temperature": 0, "presence_penalty": 0.5}, True),
        ({"temperature": 0, "frequency_penalty": -1}, True),
        ({"temperature": 0, "logit_bias": {1: 1}}, True),
    ],
)
def test_needs_sampler(kwargs, wanted):
    assert SamplingParams(**kwargs).needs_sampler is wanted


def test_seed_is_drawn_once():
    assert SamplingParams(seed=0).with_seed().seed == 0
    drawn = {SamplingParams().with_seed().seed for _ in range(8)}
    assert len(drawn) > 1 and all(0 <= seed < 2**32 for seed in drawn)


def test_bias_outside_the_vocabulary():
    params = SamplingParams(logit_bias={82: 1, 83: 1})
    assert params.check_vocab(84) is params
    with pytest.raises(EngineError) as error:
        params.check_vocab(83)
    assert error.value.facts["got"] == "83" and "82" in error.value.facts["wanted"]
