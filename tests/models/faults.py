"""What no family's checkpoint may be: each fault is put into the family's own reference checkpoint.
The tests of a family add the faults that only it can have."""
import dataclasses
import json

from pyengine.compile import compile_model
from tests.checkpoints import refused
from tests.models.families import GOLDENS

Q = "model.layers.1.self_attn.q_proj.weight"
# name: (changes of the config, None leaves a field out; what the error says)
COMMON = {
    "another activation": ({"hidden_act": "relu", "hidden_activation": "relu"}, "hidden_act"),
    "heads that do not group": ({"num_attention_heads": 5}, "attention heads"),
    "more KV heads than heads": ({"num_key_value_heads": 8}, "attention heads"),
    "an odd head": ({"head_dim": 31}, "attention heads"),
    "no layers": ({"num_hidden_layers": None}, "num_hidden_layers"),
    "no eps": ({"rms_norm_eps": None}, "rms_norm_eps"),
    "no rope": ({"rope_parameters": None}, "rope_theta"),
    "an unknown layer type": ({"layer_types": ["full_attention", "linear_attention", "x"]}, "layer_types"),
    "too few layer types": ({"layer_types": ["full_attention"]}, "layer_types"),
    "layer types of another type": ({"layer_types": "full_attention"}, "layer_types"),
    "a window without a size": ({"layer_types": 3 * ["sliding_attention"], "sliding_window": None},
                                "sliding_window"),
    "a window of text": ({"sliding_window": "8", "use_sliding_window": True,
                          "layer_types": 3 * ["sliding_attention"]}, "sliding_window"),
}


def config_of(family, changes=()):
    """The family's tiny config with changes; a list of layer types is cut to its layers."""
    config = json.loads((GOLDENS / "models-tiny" / family / "config.json").read_text())
    layers = config.get("num_hidden_layers")  # of a model of one stack
    for key, value in dict(changes).items():
        if key == "layer_types" and isinstance(value, list) and len(value) > 1:
            value = value[:layers]
        config[key] = value
    return {key: value for key, value in config.items() if value is not None}


def check_config(family, fault):
    changes, said = fault
    error = refused("E_UNSUPPORTED_CONFIG", lambda: compile_model(config_of(family, changes)))
    assert said in error.facts["field"], error.message


def check_tensors(source):
    """A missing, an extra and a misshapen tensor are named; tied heads may be there or not."""
    def compiled(tensors, **changes):
        return compile_model({**source.config, **changes}, tensors, quant="keep", context=64)

    tensors = source.tensors
    gone = refused("E_MISSING_TENSOR",
                   lambda: compiled({k: v for k, v in tensors.items() if k != Q}))
    assert Q in gone.message
    more = {**tensors, "model.layers.0.mlp.router.weight": tensors[Q]}
    assert "router" in refused("E_UNUSED_TENSOR", lambda: compiled(more)).message
    narrow = dataclasses.replace(tensors[Q], shape=(3, 4))
    assert Q in refused("E_UNSUPPORTED_TENSOR", lambda: compiled({**tensors, Q: narrow})).message
    head = {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}
    used = {u.tensor for u in compiled(head).plan.uploads}
    assert "lm_head.weight" not in used and used == set(tensors)
    untied = {u.tensor for u in compiled(head, tie_word_embeddings=False).plan.uploads}
    assert untied == set(head)
    lost = refused("E_MISSING_TENSOR", lambda: compiled(tensors, tie_word_embeddings=False))
    assert "lm_head.weight" in lost.message
