"""Each family as a GGUF with llama.cpp's names, row orders and whole gains: the reference
checkpoints written over, which must give their logits."""
import asyncio
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from pyengine.compile import compile_model
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from tests.checkpoints import checkpoint, config, logits, refused, tensors
from tests.formats.gguf_writer import GgufWriter
from tests.models.families import GOLDENS

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
}
GEMMA = {**NAMES, "post_attention_layernorm": "post_attention_norm",
         "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}


LFM2 = {"model.embed_tokens": "token_embd", "model.embedding_norm": "token_embd_norm",
        "operator_norm": "attn_norm", "ffn_norm": "ffn_norm", "feed_forward.w1": "ffn_gate",
        "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.out_proj": "attn_output", "self_attn.q_layernorm": "attn_q_norm",
        "self_attn.k_layernorm": "attn_k_norm", "conv.conv": "shortconv.conv",
        "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj"}

QWEN35 = {**NAMES, "post_attention_layernorm": "post_attention_norm",
          "linear_attn.in_proj_qkv": "attn_qkv", "linear_attn.in_proj_z": "attn_gate",
          "linear_attn.in_proj_b": "ssm_beta", "linear_attn.in_proj_a": "ssm_alpha",
          "linear_attn.conv1d": "ssm_conv1d", "linear_attn.norm": "ssm_norm",
          "linear_attn.out_proj": "ssm_out"}


def gguf_name(name, names):
    if name.endswith(("A_log", "dt_bias")):
        return f"blk.{name.split('.')[2]}." + ("ssm_a" if "A_log" in name else "ssm_dt.bias")
    stem, _, role = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{names[part]}.{role}"
    return f"{names[stem]}.{role}"


def written(arch, c, arrays, extra=(), permuted=False):
    """A GGUF of config `c` and {Hugging Face name: array} as convert_hf_to_gguf lays it out."""
    writer, d = GgufWriter(), c["head_dim"] if "head_dim" in c else None
    d = d or c["hidden_size"] // c["num_attention_heads"]
    writer.pair("general.architecture", "str", arch)
    theta = c.get("rope_theta") or c["rope_parameters"].get("rope_theta") or 1e6
    counts = {"block_count": c["num_hidden_layers"], "context_length": 2048,
              "embedding_length": c["hidden_size"], "feed_forward_length": c["intermediate_size"],
              "attention.head_count": c["num_attention_heads"],
              "attention.head_count_kv": c["num_key_value_heads"],
              "attention.key_length": d, "attention.value_length": d}
    for key, value in counts.items():
        writer.pair(f"{arch}.{key}", ("array", "i32") if isinstance(value, list) else "u32", value)
    writer.pair(f"{arch}.rope.freq_base", "f32", theta)
    writer.pair(f"{arch}.attention.layer_norm_rms_epsilon", "f32", c["rms_norm_eps"])
    for key, kind, value in extra:
        writer.pair(f"{arch}.{key}", kind, value)
    for name, array in arrays.items():
        array = np.asarray(array, np.float32)
        if arch in ("gemma3", "qwen35") and name.endswith("norm.weight"):
            array = array + np.float32("linear_attn" not in name)
        if arch == "qwen35" and "linear_attn" in name:
            array = ggml_layout(c, name, array)
        if permuted and ("q_proj" in name or "k_proj" in name):
            array = array.reshape(len(array) // d, 2, d // 2, -1).swapaxes(1, 2).reshape(array.shape)
        if name.endswith(("conv.conv.weight", "conv1d.weight")):
            array = array.squeeze(1)
        names = {"gemma3": GEMMA, "lfm2": LFM2, "qwen35": QWEN35}.get(arch, NAMES)
        writer.tensor(gguf_name(name, names), array.shape, "f32", array.tobytes())
    return writer


def ggml_layout(c, name, array):
    """Value heads by turns of their key heads, and decay rates, as convert_hf_to_gguf writes."""
    nk, nv = c["linear_num_key_heads"], c["linear_num_value_heads"]
    axis = 1 if "out_proj" in name else 0
    first = array.shape[axis] - nv * c["linear_value_head_dim"]  # behind q and k
    if name.endswith(("in_proj_a.weight", "in_proj_b.weight", "A_log", "dt_bias")):
        first = 0
    if name.endswith("linear_attn.norm.weight"):
        return array
    kept, heads = np.split(array, [first], axis=axis)
    parts = np.split(heads, nv, axis=axis)
    order = [group * (nv // nk) + i for i in range(nv // nk) for group in range(nk)]
    array = np.concatenate([kept, *(parts[i] for i in order)], axis=axis)
    return -np.exp(array) if "A_log" in name else array


def opened(writer):
    return asyncio.run(open_checkpoint({"m.gguf": BytesSource("m.gguf", writer.build())}))


@pytest.mark.parametrize("on", ["numpy", "native"])
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_qwen(family, on):
    path = GOLDENS / "models-tiny" / family
    c, golden = checkpoint_config(path), np.load(path / "golden.npz")
    source = opened(written(family, c, load_file(path / "model.safetensors")))
    assert source.config["model_type"] == family
    found = logits(source, golden["long_ids"], on)
    assert np.abs(found - golden["long_logits_last"]).max() < 1e-4


def lfm2(heads=None, taps=3, top="token_embd_norm"):
    """(GGUF of the tiny model, its golden arrays); `heads` of k and v by layer."""
    path = GOLDENS / "models-tiny" / "lfm2"
    c = checkpoint_config(path)
    c |= {"rms_norm_eps": c["norm_eps"], "num_key_value_heads": heads or [0, 0, 2, 0]}
    extra = [("shortconv.l_cache", "u32", taps)] if taps else []
    arrays = load_file(path / "model.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LFM2, "model.embedding_norm", top)
        writer = written("lfm2", c, arrays, extra)
    return writer, np.load(path / "golden.npz")


@pytest.mark.parametrize("on", ["numpy", "native"])
@pytest.mark.parametrize("top", ["token_embd_norm", "output_norm"])
def test_lfm2(on, top):
    """Which layers convolve is said by their KV heads; the final norm goes by two names."""
    writer, golden = lfm2(top=top)
    found = logits(opened(writer), golden["long_ids"], on)
    assert np.abs(found - golden["long_logits_last"]).max() < 1e-4


QWEN35_EXTRA = {
    "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.group_count": 2, "ssm.time_step_rank": 4,
    "ssm.inner_size": 64, "rope.dimension_count": 8, "full_attention_interval": 4}


def qwen3_5(without=(), blocks=(), **changed):
    """(GGUF of the tiny model, its golden arrays); `blocks`: names of tensors beyond it."""
    path = GOLDENS / "models-tiny" / "qwen3_5_text"
    c = checkpoint_config(path)
    c["num_hidden_layers"] += bool(blocks)
    extra = {k: v for k, v in (QWEN35_EXTRA | changed).items() if k not in without}
    if blocks:
        extra["nextn_predict_layers"] = 1
    pairs = [(k, ("array", "bool") if isinstance(v, list) else "u32", v) for k, v in extra.items()]
    writer = written("qwen35", c, load_file(path / "model.safetensors"), pairs)
    for name in blocks:
        writer.tensor(name, (64,), "f32", bytes(256))
    return writer, np.load(path / "golden.npz")


DRAFT = ("blk.4.nextn.enorm.weight", "blk.4.attn_norm.weight")


@pytest.mark.parametrize("on, without, changed, blocks", [
    ("numpy", (), {}, ()), ("native", (), {}, ()),
    ("numpy", ("full_attention_interval",), {}, ()),
    ("numpy", ("full_attention_interval",), {"attention.recurrent_layers": 3 * [True] + [False]}, ()),
    ("numpy", (), {}, DRAFT)])
def test_qwen3_5(on, without, changed, blocks):
    """Value heads in another order than the checkpoint's, decay rates instead of logarithms; which
    layers recur may be said by a list, by an interval, or not; draft heads are left out."""
    writer, golden = qwen3_5(without, blocks, **changed)
    found = logits(opened(writer), golden["long_ids"], on)
    assert np.abs(found - golden["long_logits_last"]).max() < 1e-4


@pytest.mark.parametrize("without, changed, field", [
    (("ssm.group_count",), {}, "ssm.group_count"), ((), {"ssm.inner_size": 63}, "ssm.inner_size"),
    ((), {"nextn_predict_layers": 4}, "nextn_predict_layers"),
    (("rope.dimension_count",), {}, "partial_rotary_factor")])
def test_qwen3_5_with_odd_fields_is_refused(without, changed, field):
    writer, golden = qwen3_5(without, **changed)
    error = refused("E_UNSUPPORTED_CONFIG", lambda: logits(opened(writer), golden["long_ids"]))
    assert field in error.facts["field"]


@pytest.mark.parametrize("name", ["blk.3.ssm_other.weight", "blk.4.attn_norm.weight"])
def test_a_tensor_of_qwen3_5_that_no_rule_names_is_listed(name):
    """A block too many is a draft head only where the file says so."""
    writer, golden = qwen3_5()
    writer.tensor(name, (64,), "f32", bytes(256))
    error = refused("E_UNUSED_TENSOR", lambda: logits(opened(writer), golden["long_ids"]))
    assert {"blk.3.ssm_other.weight": name}.get(name, "layers.4.input_layernorm") in error.message


@pytest.mark.parametrize("heads, taps, field", [
    ([0, 0, 2], 3, "head_count_kv"), ([0, 1, 2, 0], 3, "head_count_kv"), (2, 3, "head_count_kv"),
    ([0, 0, 0, 0], 3, "head_count_kv"), (None, None, "l_cache")])
def test_lfm2_with_odd_fields_is_refused(heads, taps, field):
    writer, _ = lfm2(heads, taps)
    assert field in refused("E_UNSUPPORTED_CONFIG", lambda: opened(writer)).facts["field"]


def test_layers_without_attention_are_lfm2_s_alone():
    c = config(num_key_value_heads=[2, 0])
    error = refused("E_UNSUPPORTED_CONFIG", lambda: opened(written("llama", c, tensors(config()))))
    assert "head_count_kv" in error.facts["field"]


def checkpoint_config(path):
    return json.loads((path / "config.json").read_text())


@pytest.mark.parametrize("on", ["numpy", "native"])
def test_gemma3(on):
    """Every sixth layer sees all in llama.cpp: with two layers that slide and one that is dropped,
    the same weights under that rule are the reference."""
    path = GOLDENS / "models-tiny" / "gemma3"
    c, arrays = checkpoint_config(path), load_file(path / "model.safetensors")
    ids = np.load(path / "golden.npz")["long_ids"]
    c["layer_types"] = 3 * ["sliding_attention"]
    want = logits(checkpoint(c, arrays), ids)
    writer = written("gemma3", c, arrays, [("attention.sliding_window", "u32", 8)])
    source = opened(writer)
    assert np.abs(logits(source, ids, on) - want).max() < 1e-5
    plain = logits(checkpoint(checkpoint_config(path), arrays), ids)
    assert np.abs(plain - want).max() > 1e-3


def test_gemma3_without_a_window_is_refused():
    path = GOLDENS / "models-tiny" / "gemma3"
    writer = written("gemma3", checkpoint_config(path), load_file(path / "model.safetensors"))
    error = refused("E_UNSUPPORTED_CONFIG", lambda: opened(writer))
    assert "sliding_window" in error.facts["field"]


def test_smollm3():
    """Rows in llama.cpp's order, every fourth layer without positions."""
    c = config(model_type="smollm3", num_hidden_layers=4, no_rope_layer_interval=4)
    w, ids = tensors(c), [3, 82, 0, 7, 7, 41, 19]
    source = opened(written("smollm3", c, w, permuted=True))
    assert np.abs(logits(source, ids) - logits(checkpoint(c, w), ids)).max() < 1e-5
    assert np.abs(logits(source, ids) - logits(checkpoint({**c, "model_type": "llama"}, w), ids)).max() > 1e-3


def test_llama3_scaling_is_read_from_its_tensor():
    """A GGUF of Llama 3.1 and later says it as what each frequency is divided by."""
    c = config()
    w, ids = tensors(c), 12 * [3, 82, 0, 7, 7, 41, 19]
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    scaled = {**c, "rope_scaling": scaling}

    plain, wanted = (compile_model(x).config.rope.frequencies for x in (c, scaled))
    writer = written("llama", c, w, permuted=True)
    factors = np.array(plain) / np.array(wanted)
    assert 1 < len(set(factors.round(4))) <= 8
    writer.tensor("rope_freqs.weight", (8,), "f32", factors.astype(np.float32).tobytes())
    found = logits(opened(writer), ids)
    assert np.abs(found - logits(checkpoint(scaled, w), ids)).max() < 1e-4
    assert np.abs(found - logits(checkpoint(c, w), ids)).max() > 1e-3


def test_scaling_factors_of_another_number_are_named():
    c = config()
    writer = written("llama", c, tensors(c), permuted=True)
    writer.tensor("rope_freqs.weight", (7,), "f32", bytes(28))
    assert "rope_freqs" in refused("E_UNSUPPORTED_TENSOR", lambda: opened(writer)).message


def test_a_window_of_a_llama_file_is_kept():
    c = config()
    window = [("attention.sliding_window", "u32", 3)]
    source = opened(written("llama", c, tensors(c), window, permuted=True))
    want = logits(checkpoint({**c, "sliding_window": 3}, tensors(c)), [3, 82, 0, 7, 7, 41, 19])
    assert np.abs(logits(source, [3, 82, 0, 7, 7, 41, 19]) - want).max() < 1e-5
