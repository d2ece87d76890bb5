"""Qwen3: Llama's layout with an RMSNorm on each head of q and k before RoPE. Yang et al. 2025."""
from pyengine.formats.hf_config import require
from pyengine.models import qwen2
from pyengine.models.blocks.decoder import HeadNorms, attention, llama_layout
from pyengine.models.qwen2 import DROPPED  # noqa: F401  the same tensors go unread

MODEL_TYPES = ("qwen3",)
GGUF_ARCHS = ("qwen3",)


class Config(qwen2.Config):
    """Qwen2's fields, without its bias."""
    BIAS = False

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        require(config, "head_dim")  # it is not hidden / heads in every published size
        return super().from_hf(config)


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    return llama_layout(cfg, b, lambda i, h, prefix: attention(
        b, h, prefix, cfg.rope, cfg.heads, cfg.kv_heads, cfg.head_dim, cfg.head_dim ** -0.5,
        norms=HeadNorms(cfg.eps), window=cfg.windows[i]))
