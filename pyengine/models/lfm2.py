"""LFM2 and LFM2.5: short gated convolutions with a few layers of grouped-query attention. Layer by
layer as in transformers' lfm2; what Kani-TTS 2 changes is in `blocks/voice.py`."""
from dataclasses import dataclass

from pyengine.formats.hf_config import over_zero, require, rope_parameters
from pyengine.models.blocks.config import (
    Shape,
    epsilon,
    expect,
    layer_types,
    optional,
    refuse,
    shape,
    taps_of,
)
from pyengine.models.blocks.decoder import HeadNorms, attention, head, swiglu
from pyengine.models.blocks.hybrid import short_convolution
from pyengine.models.blocks.rope import RopeTables
from pyengine.models.blocks.voice import Voice

MODEL_TYPES = ("lfm2",)
GGUF_ARCHS = ("lfm2",)

# tensors of published checkpoints that the graph does not read, each for a reason
DROPPED = {r"lm_head\.weight": "a tied head is the embedding; an untied one is read"}
CONV, FULL = "conv", "full_attention"


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default. `kinds` by layer."""
    rope: RopeTables
    kinds: tuple
    taps: int
    voice: Voice | None

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, conv_bias=False)
        eps = epsilon(config, "norm_eps")
        width = optional(config, "block_ff_dim", 0) or require(config, "intermediate_size")
        tied = config.get("tie_word_embeddings", config.get("tie_embedding", True))
        found = shape({**config, "rms_norm_eps": eps, "intermediate_size": width,
                       "tie_word_embeddings": tied})
        found["width"] = _adjusted(config, width)
        rope, voice = rope_parameters(config), Voice.of(config)
        if voice is not None and voice.alphas is not None and rope["rope_type"] != "default":
            refuse("rope_type", rope["rope_type"], "default, beside use_learnable_rope")
        return cls(**found, rope=RopeTables(found["head_dim"], rope),
                   kinds=_kinds(config, found["layers"]), voice=voice,
                   taps=taps_of(config, "conv_L_cache"))


def _adjusted(config, width):
    """The rows of w1: two thirds, times a factor, rounded up, where the config does not say that
    its width is final."""
    if not config.get("block_auto_adjust_ff_dim", True):
        return width
    width = int(2 * width / 3)
    factor = config.get("block_ffn_dim_multiplier")
    if factor is not None:
        width = int(over_zero(config, "block_ffn_dim_multiplier") * width)
        to = require(config, "block_multiple_of")
        width = -(-width // to) * to
    return width


def _kinds(config, layers):
    full = config.get("full_attn_idxs")
    if full is not None and not isinstance(full, list):
        refuse("full_attn_idxs", str(full)[:80], "a list of layer numbers")
    rule = None if full is None else lambda i: FULL if i in full else CONV
    return layer_types(config, layers, (CONV, FULL), rule)


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    x = b.embed("model.embed_tokens.weight", cfg.vocab, cfg.hidden)
    if cfg.voice is not None:
        cfg.voice.begin(b, x)
    for i, kind in enumerate(cfg.kinds):
        b.mark(f"hidden {i}", x)
        layer = f"model.layers.{i}."
        h = b.rmsnorm(x, layer + "operator_norm.weight", cfg.eps)
        if kind == CONV:
            h = short_convolution(b, h, layer + "conv.", cfg.hidden, cfg.taps)
            out = layer + "conv.out_proj.weight"
        else:
            h = _attention(cfg, b, h, layer + "self_attn.", i)
            out = layer + "self_attn.out_proj.weight"
        x = b.op("add", x, b.linear(h, (out, cfg.hidden)))
        h = b.rmsnorm(x, layer + "ffn_norm.weight", cfg.eps)
        h = swiglu(b, h, layer + "feed_forward.", cfg.width, cfg.hidden, ("w1", "w3", "w2"))
        x = b.op("add", x, h)
    return head(cfg, b, x, norm="model.embedding_norm.weight")


def _attention(cfg, b, x, prefix, i):
    norms = HeadNorms(cfg.eps, names=("q_layernorm.weight", "k_layernorm.weight"))
    tables, where = cfg.rope, {}
    if cfg.voice is not None:
        name, tables, positions = cfg.voice.rotation(b, tables, i)
        where = {"rope": name, "positions": positions, "frames": cfg.voice.frames}
    return attention(b, x, prefix, tables, cfg.heads, cfg.kv_heads, cfg.head_dim,
                     cfg.head_dim ** -0.5, norms=norms, **where)
