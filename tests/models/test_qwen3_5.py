"""Qwen3.5: what only its configs and tensors can have; tests/models/test_families.py has its
numbers."""
import json

import numpy as np
import pytest

from pyengine import flags
from pyengine.compile import compile_model
from pyengine.engine import inspect
from pyengine.fit import fit
from pyengine.kernels.spec import Caps
from tests.checkpoints import close, engine, first_logits, folder, generated, refused
from tests.models.families import GOLDENS, LIMITS
from tests.models.faults import check_config, config_of

TINY = GOLDENS / "models-tiny" / "qwen3_5_text"
MIXED = ["linear_attention", "full_attention"] * 2
FAULTS = {
    "another activation": ({"hidden_act": "relu"}, "hidden_act"),
    "heads that do not group": ({"num_attention_heads": 3, "num_key_value_heads": 2}, "attention heads"),
    "no head_dim": ({"head_dim": None}, "head_dim"),
    "no eps": ({"rms_norm_eps": None}, "rms_norm_eps"),
    "no rope": ({"rope_parameters": None}, "rope_theta"),
    "no partial rotary factor": ({"rope_parameters": {"rope_theta": 1e7}}, "partial_rotary_factor"),
    "too large a part": ({"rope_parameters": {"rope_theta": 1e7, "partial_rotary_factor": 1.5}},
                         "partial_rotary_factor"),
    "an unknown layer type": ({"layer_types": [*MIXED[:3], "conv"]}, "layer_types"),
    "no layer types": ({"layer_types": None}, "layer_types"),
    "an interval of text": ({"layer_types": None, "full_attention_interval": "4"},
                            "full_attention_interval"),
    "value heads that do not group": ({"linear_num_value_heads": 3}, "linear_num_value_heads"),
    "no key heads": ({"linear_num_key_heads": None}, "linear_num_key_heads"),
    "an odd key head": ({"linear_key_head_dim": 18}, "linear_key_head_dim"),
    "too large a head": ({"linear_value_head_dim": 512}, "linear_value_head_dim"),
    "one tap": ({"linear_conv_kernel_dim": 1}, "linear_conv_kernel_dim"),
    "no output gate": ({"attn_output_gate": False}, "attn_output_gate"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_config_faults(fault):
    check_config("qwen3_5_text", FAULTS[fault])


@pytest.mark.parametrize("tensor", [
    "linear_attn.in_proj_a.weight", "linear_attn.conv1d.weight", "linear_attn.A_log",
    "linear_attn.norm.weight"])
def test_a_missing_tensor_is_named(tensor):
    source, tensor = folder(TINY), f"model.layers.1.{tensor}"
    rest = {k: v for k, v in source.tensors.items() if k != tensor}
    assert tensor in refused("E_MISSING_TENSOR", lambda: compile_model(source.config, rest)).message


def test_dialects_are_the_same_plan():
    want = compile_model(config_of("qwen3_5_text")).plan.text()
    older = config_of("qwen3_5_text", {
        "rope_parameters": None, "rope_theta": 1e7, "partial_rotary_factor": 0.25,
        "layer_types": None, "full_attention_interval": 4})
    nested = {"model_type": "qwen3_5", "text_config": older, "vision_config": {"depth": 2}}
    assert compile_model(older).plan.text() == want
    assert compile_model(nested).plan.text() == want


def test_the_class_with_a_vision_tower_and_a_draft_head():
    """Its names have another prefix; the tower and the draft head are dropped, all else is used."""
    source = folder(TINY)
    one = source.tensors["model.norm.weight"]
    source.tensors = {k.replace("model.", "model.language_model.", 1): v
                      for k, v in source.tensors.items()}
    source.tensors |= {"mtp.fc.weight": one, "model.visual.blocks.0.norm1.weight": one}
    source.config = {"model_type": "qwen3_5", "text_config": source.config}
    arrays = np.load(TINY / "golden.npz")
    one = engine(source, context=64)
    assert np.abs(first_logits(one, arrays["ids"]) - arrays["logits_last"]).max() < LIMITS["numpy"]
    close(one)
    source.tensors["model.visuals.weight"] = next(iter(source.tensors.values()))
    error = refused("E_UNUSED_TENSOR", lambda: engine(source, context=64))
    assert "model.visuals.weight" in error.message and "mtp" not in error.message


# ---- what is fused -------------------------------------------------------------------------------

FUSED = {"": (5, {"norm_linear_conv", "delta_step_norm"}), "norm": (6, {"gated_norm"}),
         "conv": (6, {"short_conv", "norm_linear"}), "stack": (10, {"rmsnorm", "linear_into"}),
         "norm,conv,stack": (11, {"gated_norm", "short_conv", "linear_into"})}


@pytest.mark.parametrize("apart", FUSED)
@pytest.mark.parametrize("on", LIMITS)
def test_each_fusion_by_itself_changes_no_number(apart, on, monkeypatch):
    monkeypatch.setattr(flags, "HYBRID", flags.Hybrid.of(apart))
    dispatches, ops = FUSED[apart]
    arrays, one = np.load(TINY / "golden.npz"), engine(folder(TINY), on, context=64, burst=4)
    nodes = [node.op for node in one.model.graphs[0].nodes]
    second = [i for i, op in enumerate(nodes) if op.startswith("delta_step")][1]
    third = [i for i, op in enumerate(nodes) if op.startswith("delta_step")][2]
    assert third - second == dispatches and ops <= set(nodes)
    found = generated(one, arrays["ids"], max_tokens=9)[0]
    assert found == arrays["greedy32"][:9].tolist()
    close(one)


def test_a_halved_state_moves_logits_by_little(monkeypatch):
    monkeypatch.setattr(flags, "HYBRID", flags.Hybrid.of(delta_state="f16x2"))
    arrays, one = np.load(TINY / "golden.npz"), engine(folder(TINY), "native", context=256, burst=4)
    first_logits(one, arrays["long_ids"][:130])
    for end in range(131, 151):
        found = first_logits(one, arrays["long_ids"][:end])
    assert 1e-5 < np.abs(found - arrays["long_logits_last"]).max() < 2e-2
    close(one)


# ---- the real size -------------------------------------------------------------------------------

REAL = json.loads((GOLDENS / "configs" / "qwen3_5-0.8b.json").read_text())


@pytest.mark.parametrize("positions, most", [(512, 500e6), (4096, 560e6)])
def test_the_real_size_fits_a_tablet(positions, most):
    report = inspect(REAL, quant="affine4-g64", context=positions)
    assert report["bytes"]["total"] <= most
    state = 18 * 4 * (16 * 128 * 128 + 4 * 6144)
    sampling = report["bytes"]["state"] - 2 * state  # beside the live and the saved: counts, mask
    assert 0 < sampling < 5e6
    assert fit(REAL, budget=most, quant="affine4-g64", context=positions).bytes == report["bytes"]


@pytest.mark.parametrize("software", [True, False])
def test_dispatches_of_the_real_size(software):
    """At most seven a hybrid layer, and six more; all of it in default limits."""
    report = inspect(REAL, quant="affine4-g64", context=512, caps=Caps(software=software))
    assert report["dispatches_per_token"] <= 24 * 7 + 6
    assert report["dispatches_per_token"] <= 18 * 5 + 6 * 8 + 7


def test_a_long_context_keeps_two_copies():
    small, large = (inspect(REAL, context=context)["bytes"]["state"] for context in (4096, 8192))
    assert large - small == pytest.approx(18 * 4 * (16 * 128 * 128 + 4 * 6144), abs=1e5)
