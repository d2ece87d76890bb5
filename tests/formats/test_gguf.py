"""GGUF headers: what is in a good file, in both versions, through windows of any size."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tests.formats.gguf_writer import SHAPES, GgufWriter, small_llama

from pyengine.errors import EngineError
from pyengine.formats import gguf
from pyengine.formats.checkpoint import open_checkpoint, open_path
from pyengine.formats.source import BytesSource
from pyengine.quant import affine
from pyengine.quant.blocks import dequantize, repack
from pyengine.quant.kinds import WeightKind

GOLDENS = Path(__file__).parents[1] / "goldens"
ROWS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def opened(data, name="m.gguf"):
    return asyncio.run(open_checkpoint({name: BytesSource(name, data)}))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 32, 4096])
def test_a_good_file(version, alignment):
    data = small_llama(version=version, alignment=alignment).build()
    got = opened(data)
    assert got.format == "gguf" and got.tokenizer_json is None
    assert {k: v for k, v in got.config.items() if k != "rms_norm_eps"} == {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "max_position_embeddings": 128,
        "vocab_size": 11,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }
    assert got.config["rms_norm_eps"] == pytest.approx(1e-5)
    assert len(got.tensors) == len(SHAPES)
    assert got.chat_template == "{{ messages }}"
    assert got.tokenizer_config == {"bos_token": "t1", "eos_token": "t2"}
    assert got.generation_config == {"bos_token_id": 1, "eos_token_id": 2}
    assert got.metadata["tokenizer.ggml.tokens"][10] == "t10"
    assert list(got.metadata["tokenizer.ggml.scores"]) == [0.5 * i for i in range(11)]


def test_only_q_and_k_rows_are_interleaved():
    tensors = opened(small_llama().build()).tensors
    names = [name for name, ref in tensors.items() if ref.rope_interleaved]
    assert sorted(names) == [f"model.layers.0.self_attn.{p}_proj.weight" for p in "kq"]


def test_offsets_are_absolute():
    writer = small_llama()
    data = writer.build()
    got = opened(data)
    raw = {name: raw for name, _, _, raw, _ in writer.tensors}
    for hf, name in [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm")]:
        ref = got.tensors[hf + ".weight"]
        assert data[ref.offset : ref.offset + ref.nbytes] == raw[name + ".weight"]


@pytest.mark.parametrize("window", [1, 7, 83, 769, 1 << 20])
def test_any_window_reads_the_same(window, monkeypatch):
    data = small_llama().build()
    monkeypatch.setattr(gguf, "FIRST_WINDOW", window)
    got = asyncio.run(gguf.read_header(BytesSource("m.gguf", data)))
    monkeypatch.undo()
    assert got == asyncio.run(gguf.read_header(BytesSource("m.gguf", data)))


def test_the_weights_are_not_read(monkeypatch):
    writer = GgufWriter()
    writer.tensor("x", (1 << 20,), "f32", bytes(4 << 20))
    data, read = writer.build(), []

    class Counting(BytesSource):
        async def read(self, offset, length):
            read.append(length)
            return await super().read(offset, length)

    monkeypatch.setattr(gguf, "FIRST_WINDOW", 16)
    asyncio.run(gguf.read_header(Counting("m.gguf", data)))
    assert sum(read) < 1024


@pytest.mark.parametrize(
    "kind, value",
    [
        ("u8", 250),
        ("i8", -3),
        ("u16", 60000),
        ("i16", -300),
        ("u32", 1 << 31),
        ("i32", -70000),
        ("f32", 0.5),
        ("bool", True),
        ("str", "naïve 🦜"),
        ("u64", 1 << 63),
        ("i64", -(1 << 62)),
        ("f64", 0.1),
    ],
)
def test_every_value_type(kind, value):
    writer = GgufWriter()
    writer.pair("one", kind, value)
    writer.pair("many", ("array", kind), [value, value])
    writer.pair("none", ("array", kind), [])
    got = asyncio.run(gguf.read_header(BytesSource("m.gguf", writer.build()))).metadata
    assert got["one"] == value and type(got["one"]) is type(value)
    assert list(got["many"]) == [value, value] and list(got["none"]) == []


def test_rope_freqs_and_an_untied_head_keep_their_names():
    writer = small_llama()
    writer.tensor("rope_freqs.weight", (8,), "f32", bytes(32))
    writer.tensor("output.weight", (11, 64), "f16", bytes(11 * 64 * 2))
    got = opened(writer.build())
    assert got.tensors["rope_freqs.weight"].shape == (8,)
    assert got.tensors["lm_head.weight"].encoding == "f16"
    assert got.config["tie_word_embeddings"] is False


def test_unknown_tensors_keep_their_gguf_names():
    writer = small_llama()
    writer.tensor("blk.0.attn_sinks.weight", (4,), "f32", bytes(16))
    assert "blk.0.attn_sinks.weight" in opened(writer.build()).tensors


def test_further_ends_of_turn_and_scaling():
    writer = small_llama(
        replace={
            "tokenizer.ggml.eot_token_id": ("u32", 7),
            "tokenizer.ggml.eom_token_id": ("u32", 2),
            "llama.rope.scaling.type": ("str", "linear"),
            "llama.rope.scaling.factor": ("f32", 4.0),
            "llama.rope.dimension_count": ("u32", 8),
        }
    )
    got = opened(writer.build())
    assert got.generation_config["eos_token_id"] == [2, 7]
    assert got.config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    assert got.config["partial_rotary_factor"] == 0.5


def test_equals_the_safetensors_checkpoint_it_was_made_of(run):
    folder = run(open_path(GOLDENS / "models-tiny/llama"))
    config, writer = folder.config, GgufWriter()
    for key, kind, value in llama_metadata(config):
        writer.pair(key, kind, value)
    weights = {}
    for name, ref in folder.tensors.items():
        raw = run(folder.files[ref.file].read(ref.offset, ref.nbytes))
        weights[name] = np.frombuffer(raw, "<f4").reshape(ref.shape)
        writer.tensor(gguf_name(name), ref.shape, "f32", interleave(name, weights[name]).tobytes())
    folder.close()
    got = opened(writer.build())
    for key in ("hidden_size", "head_dim", "num_key_value_heads", "vocab_size", "model_type"):
        assert got.config[key] == config[key]
    assert got.tensors.keys() == weights.keys()
    kind = WeightKind("dense", dtype="f32")
    for name, ref in got.tensors.items():
        raw = run(got.files[0].read(ref.offset, ref.nbytes))
        if len(ref.shape) == 1:
            np.testing.assert_array_equal(dequantize(raw, "f32", ref.shape[0]), weights[name])
            continue
        hd = config["head_dim"] if ref.rope_interleaved else 0
        packed = repack(raw, ref.encoding, *ref.shape, kind, rope_head_dim=hd)
        np.testing.assert_array_equal(affine.unpack(packed, kind, ref.shape[1]), weights[name])


def llama_metadata(config):
    return [
        ("general.architecture", "str", "llama"),
        ("llama.block_count", "u32", config["num_hidden_layers"]),
        ("llama.context_length", "u32", config["max_position_embeddings"]),
        ("llama.embedding_length", "u32", config["hidden_size"]),
        ("llama.feed_forward_length", "u32", config["intermediate_size"]),
        ("llama.attention.head_count", "u32", config["num_attention_heads"]),
        ("llama.attention.head_count_kv", "u32", config["num_key_value_heads"]),
        ("llama.attention.key_length", "u32", config["head_dim"]),
        ("llama.attention.value_length", "u32", config["head_dim"]),
        ("llama.rope.freq_base", "f32", config["rope_parameters"]["rope_theta"]),
        ("llama.attention.layer_norm_rms_epsilon", "f32", config["rms_norm_eps"]),
    ]


def gguf_name(name):
    if name in ROWS:
        return ROWS[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{ROWS[rest]}"


def interleave(name, w):
    """llama.cpp's row order of q and k: halves of each head of 16 rows interleaved."""
    if "q_proj" not in name and "k_proj" not in name:
        return w
    return w.reshape(-1, 2, 8, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


@pytest.mark.parametrize(
    "without, code, word",
    [
        ("llama.rope.freq_base", "E_UNSUPPORTED_CONFIG", "rope.freq_base"),
        ("llama.attention.layer_norm_rms_epsilon", "E_UNSUPPORTED_CONFIG", "epsilon"),
        ("llama.embedding_length", "E_UNSUPPORTED_CONFIG", "missing"),
        ("general.architecture", "E_UNSUPPORTED_MODEL", "llama"),
    ],
)
def test_missing_fields_have_no_default(without, code, word):
    with pytest.raises(EngineError) as caught:
        opened(small_llama(without=[without]).build())
    assert caught.value.code == code and word in caught.value.message


@pytest.mark.parametrize(
    "key, kind, value, code",
    [
        ("general.architecture", "str", "mamba9", "E_UNSUPPORTED_MODEL"),
        ("general.architecture", "u32", 7, "E_UNSUPPORTED_MODEL"),
        ("llama.embedding_length", "str", "64", "E_UNSUPPORTED_CONFIG"),
        ("llama.embedding_length", "u64", 1 << 63, "E_UNSUPPORTED_CONFIG"),
        ("llama.block_count", "i32", -1, "E_UNSUPPORTED_CONFIG"),
        ("llama.attention.head_count", "u32", 0, "E_UNSUPPORTED_CONFIG"),
        ("llama.attention.head_count_kv", ("array", "u32"), [2, 2], "E_UNSUPPORTED_CONFIG"),
        ("llama.rope.freq_base", "f32", float("nan"), "E_UNSUPPORTED_CONFIG"),
        ("llama.rope.freq_base", "f32", float("inf"), "E_UNSUPPORTED_CONFIG"),
        ("llama.rope.scaling.type", "str", "longrope", "E_UNSUPPORTED_CONFIG"),
        ("llama.expert_count", "u32", 8, "E_UNSUPPORTED_CONFIG"),
        ("llama.attention.value_length", "u32", 32, "E_UNSUPPORTED_CONFIG"),
        ("split.count", "u16", 3, "E_UNSUPPORTED_CONFIG"),
        ("general.alignment", "u32", 48, "E_BAD_FILE"),
        ("general.alignment", "u32", 0, "E_BAD_FILE"),
        ("general.alignment", "str", "32", "E_BAD_FILE"),
    ],
)
def test_wrong_fields_are_refused(key, kind, value, code):
    with pytest.raises(EngineError) as caught:
        opened(small_llama(replace={key: (kind, value)}).build())
    assert caught.value.code == code
    assert caught.value.next_step
