"""Qwen3: what only its configs and tensors can have; tests/models/test_families.py has its numbers."""
import pytest

from pyengine.compile import compile_model
from tests.checkpoints import folder, refused
from tests.models.families import GOLDENS
from tests.models.faults import COMMON, check_config, check_tensors, config_of

TINY = GOLDENS / "models-tiny" / "qwen3"
NORM = "model.layers.1.self_attn.k_norm.weight"
FAULTS = {
    **COMMON,
    "a bias": ({"attention_bias": True}, "attention_bias"),
    "no head_dim": ({"head_dim": None}, "head_dim"),  # hidden / heads would be 16, it is 32
}


@pytest.mark.parametrize("fault", FAULTS)
def test_config_faults(fault):
    check_config("qwen3", FAULTS[fault])


def test_tensor_faults():
    source = folder(TINY)
    check_tensors(source)
    without = {k: v for k, v in source.tensors.items() if k != NORM}
    error = refused("E_MISSING_TENSOR", lambda: compile_model(source.config, without))
    assert NORM in error.message


def test_the_older_dialect_is_the_same_plan():
    older = config_of("qwen3", {"rope_parameters": None, "rope_theta": 10000, "layer_types": None})
    assert compile_model(older).plan.text() == compile_model(config_of("qwen3")).plan.text()
