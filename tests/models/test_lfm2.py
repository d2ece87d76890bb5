"""LFM2: what only its configs and tensors can have; tests/models/test_families.py has its numbers."""
import json

import pytest

from pyengine.compile import compile_model
from pyengine.engine import inspect
from pyengine.models import lfm2
from tests.checkpoints import folder, refused
from tests.models.families import GOLDENS
from tests.models.faults import check_config, config_of

TINY = GOLDENS / "models-tiny" / "lfm2"
FAULTS = {
    "heads that do not group": ({"num_attention_heads": 5}, "attention heads"),
    "no eps": ({"norm_eps": None}, "norm_eps"),
    "no rope": ({"rope_parameters": None}, "rope_theta"),
    "an unknown layer type": ({"layer_types": ["conv", "mamba", "conv", "conv"]}, "layer_types"),
    "too few layer types": ({"layer_types": ["conv"]}, "layer_types"),
    "no layer types": ({"layer_types": None}, "layer_types"),
    "no taps": ({"conv_L_cache": None}, "conv_L_cache"),
    "too many taps": ({"conv_L_cache": 9}, "conv_L_cache"),
    "a bias": ({"conv_bias": True}, "conv_bias"),
    "full layers as text": ({"layer_types": None, "full_attn_idxs": "2"}, "full_attn_idxs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_config_faults(fault):
    check_config("lfm2", FAULTS[fault])


@pytest.mark.parametrize("tensor", ["model.layers.0.conv.conv.weight", "model.embedding_norm.weight",
                                    "model.layers.2.self_attn.q_layernorm.weight"])
def test_a_missing_tensor_is_named(tensor):
    source = folder(TINY)
    rest = {k: v for k, v in source.tensors.items() if k != tensor}
    assert tensor in refused("E_MISSING_TENSOR", lambda: compile_model(source.config, rest)).message


def test_the_older_dialect_is_the_same_plan():
    older = config_of("lfm2", {
        "rope_parameters": None, "rope_theta": 1e6, "layer_types": None, "full_attn_idxs": [2],
        "tie_word_embeddings": None, "tie_embedding": True, "intermediate_size": None,
        "block_ff_dim": 128})
    assert compile_model(older).plan.text() == compile_model(config_of("lfm2")).plan.text()


@pytest.mark.parametrize("changes, width", [
    ({"block_auto_adjust_ff_dim": False}, 6656), ({}, 4608), ({"block_ffn_dim_multiplier": 2.0}, 8960),
    ({"block_ffn_dim_multiplier": None}, 4437), ({"block_multiple_of": 1000}, 5000)])
def test_the_width_of_the_feed_forward(changes, width):
    config = json.loads((GOLDENS / "configs" / "lfm2.5-350m.json").read_text())
    assert lfm2.Config.from_hf({**config, **changes}).width == width


@pytest.mark.parametrize("name, millions, weights", [("lfm2.5-350m", 354, 200), ("lfm2.5-1.2b", 1170, 660)])
def test_the_real_sizes(name, millions, weights):
    """Parameters as published; five dispatches a convolution, six an attention, and six more."""
    config = json.loads((GOLDENS / "configs" / f"{name}.json").read_text())
    report = inspect(config, quant="affine4-g64", context=4096)
    assert report["bytes"]["weights"] < weights * 1e6
    assert report["dispatches_per_token"] <= 10 * 5 + 6 * 6 + 6
    matrices = [v for v in compile_model(config, context=64).graphs[0].values.values()
                if v.role == "weight" and len(v.shape) == 2 and v.shape[0] > 2]
    assert sum(v.shape[0] * v.shape[1] for v in matrices) == pytest.approx(millions * 1e6, rel=0.01)
