"""Llama on the oracle and on the GPU: the reference checkpoints, every way a checkpoint may be cut,
and each way its config or its tensors may be wrong."""
import asyncio
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pyengine import models
from pyengine.compile import compile_model
from pyengine.device.null import NullDevice
from pyengine.kernels.spec import Caps
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from pyengine.models import llama
from pyengine.quant import affine
from pyengine.quant.kinds import WeightKind
from tests.checkpoints import (
    CONFIG,
    SPLIT,
    SPLIT_BINDING,
    checkpoint,
    close,
    config,
    decoded,
    device,
    engine,
    first_logits,
    folder,
    generated,
    logits,
    reference_logits,
    refused,
    tensors,
)
from tests.formats.gguf_writer import small_llama

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
LIMITS = {"numpy": 1e-4, "native": 2e-3}  # absolute, f32, of logits with a spread of about 1
TIE = 0.02                                # ten times the larger of them
SETS = ("models-tiny", "models-real-heads")


@pytest.fixture(scope="module", params=[(s, on) for s in SETS for on in LIMITS], ids="-".join)
def golden(request):
    """(engine of the checkpoint as it is with an f32 cache, golden arrays, logit limit)."""
    which, on = request.param
    path = GOLDENS / which / "llama"
    one = engine(folder(path), on, burst=16)
    yield one, np.load(path / "golden.npz"), LIMITS[on]
    close(one)


@pytest.mark.parametrize("ids,want", [("ids", "logits_last"), ("long_ids", "long_logits_last")])
def test_logits(golden, ids, want):
    one, arrays, limit = golden
    assert np.abs(first_logits(one, arrays[ids]) - arrays[want]).max() < limit


def test_greedy_up_to_the_first_near_tie(golden):
    one, arrays, _ = golden
    until = next((i for i, m in enumerate(arrays["margins32"]) if m < TIE), 32)
    assert generated(one, arrays["ids"], max_tokens=32)[0][:until] == arrays["greedy32"][:until].tolist()


def test_every_clear_choice_is_the_reference_s(golden):
    """As above, but led back to the reference's ids after each near-tie."""
    one, arrays, _ = golden
    ids, greedy = arrays["ids"].tolist(), arrays["greedy32"].tolist()
    clear = [i for i, margin in enumerate(arrays["margins32"]) if margin >= TIE]
    assert len(clear) >= 29
    found = [int(first_logits(one, ids + greedy[:i]).argmax()) for i in clear]
    assert found == [greedy[i] for i in clear]


def test_chunks_of_a_prompt_give_the_same_logits(golden):
    """One row at a time, in 16s, in 128s: each prefix is resident when the next chunk comes."""
    one, arrays, limit = golden
    ids, want = arrays["long_ids"].tolist(), arrays["long_logits_last"]
    for size in (1, 16, 128):
        one._loop.cache.trim(0)
        first = 150 - 12 * size if size < 16 else size
        for end in (*range(first, 150, size), 150):
            found = first_logits(one, ids[:end])
            assert one.stats()["prompt_tokens"] == end
        assert np.abs(found - want).max() < limit, size


@pytest.mark.parametrize("on", LIMITS)
def test_an_f16_cache_moves_logits_by_little(on):
    """Keys and values keep 11 bits, 2^-12 of each: measured 2.2e-3 at 150 positions."""
    path = GOLDENS / "models-tiny" / "llama"
    arrays = np.load(path / "golden.npz")
    found = logits(folder(path), arrays["long_ids"], on, kv="f16")
    assert 1e-5 < np.abs(found - arrays["long_logits_last"]).max() < 5e-3


# name: (bound of the difference's standard deviation, which was measured as), of logits whose own
# is 1; these random weights have no structure that rounding could spare
QUANT_BOUNDS = {"affine4-g32": (0.55, 0.40), "affine4-g64": (0.55, 0.38), "affine8-g64": (0.035, 0.026),
                "mixed4": (0.55, 0.39)}


def rounded(w, c, quant):
    """Weights `w` as the kinds that `quant` asks for hold them."""
    graph, found = compile_model(c, quant=quant).graphs[0], dict(w)
    for value in graph.values.values():
        if value.role == "weight" and value.dtype.startswith("affine"):
            kind = WeightKind.parse(value.dtype)
            for name in value.buffer.split("+"):
                found[name] = affine.unpack(affine.quantize(w[name], kind), kind, w[name].shape[1])
    return found


