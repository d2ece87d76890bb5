"""Llama on the oracle and on the GPU: every way a checkpoint may be cut, against formulas in f64;
tests/models/test_families.py has the reference's numbers."""
import asyncio
import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from pyengine import models
from pyengine.compile import compile_model
from pyengine.decode.sampling import SamplingParams
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from pyengine.models import llama
from pyengine.quant import affine
from pyengine.quant.kinds import WeightKind
from tests.checkpoints import (
    CONFIG,
    LLAMA3,
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
    tensors,
)
from tests.formats.gguf_writer import small_llama
from tests.models.families import GOLDENS, LIMITS

SETS = ("models-tiny", "models-real-heads")


@pytest.fixture(scope="module", params=[(s, on) for s in SETS for on in LIMITS], ids="-".join)
def golden(request):
    """(engine of the checkpoint as it is with an f32 cache, golden arrays, logit limit)."""
    which, on = request.param
    path = GOLDENS / which / "llama"
    one = engine(folder(path), on, burst=16)
    yield one, np.load(path / "golden.npz"), LIMITS[on]
    close(one)


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
QUANT_BOUNDS = {
    "affine4-g32": (0.55, 0.40),
    "affine4-g64": (0.55, 0.38),
    "affine8-g64": (0.035, 0.026),
    "mixed4": (0.55, 0.39),
}


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


# ---- made checkpoints against formulas in f64 ----------------------------------------------------

IDS = [3, 82, 0, 7, 7, 41, 19]
SHAPES = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "no grouping": {"num_key_value_heads": 4},
    "one kv head": {"num_key_value_heads": 1, "head_dim": 24},
    "awkward sizes": {"intermediate_size": 83, "vocab_size": 769, "hidden_size": 70},
    "one layer": {"num_hidden_layers": 1, "head_dim": 2, "intermediate_size": 1},
    "mistral": {"model_type": "mistral", "sliding_window": 4096},
    "a window": {"model_type": "mistral", "sliding_window": 3},
    "sliding layers": {"sliding_window": 2, "layer_types": ["full_attention", "sliding_attention"]},
    "no window": {"model_type": "mistral", "sliding_window": None},
    "layers without positions": {"model_type": "smollm3", "no_rope_layers": [1, 0]},
    "every second without positions": {"model_type": "smollm3", "no_rope_layer_interval": 2},
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
    dtypes = {
        f"model.layers.{i}.self_attn.{p}_proj.weight": d for i in range(2) for p, d in mixed.items()
    }
    dtypes |= {"model.layers.1.mlp.up_proj.weight": "BF16", "lm_head.weight": "F16",
               "model.norm.weight": "BF16", "model.layers.0.input_layernorm.weight": "F16"}
    w = tensors(c)
    want = reference_logits(c, {n: decoded(a, dtypes.get(n, "F32")) for n, a in w.items()}, IDS)
    one = engine(checkpoint(c, w, dtypes), on)
    ops = [node.op for node in one.model.graphs[0].nodes]
    assert ops.count("linear_into") == 2 * 2 + 1
    assert np.abs(first_logits(one, IDS) - want).max() < 1e-4
    close(one)


def limited(on, max_binding=SPLIT_BINDING):
    """The device, with bindings of `max_binding` bytes at most."""
    found = device(on)
    shrunk = object.__new__(type(found))
    shrunk.__dict__ = dict(
        found.__dict__, caps=dataclasses.replace(found.caps, max_binding=max_binding)
    )
    return shrunk


@pytest.mark.parametrize("on", LIMITS)
def test_rows_split_over_bindings(on):
    w = tensors(SPLIT)
    want = reference_logits(SPLIT, w, IDS)
    one = engine(checkpoint(SPLIT, w), limited(on), context=64)
    ops = [n.op for n in one.model.graphs[0].nodes]
    assert ops.count("linear_into") == 2
    assert np.abs(first_logits(one, IDS) - want).max() < 1e-4
    assert np.abs(first_logits(one, IDS[:1]) - reference_logits(SPLIT, w, IDS[:1])).max() < 1e-4
    close(one)


def table_limit(kind, rows):
    """A binding that holds `rows` rows of the table and not much else."""
    return rows * 4 * WeightKind.parse(kind).row_words(64)


@pytest.mark.parametrize("quant, kind", [("keep", "dense_f32"), ("affine8-g64", "affine8_g64_f16")])
@pytest.mark.parametrize("on", LIMITS)
def test_a_table_split_over_bindings_changes_nothing(on, quant, kind):
    """Embedding, head and both samplers, over five parts and over one."""
    c = config(vocab_size=4 * 592 + 17, num_hidden_layers=1, intermediate_size=32)
    w, found = tensors(c), []
    ids = [0, 591, 592, 593, 1183, 1184, 2384]
    for most in (table_limit(kind, 592), 128 << 20):
        one = engine(checkpoint(c, w), limited(on, most), context=32, quant=quant)
        ops = [n.op for n in one.model.graphs[0].nodes]
        drawn = generated(one, ids, SamplingParams(temperature=1.0, top_p=0.9, seed=7),
                          max_tokens=12)
        found.append((first_logits(one, ids), first_logits(one, ids[:1]),
                      generated(one, ids, max_tokens=12), drawn))
        assert ops.count("embed_into") == (4 if most < 1 << 20 else 0)
        close(one)
    assert np.abs(found[0][0] - found[1][0]).max() < 1e-5
    assert np.abs(found[0][1] - found[1][1]).max() < 1e-5
    assert found[0][2:] == found[1][2:] and len(set(found[0][3][0])) > 6


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


# ---- families and files --------------------------------------------------------------------------


def test_families():
    found = models.families()
    assert {name for name, module in found.items() if module is llama} == {
        "llama", "mistral", "smollm3"}
    assert models.find("mistral") is llama and models.find("qwen2") is not llama


def gguf_llama():
    """(GGUF of a one-layer llama in f32 with llama.cpp's order of q and k rows, its arrays in
    Hugging Face's order, its config)."""
    c = config(num_hidden_layers=1)
    w = tensors(c)
    names = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    writer = small_llama(
        replace={"tokenizer.ggml.tokens": (("array", "str"), [f"t{i}" for i in range(83)])}
    )
    writer.tensors = []
    for ours, theirs in names.items():
        layered = not theirs.startswith("model.")
        array = w[f"model.layers.0.{theirs}.weight" if layered else f"{theirs}.weight"]
        if ours in ("attn_q", "attn_k"):  # convert_hf_to_gguf's permutation
            array = array.reshape(len(array) // 16, 2, 8, 64).swapaxes(1, 2).reshape(array.shape)
        writer.tensor(
            f"blk.0.{ours}.weight" if layered else f"{ours}.weight",
            array.shape,
            "f32",
            array.tobytes(),
        )
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
