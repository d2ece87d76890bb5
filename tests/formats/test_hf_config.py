"""Config accessors: both dialects, and no default for what changes the maths."""

import pytest

from pyengine.errors import EngineError
from pyengine.formats.hf_config import dtype, require, rope_parameters, text_config

LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    "config, wanted",
    [
        (
            {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
            {"rope_theta": 10000.0, "rope_type": "default"},
        ),
        (
            {"rope_theta": 100000, "rope_scaling": None},
            {"rope_theta": 100000.0, "rope_type": "default"},
        ),
        ({"rope_theta": 5e5, "rope_scaling": LLAMA3}, {"rope_theta": 5e5, **LLAMA3}),
        (
            {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0},
        ),
        (
            {"rope_theta": 1e4, "partial_rotary_factor": 0.25},
            {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.25},
        ),
        (
            {"rope_parameters": {"rope_type": "default"}, "rope_theta": 1e7},
            {"rope_theta": 1e7, "rope_type": "default"},
        ),
    ],
)
def test_both_rope_dialects(config, wanted):
    assert rope_parameters(config) == wanted


def test_rope_per_layer_type():
    config = {
        "rope_parameters": {
            "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        }
    }
    assert rope_parameters(config, "full_attention")["rope_theta"] == 1e6
    assert rope_parameters(config, "sliding_attention")["rope_theta"] == 1e4
    with pytest.raises(EngineError):
        rope_parameters(config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"rope_theta": None},
        {"rope_theta": "1e4"},
        {"rope_theta": float("nan")},
        {"rope_theta": True},
        {"rope_theta": 1e4, "rope_scaling": "linear"},
        {"rope_parameters": {"rope_theta": [1]}},
    ],
)
def test_rope_without_a_base_is_refused(config):
    with pytest.raises(EngineError) as caught:
        rope_parameters(config)
    assert caught.value.code == "E_UNSUPPORTED_CONFIG"


@pytest.mark.parametrize(
    "value, kind",
    [(None, int), (0, int), (-1, int), (True, int), (1.5, int), ("x", float), (1, bool)],
)
def test_require_refuses(value, kind):
    with pytest.raises(EngineError) as caught:
        require({"field": value}, "field", kind)
    assert caught.value.code == "E_UNSUPPORTED_CONFIG"
    assert "field" in caught.value.message


def test_require_gives():
    config = {"n": 7, "eps": 0, "act": "silu", "tied": False, "types": []}
    assert require(config, "n") == 7 and require(config, "eps", float) == 0.0
    assert require(config, "act", str) == "silu" and require(config, "tied", bool) is False
    assert require(config, "types", list) == []


def test_nested_text_config():
    nested = {"hidden_size": 7, "dtype": "bfloat16"}
    config = {"text_config": nested, "tie_word_embeddings": True, "vision_config": {}}
    got = text_config(config)
    assert got == {"hidden_size": 7, "dtype": "bfloat16", "tie_word_embeddings": True}
    assert text_config(nested) is nested


def test_dtype_dialects():
    assert dtype({"dtype": "float32"}) == "float32"
    assert dtype({"torch_dtype": "bfloat16"}) == "bfloat16"
    assert dtype({}) is None