@pytest.mark.parametrize("quant", QUANT_BOUNDS)
def test_quant_names(quant):
    path = GOLDENS / "models-tiny" / "llama"
    arrays, c = np.load(path / "golden.npz"), json.loads((path / "config.json").read_text())
    c["rope_theta"] = c["rope_parameters"]["rope_theta"]
    found = {on: logits(folder(path), arrays["long_ids"], on, quant=quant) for on in LIMITS}
    spread = (found["numpy"] - arrays["long_logits_last"]).std()
    assert 0 < spread < QUANT_BOUNDS[quant][0]
    assert np.abs(found["native"] - found["numpy"]).max() < LIMITS["native"]
    w = rounded(load_file(path / "model.safetensors"), c, quant)
    exact = reference_logits(c, w, arrays["long_ids"])
    assert np.abs(found["numpy"] - exact).max() < LIMITS["numpy"]


# ---- made checkpoints against formulas in f64 ------------------------------------------------------

IDS = [3, 82, 0, 7, 7, 41, 19]
SHAPES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "no grouping": {"num_key_value_heads": 4},
    "one kv head": {"num_key_value_heads": 1, "head_dim": 24},
    "awkward sizes": {"intermediate_size": 83, "vocab_size": 769, "hidden_size": 70},
    "one layer": {"num_hidden_layers": 1, "head_dim": 2, "intermediate_size": 1},
    "mistral": {"model_type": "mistral", "sliding_window": 4096},
    "another theta": {"rope_theta": 500.0},
}


@pytest.mark.parametrize("on", LIMITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape, on):
    c = config(**SHAPES[shape])
    w = tensors(c)
    want = reference_logits(c, w, IDS)
    one = engine(checkpoint(c, w), on, context=64)
    assert np.abs(first_logits(one, IDS) - want).max() < 1e-4 * want.std()
    ids = generated(one, IDS, max_tokens=5)[0]
    assert ids[0] == want.argmax()
    after = reference_logits(c, w, IDS + ids[:4])
    assert after.max() - after[ids[4]] < 1e-4
    close(one)


@pytest.mark.parametrize("on", LIMITS)
def test_mixed_kinds_in_one_stack(on):
    """q, k, v and gate, up of different kinds are parts of one output."""
    c = config(tie_word_embeddings=False)
    mixed = {"q": "F32", "k": "F16", "v": "BF16"}
    dtypes = {f"model.layers.{i}.self_attn.{p}_proj.weight": d for i in range(2) for p, d in mixed.items()}
    dtypes |= {"model.layers.1.mlp.up_proj.weight": "BF16", "lm_head.weight": "F16",
               "model.norm.weight": "BF16", "model.layers.0.input_layernorm.weight": "F16"}
    w = tensors(c)
    want = reference_logits(c, {n: decoded(a, dtypes.get(n, "F32")) for n, a in w.items()}, IDS)
    one = engine(checkpoint(c, w, dtypes), on)
    ops = [node.op for node in one.model.graphs[0].nodes]
    assert ops.count("linear_into") == 2 * 2 + 1
    assert np.abs(first_logits(one, IDS) - want).max() < 1e-4
    close(one)


def small_bindings(on):
    """The device, with bindings of SPLIT_BINDING at most."""
    found = device(on)
    shrunk = object.__new__(type(found))
    shrunk.__dict__ = dict(found.__dict__, caps=dataclasses.replace(found.caps, max_binding=SPLIT_BINDING))
    return shrunk


@pytest.mark.parametrize("on", LIMITS)
def test_rows_split_over_bindings(on):
    w = tensors(SPLIT)
    want = reference_logits(SPLIT, w, IDS)
    one = engine(checkpoint(SPLIT, w), small_bindings(on), context=64)
    assert [n.op for n in one.model.graphs[0].nodes].count("linear_into") == 2
    assert np.abs(first_logits(one, IDS) - want).max() < 1e-4
    assert np.abs(first_logits(one, IDS[:1]) - reference_logits(SPLIT, w, IDS[:1])).max() < 1e-4
    close(one)


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


def llama3_frequencies(d, theta, p):
    """Meta's three cases by wavelength, as published, not as one clamped ramp."""
    found = []
    for f in theta ** (-np.arange(0, d, 2) / d):
        wavelength, original = 2 * np.pi / f, p["original_max_position_embeddings"]
        if wavelength < original / p["high_freq_factor"]:
            found.append(f)
        elif wavelength > original / p["low_freq_factor"]:
            found.append(f / p["factor"])
        else:
            smooth = ((original / wavelength - p["low_freq_factor"])
                      / (p["high_freq_factor"] - p["low_freq_factor"]))
            found.append((1 - smooth) * f / p["factor"] + smooth * f)
    return np.array(found)


