"""Qwen3: Llama's layout with an RMSNorm on each head of q and k before RoPE. Yang et al. 2025."""
from dataclasses import dataclass

from pyengine.formats.hf_config import require
from pyengine.models.blocks.config import Shape, expect, rope, shape
from pyengine.models.blocks.decoder import HeadNorms, attention, llama_layout
from pyengine.models.blocks.rope import RopeTables
from pyengine.models.qwen2 import DROPPED, qwen_windows  # noqa: F401  the same tensors go unread

MODEL_TYPES = ("qwen3",)
GGUF_ARCHS = ("qwen3",)


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default. `windows` by layer."""
    rope: RopeTables
    windows: tuple

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, hidden_act="silu", attention_bias=False)
        require(config, "head_dim")  # it is not hidden / heads in every published size
        found = shape(config)
        return cls(**found, rope=rope(config, found["head_dim"]),
                   windows=qwen_windows(config, found["layers"]))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    return llama_layout(cfg, b, lambda i, h, prefix: attention(
        b, h, prefix, cfg.rope, cfg.heads, cfg.kv_heads, cfg.head_dim, cfg.head_dim ** -0.5,
        norms=HeadNorms(cfg.eps), window=cfg.windows[i]))
