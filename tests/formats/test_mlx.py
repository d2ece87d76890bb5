"""MLX's quantised folders: what is joined, and every way in which one may be wrong."""

import asyncio
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyengine.compile import compile_model
from pyengine.errors import MESSAGES, EngineError
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.mlx import Quantization
from pyengine.formats.source import BytesSource
from tests.checkpoints import config, refused, tensors
from tests.formats.mlx_writer import checkpoint_of
from tests.formats.safetensors_writer import safetensors

K_PROJ = "model.layers.0.self_attn.k_proj"
CONFIG, DATA, _ = checkpoint_of(config(num_hidden_layers=1), tensors(config(num_hidden_layers=1)))


def opened(c=CONFIG, data=DATA):
    files = {"config.json": json.dumps(c).encode(), "model.safetensors": safetensors(data)}
    return asyncio.run(open_checkpoint({n: BytesSource(n, raw) for n, raw in files.items()}))


def quantization(**changes):
    """CONFIG with changes to its quantization; the value None takes a field out."""
    found = {k: v for k, v in {**CONFIG["quantization"], **changes}.items() if v is not None}
    return {**CONFIG, "quantization": found, "quantization_config": found}


def replaced(**changes):
    """DATA with tensors of K_PROJ replaced, or left out for None."""
    named = {f"{K_PROJ}.{part}": value for part, value in changes.items()}
    return {n: v for n, v in {**DATA, **named}.items() if v is not None}


def test_a_quantised_matrix_is_one_ref():
    found = opened().tensors
    ref = found[K_PROJ + ".weight"]
    assert (ref.shape, ref.encoding, ref.nbytes) == ((32, 64), "affine4_g64_bf16", 32 * 32)
    assert ref.scales.name == K_PROJ + ".scales" and ref.biases.nbytes == 32 * 2
    assert K_PROJ + ".scales" not in found and found["model.norm.weight"].encoding == "bf16"


def test_a_bias_is_not_the_biases():
    """Qwen2's q_proj.bias lies beside q_proj.biases."""
    found = opened(data=replaced(bias=("BF16", (32,), bytes(64)))).tensors
    assert found[K_PROJ + ".bias"].shape == (32,)


FOREIGN = {"gptq": {"bits": 4, "group_size": 128}, "awq": {"bits": 4, "group_size": 128},
           "bitsandbytes": {"load_in_4bit": True}, "fp8": {}, "compressed-tensors": {},
           "mxfp4": {}}


@pytest.mark.parametrize("method", FOREIGN)
def test_a_quantisation_that_is_not_ours(method):
    c = config(quantization_config={"quant_method": method, **FOREIGN[method]})
    for action in (lambda: opened(c, {}), lambda: compile_model(c)):
        error = refused("E_UNSUPPORTED_CONFIG", action)
        assert error.facts["field"] == "quantization_config.quant_method"
        assert method in error.message and "MLX" in error.message and error.next_step


@pytest.mark.parametrize("changes, field", [
    ({"mode": "mxfp4"}, "mode"), ({"mode": 4}, "mode"), ({"bits": 3}, "bits"),
    ({"bits": None}, "bits"), ({"bits": True}, "bits"), ({"bits": "4"}, "bits"),
    ({"group_size": 48}, "group_size"), ({"group_size": None}, "group_size"),
    ({K_PROJ: {"bits": 6}}, K_PROJ + ".bits"), ({K_PROJ: "4bit"}, K_PROJ),
    ({K_PROJ: {"mode": "nvfp4", "bits": 4, "group_size": 16}}, K_PROJ + ".mode"),
    ({"model.layers.7.mlp.up_proj": {"bits": 8}}, "model.layers.7.mlp.up_proj"),
    ({"lm_head": False}, "lm_head"),
])
def test_wrong_configs(changes, field):
    error = refused("E_UNSUPPORTED_CONFIG", lambda: opened(quantization(**changes)))
    assert error.facts["field"] == f"quantization.{field}"


@pytest.mark.parametrize("value", [[], 4, "affine", True])
def test_a_quantization_that_is_no_object(value):
    refused("E_UNSUPPORTED_CONFIG", lambda: opened({**CONFIG, "quantization": value}))


