"""Qwen2 and Qwen2.5: Llama's layout with a bias on q, k and v. Yang et al. 2024."""
from dataclasses import dataclass

from pyengine.formats.hf_config import require
from pyengine.models.blocks.config import FULL, SLIDING, Shape, expect, rope, shape, windows
from pyengine.models.blocks.decoder import attention, llama_layout
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("qwen2",)
GGUF_ARCHS = ("qwen2",)
DROPPED = {
    r"lm_head\.weight": "a tied head is the embedding; an untied one is read",
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq": "recomputed from the config",
}


def qwen_windows(config, layers):
    """Qwen's own rule where `layer_types` is missing: layers from `max_window_layers` on slide."""
    def kind(i):
        return SLIDING if i >= require(config, "max_window_layers") else FULL
    return windows({"use_sliding_window": False, **config}, layers, kind)


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default. `windows` by layer."""
    BIAS = True  # on q, k and v
    rope: RopeTables
    windows: tuple

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, hidden_act="silu", attention_bias=cls.BIAS)
        found = shape(config)
        return cls(**found, rope=rope(config, found["head_dim"]),
                   windows=qwen_windows(config, found["layers"]))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    return llama_layout(cfg, b, lambda i, h, prefix: attention(
        b, h, prefix, cfg.rope, cfg.heads, cfg.kv_heads, cfg.head_dim, cfg.head_dim ** -0.5,
        bias=True, window=cfg.windows[i]))
