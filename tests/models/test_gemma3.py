"""Gemma 3: what only its configs and tensors can have; tests/models/test_families.py has its
numbers."""
import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.fit import fit
from tests.checkpoints import close, engine, first_logits, folder, refused
from tests.models.families import GOLDENS
from tests.models.faults import COMMON, check_config, check_tensors, config_of

TINY = GOLDENS / "models-tiny" / "gemma3"
GLOBAL = {"rope_type": "default", "rope_theta": 1e6}
OLDER = {"rope_parameters": None, "layer_types": None, "rope_theta": 1000000, "rope_scaling": None,
         "rope_local_base_freq": 10000, "sliding_window_pattern": 3, "tie_word_embeddings": None}
FAULTS = {
    **COMMON,
    "soft caps of scores": ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
    "soft caps of logits": ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    "both directions": ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "no scale": ({"query_pre_attn_scalar": None}, "query_pre_attn_scalar"),
    "a scale of zero": ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
    "no head_dim": ({"head_dim": None}, "head_dim"),
    "no local rope": ({"rope_parameters": {"full_attention": GLOBAL}}, "rope_local_base_freq"),
    "no local base": ({**OLDER, "rope_local_base_freq": None}, "rope_local_base_freq"),
    "no pattern": ({**OLDER, "sliding_window_pattern": None, "_sliding_window_pattern": None},
                   "_sliding_window_pattern"),
    "another local rope": ({"rope_parameters": {
        "full_attention": GLOBAL, "sliding_attention": {**GLOBAL, "rope_type": "longrope"}}},
        "rope_type"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_config_faults(fault):
    check_config("gemma3", FAULTS[fault])


def test_tensor_faults():
    check_tensors(folder(TINY))


def test_the_older_dialect_is_the_same_plan():
    """A tied head goes without saying, every third layer sees all."""
    plans = [compile_model(config_of("gemma3", changes)).plan for changes in (OLDER, {})]
    assert plans[0].text() == plans[1].text() and plans[0].consts == plans[1].consts


def test_a_scaled_rope_is_the_global_one_s():
    scaled = config_of("gemma3", {**OLDER, "rope_scaling": {"rope_type": "linear", "factor": 8.0}})
    found, plain = compile_model(scaled).config, compile_model(config_of("gemma3")).config
    assert found.rope.frequencies == [f / 8 for f in plain.rope.frequencies]
    assert found.local_rope.frequencies == plain.local_rope.frequencies != plain.rope.frequencies


def test_the_text_model_of_a_multimodal_config():
    nested = {"model_type": "gemma3", "text_config": config_of("gemma3"), "vision_config": {}}
    assert compile_model(nested).plan.text() == compile_model(config_of("gemma3")).plan.text()


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_tensors_of_the_class_with_a_vision_tower(prefix):
    """Both prefixes are taken off, the tower is dropped, anything else still is an error."""
    source, arrays = folder(TINY), np.load(TINY / "golden.npz")
    some = source.tensors["model.norm.weight"]
    source.tensors = {k.replace("model.", prefix, 1): v for k, v in source.tensors.items()}
    source.tensors |= {"vision_tower.vision_model.embeddings.weight": some,
                       "multi_modal_projector.mm_input_projection_weight": some}
    one = engine(source, context=64)
    assert np.abs(first_logits(one, arrays["ids"]) - arrays["logits_last"]).max() < 1e-4
    close(one)
    source.tensors["language_model.extra.weight"] = some
    refused("E_UNUSED_TENSOR", lambda: engine(source, context=64))


def test_windows_store_their_window():
    """Two of three layers keep 8 + 512 positions, whatever the context; fit counts them."""
    source = folder(TINY)
    model = compile_model(source.config, quant="keep", kv="f32", context=8192)
    lengths = [value.shape[1] for value in model.graphs[0].values.values() if value.role == "state"]
    assert sorted(lengths) == [520] * 4 + [8192] * 2 and model.ring == (520, 512)
    per_position = 2 * 2 * 32 * 4  # k and v, 2 heads of 32, f32
    assert model.plan.bytes_needed()["kv"] == (2 * 520 + 8192) * per_position
    found = fit(source.config, budget=10**9, quant="keep", kv="f32", context=8192)
    assert found.bytes == model.plan.bytes_needed()


def test_a_context_within_the_window_is_not_a_ring():
    source, ids = folder(TINY), [3, 5, 7, 11, 13, 17, 19]
    assert compile_model(source.config, context=8).ring is None
    wide, narrow = (engine(source, context=context) for context in (64, 8))
    assert np.abs(first_logits(wide, ids) - first_logits(narrow, ids)).max() < 1e-5
    close(wide, narrow)
