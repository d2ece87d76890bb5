"""Llama and what has its shape: SmolLM2, Mistral without a sliding window, TinyLlama. MODEL-MATH
1.1."""
from dataclasses import dataclass

from pyengine.errors import EngineError
from pyengine.formats.hf_config import require, rope_parameters
from pyengine.models.blocks.decoder import attention, swiglu
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("llama", "mistral")
GGUF_ARCHS = ("llama",)

# tensors of published checkpoints that the graph does not read, each for a reason
DROPPED = {
    r"lm_head\.weight": "a tied head is the embedding; an untied one is read",
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq": "recomputed from the config",
    r"rope_freqs\.weight": "llama.cpp's copy of the llama3 scaling, recomputed from the config",
}


# far beyond published models: a config that lies must not keep the planner busy for hours
MAX_LAYERS = 1024
MAX_HEAD_DIM = 1024


def _optional(config, field, default):
    """A positive whole number, or `default` where the config leaves it out or null."""
    return default if config.get(field) is None else require(config, field)


def _refuse_window(config, context):
    if _optional(config, "sliding_window", context) < context:
        raise EngineError(
            "E_UNSUPPORTED_CONFIG",
            field="sliding_window",
            got=config["sliding_window"],
            wanted="none, or at least the context",
        )


@dataclass(frozen=True)
class Config:
    """The fields that change the maths; none has a default."""
    hidden: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    eps: float
    tied: bool
    max_context: int
    rope: RopeTables

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        for field, wanted in (
            ("hidden_act", "silu"),
            ("attention_bias", False),
            ("mlp_bias", False),
        ):
            if config.get(field, wanted) != wanted:
                raise EngineError(
                    "E_UNSUPPORTED_CONFIG", field=field, got=config[field], wanted=wanted
                )
        context = require(config, "max_position_embeddings")
        _refuse_window(config, context)
        heads, hidden = require(config, "num_attention_heads"), require(config, "hidden_size")
        kv_heads = _optional(config, "num_key_value_heads", heads)
        head_dim = _optional(config, "head_dim", hidden // heads)
        if heads % kv_heads or head_dim % 2 or not 2 <= head_dim <= MAX_HEAD_DIM:
            raise EngineError(
                "E_UNSUPPORTED_CONFIG",
                field="attention heads",
                got=f"{heads} over {kv_heads} of {head_dim}",
                wanted=f"a multiple of the KV heads, of an even size up to {MAX_HEAD_DIM}",
            )
        layers = require(config, "num_hidden_layers")
        if layers > MAX_LAYERS:
            raise EngineError("E_UNSUPPORTED_CONFIG", field="num_hidden_layers", got=layers,
                              wanted=f"at most {MAX_LAYERS}")
        return cls(hidden, require(config, "intermediate_size"), layers, heads, kv_heads, head_dim,
                   require(config, "vocab_size"), require(config, "rms_norm_eps", float),
                   require(config, "tie_word_embeddings", bool), context,
                   RopeTables(head_dim, rope_parameters(config)))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    x = b.embed("model.embed_tokens.weight", cfg.vocab, cfg.hidden)
    for i in range(cfg.layers):
        layer = f"model.layers.{i}."
        h = b.rmsnorm(x, layer + "input_layernorm.weight", cfg.eps)
        h = attention(b, h, layer + "self_attn.", cfg.rope, cfg.heads, cfg.kv_heads, cfg.head_dim,
                      cfg.head_dim ** -0.5)
        x = b.op("add", x, b.linear(h, (layer + "self_attn.o_proj.weight", cfg.hidden)))
        h = b.rmsnorm(x, layer + "post_attention_layernorm.weight", cfg.eps)
        x = b.op("add", x, swiglu(b, h, layer + "mlp.", cfg.width, cfg.hidden))
    if b.rows > 1:
        x = b.op("take_last", x)
    x = b.rmsnorm(x, "model.norm.weight", cfg.eps)
    head = "model.embed_tokens.weight" if cfg.tied else "lm_head.weight"
    return b.linear(x, (head, cfg.vocab), embedding=True, into=b.logits(cfg.vocab))