@pytest.mark.parametrize("kind", ["llama3", "linear"])
@pytest.mark.parametrize("dialect", [4, 5])
def test_rope_scaling(kind, dialect):
    scaling = LLAMA3 if kind == "llama3" else {"rope_type": "linear", "factor": 4.0}
    base = CONFIG["rope_theta"] ** (-np.arange(0, 16, 2) / 16)
    want = llama3_frequencies(16, CONFIG["rope_theta"], LLAMA3) if kind == "llama3" else base / 4
    assert len({*np.round(base / want, 6)}) == (1 if kind == "linear" else 4)
    if dialect == 5:
        c = config(rope_theta=None, rope_parameters={**scaling, "rope_theta": CONFIG["rope_theta"]})
    else:
        renamed = {"type" if k == "rope_type" else k: v for k, v in scaling.items()}
        c = config(rope_scaling=renamed)
    w = tensors(c)
    found = logits(checkpoint(c, w), 12 * IDS)
    assert np.abs(found - reference_logits(c, w, 12 * IDS, want)).max() < 1e-4
    assert np.abs(found - reference_logits(c, w, 12 * IDS, base)).max() > 1e-2


# ---- what is refused -------------------------------------------------------------------------------

CONFIG_FAULTS = {
    "model_type": ({"model_type": "gpt2"}, "E_UNSUPPORTED_MODEL"),
    "no model_type": ({"model_type": None}, "E_UNSUPPORTED_MODEL"),
    "model_type of another type": ({"model_type": ["llama"]}, "E_UNSUPPORTED_MODEL"),
    "hidden_act": ({"hidden_act": "gelu"}, "E_UNSUPPORTED_CONFIG"),
    "attention_bias": ({"attention_bias": True}, "E_UNSUPPORTED_CONFIG"),
    "mlp_bias": ({"mlp_bias": True}, "E_UNSUPPORTED_CONFIG"),
    "sliding_window": ({"sliding_window": 128}, "E_UNSUPPORTED_CONFIG"),
    "sliding_window of another type": ({"sliding_window": "128"}, "E_UNSUPPORTED_CONFIG"),
    "attention heads": ({"num_attention_heads": 3}, "E_UNSUPPORTED_CONFIG"),
    "an odd head_dim": ({"head_dim": 15}, "E_UNSUPPORTED_CONFIG"),
    "a huge head_dim": ({"head_dim": 1 << 40}, "E_UNSUPPORTED_CONFIG"),
    "a negative head_dim": ({"head_dim": -16}, "E_UNSUPPORTED_CONFIG"),
    "a text head_dim": ({"head_dim": "16"}, "E_UNSUPPORTED_CONFIG"),
    "a fraction of a KV head": ({"num_key_value_heads": 0.5}, "E_UNSUPPORTED_CONFIG"),
    "more KV heads than heads": ({"num_key_value_heads": 8}, "E_UNSUPPORTED_CONFIG"),
    "layers without end": ({"num_hidden_layers": 10 ** 12}, "E_UNSUPPORTED_CONFIG"),
    "rope_type": ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "E_UNSUPPORTED_CONFIG"),
    "rope_type of another type": ({"rope_scaling": {"rope_type": ["linear"]}}, "E_UNSUPPORTED_CONFIG"),
    "linear without factor": ({"rope_scaling": {"type": "linear"}}, "E_UNSUPPORTED_CONFIG"),
    "linear by zero": ({"rope_scaling": {"type": "linear", "factor": 0}}, "E_UNSUPPORTED_CONFIG"),
    "llama3 without low": ({"rope_scaling": {**LLAMA3, "low_freq_factor": None}}, "E_UNSUPPORTED_CONFIG"),
    "llama3 without a ramp": ({"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}}, "E_UNSUPPORTED_CONFIG"),
    "rope_scaling of another type": ({"rope_scaling": "linear"}, "E_UNSUPPORTED_CONFIG"),
    "theta of zero": ({"rope_theta": 0}, "E_UNSUPPORTED_CONFIG"),
    "a negative theta": ({"rope_theta": -1e4}, "E_UNSUPPORTED_CONFIG"),
}
REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
            "rms_norm_eps", "rope_theta", "tie_word_embeddings", "max_position_embeddings")
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
        assert field in error.facts["field"] or "rope" in error.facts["field"] or "heads" in error.facts["field"]
        assert error.facts["got"] is not None and "wanted" in error.facts
    else:
        assert "llama" in error.facts["known"]


def test_a_nested_config_of_a_multimodal_model():
    nested = {"model_type": "some_vl", "tie_word_embeddings": True, "torch_dtype": "bfloat16",
              "text_config": config(tie_word_embeddings=None)}
    assert compile_model(nested, quant="keep").graphs[0].nodes == compile_model(CONFIG).graphs[0].nodes


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
    error = load_refused("E_MISSING_TENSOR", checkpoint(weights={"model.norm.weight": np.ones(64, np.float32)}))
    assert error.facts["missing"].endswith("and 11 more")


