"""What a Llama checkpoint may not be: each fault of a config, of the tensors, of the options and of
the file is an error with a code, and nothing stays on the device."""
import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.device.null import NullDevice
from pyengine.kernels.spec import Caps
from pyengine.models import llama
from tests.checkpoints import (
    CONFIG,
    LLAMA3,
    checkpoint,
    config,
    device,
    engine,
    logits,
    reference_logits,
    refused,
    tensors,
)

IDS = [3, 82, 0, 7, 7, 41, 19]
CONFIG_FAULTS = {
    "model_type": ({"model_type": "gpt2"}, "E_UNSUPPORTED_MODEL"),
    "no model_type": ({"model_type": None}, "E_UNSUPPORTED_MODEL"),
    "model_type of another type": ({"model_type": ["llama"]}, "E_UNSUPPORTED_MODEL"),
    "hidden_act": ({"hidden_act": "gelu"}, "E_UNSUPPORTED_CONFIG"),
    "attention_bias": ({"attention_bias": True}, "E_UNSUPPORTED_CONFIG"),
    "mlp_bias": ({"mlp_bias": True}, "E_UNSUPPORTED_CONFIG"),
    "sliding_window of another type": ({"sliding_window": "128"}, "E_UNSUPPORTED_CONFIG"),
    "attention heads": ({"num_attention_heads": 3}, "E_UNSUPPORTED_CONFIG"),
    "an odd head_dim": ({"head_dim": 15}, "E_UNSUPPORTED_CONFIG"),
    "a huge head_dim": ({"head_dim": 1 << 40}, "E_UNSUPPORTED_CONFIG"),
    "a negative head_dim": ({"head_dim": -16}, "E_UNSUPPORTED_CONFIG"),
    "a text head_dim": ({"head_dim": "16"}, "E_UNSUPPORTED_CONFIG"),
    "a fraction of a KV head": ({"num_key_value_heads": 0.5}, "E_UNSUPPORTED_CONFIG"),
    "more KV heads than heads": ({"num_key_value_heads": 8}, "E_UNSUPPORTED_CONFIG"),
    "layers without end": ({"num_hidden_layers": 10**12}, "E_UNSUPPORTED_CONFIG"),
    "rope_type": ({"rope_scaling": {"rope_type": "longrope"}}, "E_UNSUPPORTED_CONFIG"),
    "yarn without factor": ({"rope_scaling": {"rope_type": "yarn"}}, "E_UNSUPPORTED_CONFIG"),
    "heads that rotate in part": ({"partial_rotary_factor": 0.5}, "E_UNSUPPORTED_CONFIG"),
    "rope_type of another type": (
        {"rope_scaling": {"rope_type": ["linear"]}},
        "E_UNSUPPORTED_CONFIG",
    ),
    "linear without factor": ({"rope_scaling": {"type": "linear"}}, "E_UNSUPPORTED_CONFIG"),
    "linear by zero": ({"rope_scaling": {"type": "linear", "factor": 0}}, "E_UNSUPPORTED_CONFIG"),
    "llama3 without low": (
        {"rope_scaling": {**LLAMA3, "low_freq_factor": None}},
        "E_UNSUPPORTED_CONFIG",
    ),
    "llama3 without a ramp": (
        {"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}},
        "E_UNSUPPORTED_CONFIG",
    ),
    "rope_scaling of another type": ({"rope_scaling": "linear"}, "E_UNSUPPORTED_CONFIG"),
    "theta of zero": ({"rope_theta": 0}, "E_UNSUPPORTED_CONFIG"),
    "a negative theta": ({"rope_theta": -1e4}, "E_UNSUPPORTED_CONFIG"),
}
REQUIRED = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "rms_norm_eps",
    "rope_theta",
    "tie_word_embeddings",
    "max_position_embeddings",
)
for _field in REQUIRED:
    CONFIG_FAULTS["no " + _field] = ({_field: None}, "E_UNSUPPORTED_CONFIG")
    CONFIG_FAULTS["a text " + _field] = ({_field: "7"}, "E_UNSUPPORTED_CONFIG")


def test_a_good_config_is_taken():
    assert compile_model(CONFIG).config.heads == 4
    assert compile_model(config(head_dim=None, num_key_value_heads=None)).config.kv_heads == 4


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_config_faults(fault):
    changes, code = CONFIG_FAULTS[fault]
    error = refused(code, lambda: compile_model(config(**changes)))
    if code == "E_UNSUPPORTED_CONFIG":
        field = next(iter(changes))
        assert (
            field in error.facts["field"]
            or "rope" in error.facts["field"]
            or "heads" in error.facts["field"]
        )
        assert error.facts["got"] is not None and "wanted" in error.facts
    else:
        assert "llama" in error.facts["known"]


def test_a_nested_config_of_a_multimodal_model():
    nested = {"model_type": "some_vl", "tie_word_embeddings": True, "torch_dtype": "bfloat16",
              "text_config": config(tie_word_embeddings=None)}
    assert (
        compile_model(nested, quant="keep").graphs[0].nodes == compile_model(CONFIG).graphs[0].nodes
    )


