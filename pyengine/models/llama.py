"""Llama and what has its shape: SmolLM2, Mistral without a sliding window, TinyLlama. MODEL-MATH 1.1."""
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
        for field, wanted in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
            if config.get(field, wanted) != wanted:
                raise EngineError("E_UNSUPPORTED_CONFIG", field=field, got=config[field], wanted=wanted)
        context = require(config, "max_position_embeddings")
        if (config.get("sliding_window") or context) < context:
            raise EngineError("E_UNSUPPORTED_CONFIG", field="sliding_window", got=config["sliding_window"], wanted="none")
        heads, hidden = require(config, "num_attention_heads"), require(config, "hidden_size")
        head_dim = config.get("head_dim") or hidden // heads
        kv_heads = config.get("num_key_value_heads") or heads
        if heads % kv_heads or head_dim % 2:
            raise EngineError("E_UNSUPPORTED_CONFIG", field="attention heads", got=f"{heads} over {kv_heads} of {head_dim}",
                              wanted="a multiple of the KV heads, of an even size")
        return cls(hidden, require(config, "intermediate_size"), require(config, "num_hidden_layers"), heads, kv_heads,
                   head_dim, require(config, "vocab_size"), require(config, "rms_norm_eps", float),
                   require(config, "tie_word_embeddings", bool), context,
                   RopeTables(head_dim, rope_parameters(config)))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value "logits"."""
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