def test_more_layers_than_the_file_holds():
    many = config(num_hidden_layers=200)
    error = load_refused("E_MISSING_TENSOR", checkpoint(many, tensors(CONFIG)))
    assert "model.layers.2.input_layernorm.weight" in error.facts["missing"]


def test_unused_tensors_are_listed():
    extra = {f"model.layers.{i}.self_attn.q_proj.bias": np.ones(64, np.float32) for i in range(9)}
    error = load_refused("E_UNUSED_TENSOR", checkpoint(weights=tensors(CONFIG) | extra))
    assert "model.layers.0.self_attn.q_proj.bias" in error.facts["unused"] and error.facts["unused"].endswith("...")
    fewer = config(num_hidden_layers=1)
    load_refused("E_UNUSED_TENSOR", checkpoint(fewer, tensors(CONFIG)))


def test_known_leftovers_are_dropped():
    extra = {"lm_head.weight": np.ones((83, 64), np.float32),
             "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32),
             "rope_freqs.weight": np.ones(8, np.float32)}
    assert set(extra) == {p.replace("\\d+", "0").replace("\\", "") for p in llama.DROPPED}
    found = logits(checkpoint(weights=tensors(CONFIG) | extra), IDS)
    assert np.abs(found - reference_logits(CONFIG, tensors(CONFIG), IDS)).max() < 1e-4


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight",
                                  "model.layers.1.mlp.down_proj.weight", "model.norm.weight"])
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


@pytest.mark.parametrize("options,code,param", [
    ({"quant": "affine3"}, "E_BAD_REQUEST", "quant"), ({"kv": "f8"}, "E_BAD_REQUEST", "kv"),
    ({"context": 0}, "E_BAD_REQUEST", "context"), ({"context": 257}, "E_BAD_REQUEST", "context"),
    ({"context": True}, "E_BAD_REQUEST", "context"), ({"context": "64"}, "E_BAD_REQUEST", "context"),
    ({"burst": 0}, "E_BAD_REQUEST", "burst"), ({"burst": 65}, "E_BAD_REQUEST", "burst"),
    ({"burst": "fast"}, "E_BAD_REQUEST", "burst"), ({"burst": 1.5}, "E_BAD_REQUEST", "burst"),
    ({"caps": Caps(max_binding=4096)}, "E_OUT_OF_MEMORY", None),
    ({"caps": Caps(max_buffer=4096)}, "E_OUT_OF_MEMORY", None),
])
def test_load_options(options, code, param):
    assert load_refused(code, checkpoint(), **options).facts.get("param") == param


@pytest.mark.parametrize("on", LIMITS)
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


# ---- families and files ----------------------------------------------------------------------------


def test_families():
    assert models.families() == {"llama": llama, "mistral": llama}
    assert models.find("mistral") is llama


def gguf_llama():
    """(GGUF of a one-layer llama in f32 with llama.cpp's order of q and k rows, its arrays in Hugging
    Face's order, its config)."""
    c = config(num_hidden_layers=1)
    w = tensors(c)
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    writer = small_llama(replace={"tokenizer.ggml.tokens": (("array", "str"), [f"t{i}" for i in range(83)])})
    writer.tensors = []
    for ours, theirs in names.items():
        layered = not theirs.startswith("model.")
        array = w[f"model.layers.0.{theirs}.weight" if layered else f"{theirs}.weight"]
        if ours in ("attn_q", "attn_k"):  # convert_hf_to_gguf's permutation
            array = array.reshape(len(array) // 16, 2, 8, 64).swapaxes(1, 2).reshape(array.shape)
        writer.tensor(f"blk.0.{ours}.weight" if layered else f"{ours}.weight", array.shape, "f32", array.tobytes())
    return writer.build(), w, c


@pytest.mark.parametrize("on", LIMITS)
def test_a_gguf_with_llama_cpp_s_row_order(on):
    raw, w, c = gguf_llama()
    source = asyncio.run(open_checkpoint({"m.gguf": BytesSource("m.gguf", raw)}))
    assert source.tensors["model.layers.0.self_attn.q_proj.weight"].rope_interleaved
    found = logits(source, IDS, on)
    assert np.abs(found - reference_logits(c, w, IDS)).max() < 1e-4


def test_a_quantised_file_is_kept():
    source = asyncio.run(open_checkpoint({"m.gguf": BytesSource("m.gguf", small_llama().build())}))
    assert compile_model(source.config, source.tensors).quant == "keep"
    assert compile_model(CONFIG, checkpoint().tensors).quant == "mixed4"