class Counted(NullDevice):
    """A null device that keeps its runners."""

    def __init__(self, caps=None):
        super().__init__(caps)
        self.runners = []

    async def prepare(self, plan, progress=None):
        self.runners.append(await super().prepare(plan, progress))
        return self.runners[-1]


def load_refused(code, source, **options):
    """`load` must raise `code` and leave nothing on the device."""
    found = Counted(options.pop("caps", None))
    error = refused(code, lambda: engine(source, found, **options))
    assert all(runner.live() == {"buffers": 0} for runner in found.runners)
    return error


def weights_without(*names, c=CONFIG):
    return {n: a for n, a in tensors(c).items() if n not in names}


def test_missing_tensors_are_listed():
    layer = "model.layers.1.self_attn."
    missing = (layer + "v_proj.weight", "model.norm.weight")
    error = load_refused("E_MISSING_TENSOR", checkpoint(weights=weights_without(*missing)))
    assert error.facts["missing"] == ", ".join(missing)
    untied = config(tie_word_embeddings=False)
    error = load_refused("E_MISSING_TENSOR", checkpoint(untied, tensors(CONFIG)))
    assert error.facts["missing"] == "lm_head.weight"
    error = load_refused(
        "E_MISSING_TENSOR", checkpoint(weights={"model.norm.weight": np.ones(64, np.float32)})
    )
    assert error.facts["missing"].endswith("and 11 more")


def test_more_layers_than_the_file_holds():
    many = config(num_hidden_layers=200)
    error = load_refused("E_MISSING_TENSOR", checkpoint(many, tensors(CONFIG)))
    assert "model.layers.2.input_layernorm.weight" in error.facts["missing"]


def test_unused_tensors_are_listed():
    extra = {f"model.layers.{i}.self_attn.q_proj.bias": np.ones(64, np.float32) for i in range(9)}
    error = load_refused("E_UNUSED_TENSOR", checkpoint(weights=tensors(CONFIG) | extra))
    assert "model.layers.0.self_attn.q_proj.bias" in error.facts["unused"] and error.facts[
        "unused"
    ].endswith("...")
    fewer = config(num_hidden_layers=1)
    load_refused("E_UNUSED_TENSOR", checkpoint(fewer, tensors(CONFIG)))


def test_known_leftovers_are_dropped():
    extra = {"lm_head.weight": np.ones((83, 64), np.float32),
             "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32),
             "rope_freqs.weight": np.ones(8, np.float32)}
    assert set(extra) == {p.replace("\\d+", "0").replace("\\", "") for p in llama.DROPPED}
    found = logits(checkpoint(weights=tensors(CONFIG) | extra), IDS)
    assert np.abs(found - reference_logits(CONFIG, tensors(CONFIG), IDS)).max() < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.norm.weight",
    ],
)
def test_wrong_shapes(name):
    w = tensors(CONFIG)
    w[name] = np.ascontiguousarray(w[name][..., :-1])
    error = load_refused("E_UNSUPPORTED_TENSOR", checkpoint(weights=w))
    assert error.facts["tensor"] == name and str(list(w[name].shape)) in error.facts["detail"]


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
                                  "model.norm.weight"])
@pytest.mark.parametrize("quant", ["keep", "affine8-g64"])
def test_wrong_encodings(name, quant):
    error = load_refused("E_UNSUPPORTED_TENSOR", checkpoint(dtypes={name: "I32"}), quant=quant)
    assert error.facts["tensor"] == name and "i32" in error.facts["detail"]


@pytest.mark.parametrize(
    "options,code,param",
    [
        ({"quant": "affine3"}, "E_BAD_REQUEST", "quant"),
        ({"kv": "f8"}, "E_BAD_REQUEST", "kv"),
        ({"context": 0}, "E_BAD_REQUEST", "context"),
        ({"context": 257}, "E_BAD_REQUEST", "context"),
        ({"context": True}, "E_BAD_REQUEST", "context"),
        ({"context": "64"}, "E_BAD_REQUEST", "context"),
        ({"burst": 0}, "E_BAD_REQUEST", "burst"),
        ({"burst": 65}, "E_BAD_REQUEST", "burst"),
        ({"burst": "fast"}, "E_BAD_REQUEST", "burst"),
        ({"burst": 1.5}, "E_BAD_REQUEST", "burst"),
        ({"caps": Caps(max_binding=4096)}, "E_OUT_OF_MEMORY", None),
        ({"caps": Caps(max_buffer=4096)}, "E_OUT_OF_MEMORY", None),
    ],
)
def test_load_options(options, code, param):
    assert load_refused(code, checkpoint(), **options).facts.get("param") == param


@pytest.mark.parametrize("on", ["numpy", "native"])
def test_a_file_that_ends_too_early_releases_the_device(on):
    source = checkpoint()
    read, runners = source.files[0].read, []

    async def short(offset, length):
        return await read(offset, 1 << 40)

    source.files[0].read = short
    found = device(on)
    kept = object.__new__(type(found))
    kept.__dict__ = dict(found.__dict__)

    async def prepare(plan, progress=None):
        runners.append(await type(found).prepare(found, plan, progress))
        return runners[-1]

    kept.prepare = prepare
    refused("E_TRUNCATED", lambda: engine(source, kept))
    assert len(runners) == 1 and not any(runners[0].live().values())
