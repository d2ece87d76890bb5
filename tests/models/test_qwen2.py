"""Qwen2: what only its configs and tensors can have; tests/models/test_families.py has its numbers."""
import pytest

from pyengine.compile import compile_model
from tests.checkpoints import folder, refused
from tests.models.families import GOLDENS
from tests.models.faults import COMMON, check_config, check_tensors, config_of

TINY = GOLDENS / "models-tiny" / "qwen2"
BIAS = "model.layers.0.self_attn.k_proj.bias"
FAULTS = {**COMMON, "no bias": ({"attention_bias": False}, "attention_bias")}


@pytest.mark.parametrize("fault", FAULTS)
def test_config_faults(fault):
    check_config("qwen2", FAULTS[fault])


def test_tensor_faults():
    source = folder(TINY)
    check_tensors(source)
    without = {k: v for k, v in source.tensors.items() if k != BIAS}
    error = refused("E_MISSING_TENSOR", lambda: compile_model(source.config, without))
    assert BIAS in error.message


def test_the_older_dialect_is_the_same_plan():
    """Published configs name a window that `use_sliding_window` turns off."""
    older = config_of("qwen2", {"rope_parameters": None, "rope_theta": 10000.0, "layer_types": None,
                                "sliding_window": 32768, "max_window_layers": 1, "rope_scaling": None})
    assert compile_model(older).plan.text() == compile_model(config_of("qwen2")).plan.text()


def test_layers_from_max_window_layers_on_slide():
    changes = {"layer_types": None, "use_sliding_window": True, "sliding_window": 8,
               "max_window_layers": 1}
    assert compile_model(config_of("qwen2", changes)).config.windows == (None, 8)
    error = refused("E_UNSUPPORTED_CONFIG", lambda: compile_model(
        config_of("qwen2", {**changes, "max_window_layers": None})))
    assert error.facts["field"] == "max_window_layers"


def test_a_bias_of_another_length_is_named():
    source = folder(TINY)
    tensors = {**source.tensors, BIAS: source.tensors["model.norm.weight"]}
    error = refused("E_UNSUPPORTED_TENSOR", lambda: compile_model(source.config, tensors))
    assert BIAS in error.message and "[32]" in error.message