def test_scales_without_a_quantization():
    c = {k: v for k, v in CONFIG.items() if not k.startswith("quantization")}
    error = refused("E_UNSUPPORTED_CONFIG", lambda: opened(c))
    assert error.facts["field"] == "quantization" and "scales" in error.message


@pytest.mark.parametrize("missing", ["scales", "biases"])
def test_missing_parts(missing):
    error = refused("E_MISSING_TENSOR", lambda: opened(data=replaced(**{missing: None})))
    assert f"{K_PROJ}.{missing}" in error.message


def test_scales_without_their_codes():
    """They stay tensors of their own, which the model does not know."""
    source = opened(data=replaced(weight=None))
    refused("E_MISSING_TENSOR", lambda: compile_model(source.config, source.tensors))


@pytest.mark.parametrize("name, value, part", [
    ("scales", ("BF16", (32, 2), bytes(128)), "scales"),
    ("scales", ("BF16", (31, 1), bytes(62)), "scales"),
    ("scales", ("BF16", (32,), bytes(64)), "scales"),
    ("scales", ("U32", (32, 1), bytes(128)), "scales"),
    ("biases", ("BF16", (32, 2), bytes(128)), "biases"),
    ("biases", ("F16", (32, 1), bytes(64)), "biases"),
    ("weight", ("U32", (32, 7), bytes(32 * 28)), "scales"),
    ("weight", ("U32", (32, 0), b""), "weight"),
    ("weight", ("U32", (32, 2, 4), bytes(32 * 32)), "weight"),
    ("weight", ("I32", (32, 8), bytes(32 * 32)), "weight"),
    ("weight", ("BF16", (32, 64), bytes(32 * 128)), "weight"),
])
def test_parts_that_do_not_fit(name, value, part):
    error = refused("E_UNSUPPORTED_TENSOR", lambda: opened(data=replaced(**{name: value})))
    assert error.facts["tensor"] == f"{K_PROJ}.{part}"


def test_a_wrong_group_or_bits():
    """The file's own parts disagree with what the config says of them."""
    for changes in ({"group_size": 32}, {"bits": 8}, {K_PROJ: {"bits": 8}}, {K_PROJ: False}):
        refused("E_UNSUPPORTED_TENSOR", lambda c=changes: opened(quantization(**c)))


def test_codes_of_another_width():
    data = {**DATA, K_PROJ + ".weight": ("U32", (32, 16), bytes(32 * 64)),
            K_PROJ + ".scales": ("BF16", (32, 2), bytes(128)),
            K_PROJ + ".biases": ("BF16", (32, 2), bytes(128))}
    source = opened(data=data)
    error = refused("E_UNSUPPORTED_TENSOR", lambda: compile_model(source.config, source.tensors))
    assert "[32, 128]" in error.message and "[32, 64]" in error.message


def test_names_with_and_without_the_prefix():
    data = {**DATA, "language_model.model.norm.weight": DATA["model.norm.weight"]}
    refused("E_BAD_FILE", lambda: opened(data=data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 300) | st.text(max_size=6) | st.just("affine"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["bits", "group_size", "mode", K_PROJ, "quant_method"]),
                      inner, max_size=4),
    max_leaves=8)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(value=JSON)
def test_lying_quantizations(value):
    try:
        found = Quantization.of({**CONFIG, "quantization": value, "quantization_config": value})
    except EngineError as error:
        assert error.code in MESSAGES
    else:
        assert found is None or found.default[0] in (4, 8)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(part=st.sampled_from(["weight", "scales", "biases"]),
       dtype=st.sampled_from(["U32", "F16", "BF16", "F32", "I8"]),
       shape=st.lists(st.integers(0, 40), max_size=3))
def test_lying_parts(part, dtype, shape):
    """Any shape and dtype is read, or refused with a code."""
    size = int(np.prod(shape, dtype=int)) * {"U32": 4, "F32": 4, "I8": 1}.get(dtype, 2)
    try:
        source = opened(data=replaced(**{part: (dtype, shape, bytes(size))}))
        compile_model(source.config, source.tensors, context=16)
    except EngineError as error:
        assert error.code in ("E_UNSUPPORTED_TENSOR", "E_MISSING_TENSOR", "E_UNUSED_TENSOR")
    else:
        assert (part, dtype, shape) == (part, *DATA[f"{K_PROJ}.{part}"][:1],
                                        list(DATA[f"{K_PROJ}.{part}"][1]))
