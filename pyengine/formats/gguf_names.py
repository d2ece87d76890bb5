"""GGUF's tensor names and metadata -> Hugging Face's. One row of `ARCHS` per architecture.

Sources: gguf-py's tensor_mapping.py and ggml/docs/gguf.md. A tensor without a row keeps its GGUF
name, so that the model's own check reports it; nothing is dropped here.
"""

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from pyengine.errors import EngineError
from pyengine.formats.layout import brief

# Outside the layers. rope_freqs divides the RoPE frequencies (llama 3): the model applies it.
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "rope_freqs.weight": "rope_freqs.weight",
}
ROPE_FACTORS = "rope_freqs.weight"
_LLAMA_LAYER = {  # `blk.N.` + key -> `model.layers.N.` + value, weights and biases alike
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


_QWEN3_LAYER = {
    **_LLAMA_LAYER,
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_GEMMA3_LAYER = {
    **_QWEN3_LAYER,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_LFM2_TOP = {
    **_TOP,
    "token_embd_norm.weight": "model.embedding_norm.weight",  # the final norm all the same
    "output_norm.weight": "model.embedding_norm.weight",  # as Ollama's converter calls it
}
_LFM2_LAYER = {
    "attn_norm": "operator_norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "shortconv.conv": "conv.conv",
    "shortconv.in_proj": "conv.in_proj",
    "shortconv.out_proj": "conv.out_proj",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
}
_QWEN35_LAYER = {
    **_QWEN3_LAYER,
    "post_attention_norm": "post_attention_layernorm",
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
}
_QWEN35_WHOLE = {"ssm_a": "linear_attn.A_log", "ssm_dt.bias": "linear_attn.dt_bias"}
_INTERLEAVED = ("attn_q", "attn_k")
GEMMA3_PATTERN = 6  # llama.cpp's own constant: every sixth layer sees all
GEMMA3_27B = 62  # layers of the one size whose scale is not its head size's
SMOLLM3_PATTERN = 4  # llama.cpp's own constant: every fourth layer does not rotate
QWEN35_INTERVAL = 4  # what llama.cpp takes where the file does not say


@dataclass(frozen=True)
class Arch:
    """`interleaved`: layer tensors whose rows llama.cpp permutes for interleaved RoPE. `shifted`:
    it stores 1 + gain where the checkpoint stores the gain. `whole`: layer tensors without a
    role, or whose role changes. `extra(reader, config)`: fields beyond those of every decoder; None
    leaves a field out."""

    model_type: str
    layer: dict
    top: dict
    interleaved: tuple = ()
    shifted: bool = False
    whole: dict = field(default_factory=dict)
    extra: Callable = lambda read, config: {"hidden_act": "silu"}


def _llama_extra(read, config):
    window = read.count("attention.sliding_window", optional=True)
    return {"hidden_act": "silu", "sliding_window": window}


def _smollm3_extra(read, config):
    return {"hidden_act": "silu", "no_rope_layer_interval": SMOLLM3_PATTERN}


def _gemma_extra(read, config):
    return {"hidden_activation": "gelu_pytorch_tanh"}


def _gemma3_extra(read, config):
    heads, head_dim = config["num_attention_heads"], config["head_dim"]
    large = config["num_hidden_layers"] == GEMMA3_27B
    base = read.get("rope.freq_base_swa")
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": config["hidden_size"] // heads if large else head_dim,
        "sliding_window": read.count("attention.sliding_window"),
        "sliding_window_pattern": GEMMA3_PATTERN,
        "rope_local_base_freq": 10000.0 if base is None else read.real("rope.freq_base_swa"),
        "attn_logit_softcapping": read.get("attn_logit_softcapping"),
        "final_logit_softcapping": read.get("final_logit_softcapping"),
    }


def _lfm2_extra(read, config):
    heads = read.items("attention.head_count_kv")
    if heads is None:
        got, wanted = config["num_key_value_heads"], "one for each layer, 0 without attention"
        read.refuse("attention.head_count_kv", got, wanted)
    return {
        "norm_eps": config["rms_norm_eps"],
        "conv_bias": False,
        "conv_L_cache": read.count("shortconv.l_cache"),
        "layer_types": ["full_attention" if n else "conv" for n in heads],
        "block_auto_adjust_ff_dim": False,
    }


def _qwen35_extra(read, config):
    """The gated delta net goes by the keys of state space models. Blocks behind the model's own
    are draft heads."""
    drafts = read.get("nextn_predict_layers") and read.count("nextn_predict_layers")
    layers = read.count("block_count") - (drafts or 0)
    if layers < 1:
        read.refuse("nextn_predict_layers", drafts, "fewer than all blocks")
    values, inner = read.count("ssm.time_step_rank"), read.count("ssm.inner_size")
    recurrent, every = read.items("attention.recurrent_layers"), None
    if recurrent is None:
        every = read.count("full_attention_interval", default=QWEN35_INTERVAL)
        recurrent = [(i + 1) % every for i in range(layers)]
    if inner % values:
        read.refuse("ssm.inner_size", inner, f"a multiple of {values} heads")
    return {
        "hidden_act": "silu",
        "attn_output_gate": True,
        "num_hidden_layers": layers,
        "num_nextn_predict_layers": drafts,
        "layer_types": ["linear_attention" if r else "full_attention" for r in recurrent[:layers]],
        "linear_num_key_heads": read.count("ssm.group_count"),
        "linear_num_value_heads": values,
        "linear_key_head_dim": read.count("ssm.state_size"),
        "linear_value_head_dim": inner // values,
        "linear_conv_kernel_dim": read.count("ssm.conv_kernel"),
        "linear_ggml_layout": True,
    }


ARCHS = {
    "lfm2": Arch("lfm2", _LFM2_LAYER, _LFM2_TOP, extra=_lfm2_extra),
    "llama": Arch("llama", _LLAMA_LAYER, _TOP, _INTERLEAVED, extra=_llama_extra),
    "smollm3": Arch("smollm3", _LLAMA_LAYER, _TOP, _INTERLEAVED, extra=_smollm3_extra),
    "qwen2": Arch("qwen2", _LLAMA_LAYER, _TOP),
    "qwen3": Arch("qwen3", _QWEN3_LAYER, _TOP),
    "qwen35": Arch("qwen3_5_text", _QWEN35_LAYER, _TOP, shifted=True, whole=_QWEN35_WHOLE,
                   extra=_qwen35_extra),
    "gemma": Arch("gemma", _LLAMA_LAYER, _TOP, shifted=True, extra=_gemma_extra),
    "gemma3": Arch("gemma3_text", _GEMMA3_LAYER, _TOP, shifted=True, extra=_gemma3_extra),
}
_LAYER_NAME = re.compile(
    r"blk\.(0|[1-9]\d{0,4})\.(((?:shortconv\.)?[a-z0-9_]+)(?:\.(weight|bias))?)"
)
_BLOCK = re.compile(r"blk\.(\d{1,5})\.")


def arch_of(metadata):
    """The `Arch` that `general.architecture` names. Raises E_UNSUPPORTED_MODEL."""
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHS:
        raise EngineError(
            "E_UNSUPPORTED_MODEL", model_type=str(name)[:80], known=", ".join(sorted(ARCHS))
        )
    return ARCHS[name]


def is_shifted(arch, name):
    """True for a gain, by its Hugging Face name, that the file stores with 1 added."""
    return arch.shifted and name.endswith("norm.weight") and ".linear_attn." not in name


def hf_name(arch, name, config):
    """(Hugging Face name, rows are interleaved) of a GGUF tensor. `config`: the file's; where it
    has draft heads, they are the blocks behind the model's own."""
    if name in arch.top:
        return arch.top[name], False
    match = _BLOCK.match(name)
    drafts = config.get("num_nextn_predict_layers")
    if drafts and match and int(match[1]) >= config["num_hidden_layers"]:
        return f"mtp.{name}", False
    match = _LAYER_NAME.fullmatch(name)
    if match and match[2] in arch.whole:
        return f"model.layers.{match[1]}.{arch.whole[match[2]]}", False
    if not match or not match[4] or match[3] not in arch.layer:
        return name, False
    layer, _, part, role = match.groups()
    return f"model.layers.{layer}.{arch.layer[part]}.{role}", part in arch.interleaved


def hf_config(metadata, shapes):
    """A Hugging Face config (4.x dialect) of a GGUF's metadata; `shapes`: {GGUF name: shape}.

    Fields that the format defines by others take that definition (head_count_kv, key_length); a
    missing field that changes the maths raises E_UNSUPPORTED_CONFIG.
    """
    arch = arch_of(metadata)
    read = _Reader(metadata, metadata["general.architecture"])
    heads = read.count("attention.head_count")
    hidden = read.count("embedding_length")
    head_dim = read.count("attention.key_length", default=hidden // heads)
    config = {
        "model_type": arch.model_type,
        "hidden_size": hidden,
        "intermediate_size": read.count("feed_forward_length"),
        "num_hidden_layers": read.count("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _kv_heads(read, heads, arch),
        "head_dim": head_dim,
        "rms_norm_eps": read.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": read.real("rope.freq_base"),
        "rope_scaling": _rope_scaling(read),
        "max_position_embeddings": read.count("context_length"),
        "vocab_size": _vocab_size(read, shapes),
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": "blk.0.attn_q.bias" in shapes,
        "mlp_bias": "blk.0.ffn_gate.bias" in shapes,
        **token_ids(metadata),
    }
    _refuse(read, config)
    config |= {key: value for key, value in arch.extra(read, config).items() if value is not None}
    rotary = read.count("rope.dimension_count", default=head_dim)
    if rotary != head_dim:
        config["partial_rotary_factor"] = rotary / head_dim
    return config


def token_ids(metadata):
    """{bos,eos,pad}_token_id; eos is a list when the file names further ends of turn."""

    def one(key):
        value = metadata.get(f"tokenizer.ggml.{key}_token_id")
        return value if type(value) is int and value >= 0 else None

    ends = [i for i in dict.fromkeys(map(one, ("eos", "eot", "eom"))) if i is not None]
    eos = ends if len(ends) > 1 else ends[0] if ends else None
    return {"bos_token_id": one("bos"), "eos_token_id": eos, "pad_token_id": one("padding")}


def tokenizer_config(metadata):
    """What a chat template may ask of a tokenizer_config.json: special tokens, bos/eos flags."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    config = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if type(index) is int and isinstance(tokens, list) and 0 <= index < len(tokens):
            config[f"{name}_token"] = tokens[index]
    for flag in ("add_bos_token", "add_eos_token"):
        value = metadata.get(f"tokenizer.ggml.{flag}")
        if isinstance(value, bool):
            config[flag] = value
    return config


class _Reader:
    """Metadata fields of one architecture, checked for type and range."""

    def __init__(self, metadata, arch):
        self.metadata, self.arch = metadata, arch

    def get(self, key):
        return self.metadata.get(f"{self.arch}.{key}")

    def count(self, key, default=None, optional=False):
        value = self.get(key)
        value = default if value is None else value
        if value is None and optional:
            return None
        if not _positive(value):
            self.refuse(key, value, "a positive whole number")
        return value

    def items(self, key):
        """The array as a list; None where there is none or another value."""
        value = self.get(key)
        return list(value) if isinstance(value, (list, array)) else None

    def real(self, key):
        value = self.get(key)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            self.refuse(key, value, "a positive number")
        return float(value)

    def refuse(self, key, value, wanted):
        got = "missing" if value is None else brief(value)
        raise EngineError(
            "E_UNSUPPORTED_CONFIG", field=f"{self.arch}.{key}", got=got, wanted=wanted
        )


def _rope_scaling(read):
    """The 4.x `rope_scaling`, or None. The llama 3 rule is the rope_freqs tensor instead."""
    kind = read.get("rope.scaling.type")
    if kind in (None, "none"):
        return None
    if kind not in ("linear", "yarn"):
        read.refuse("rope.scaling.type", kind, "none, linear or yarn")
    scaling = {"rope_type": kind, "factor": read.real("rope.scaling.factor")}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = read.count(
            "rope.scaling.original_context_length"
        )
    return scaling


def _kv_heads(read, heads, arch):
    """The layers' one number of KV heads; a list has one a layer, LFM2's 0 where there is no
    attention."""
    found = read.items("attention.head_count_kv")
    if found is None:
        return read.count("attention.head_count_kv", default=heads)
    skipped = {0} if arch.model_type == "lfm2" else set()
    kinds = {n if type(n) is int else None for n in found} - skipped
    if len(found) != read.count("block_count") or len(kinds) != 1 or not _positive(*kinds):
        read.refuse("attention.head_count_kv", found, "the same number for each layer")
    return kinds.pop()


def _positive(value):
    return type(value) is int and 0 < value < 1 << 31


def _vocab_size(read, shapes):
    """Rows of the embedding: the file's own vocab_size may count without padding."""
    embedding = shapes.get("token_embd.weight")
    if embedding:
        return embedding[0]
    return read.count("vocab_size")


def _refuse(read, config):
    if read.get("expert_count"):
        read.refuse(
            "expert_count", read.get("expert_count"), "0: mixtures of experts are not supported"
        )
    value_length = read.count("attention.value_length", default=config["head_dim"])
    if value_length != config["head_dim"]:
        read.refuse("attention.value_length", value_length, f"{config['head_dim']}, as the keys")
    if read.metadata.get("split.count", 0) not in (0, 1):
        raise EngineError(
            "E_UNSUPPORTED_CONFIG",
            field="split.count",
            got=brief(read.metadata["split.count"]),
            wanted="a GGUF in one file",
        )
