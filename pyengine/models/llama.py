"""Llama and what has its shape: SmolLM2, TinyLlama, Mistral (sliding windows), SmolLM3 (some layers
without positions). Touvron et al. 2023; Jiang et al. 2023."""
from dataclasses import dataclass

from pyengine.formats.hf_config import require
from pyengine.models.blocks.config import SLIDING, Shape, expect, refuse, rope, shape, windows
from pyengine.models.blocks.decoder import attention, llama_layout
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("llama", "mistral", "smollm3")
GGUF_ARCHS = ("llama", "smollm3")

# tensors of published checkpoints that the graph does not read, each for a reason
DROPPED = {
    r"lm_head\.weight": "a tied head is the embedding; an untied one is read",
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq": "recomputed from the config",
    r"rope_freqs\.weight": "llama.cpp's form of the llama3 scaling, in the config since opening",
}


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default. `windows` and `rotated` by layer."""
    rope: RopeTables
    windows: tuple
    rotated: tuple

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, hidden_act="silu", attention_bias=False, mlp_bias=False)
        found = shape(config)
        return cls(**found, rope=rope(config, found["head_dim"]),
                   windows=windows(config, found["layers"], lambda i: SLIDING),
                   rotated=_rotated(config, found["layers"]))


def _rotated(config, layers):
    """Which layers rotate: all, but for SmolLM3, whose `no_rope_layers` holds 1 for those that do,
    or whose every `no_rope_layer_interval`-th does not."""
    if config["model_type"] != "smollm3":
        return (True,) * layers
    flags = config.get("no_rope_layers")
    if flags is None:
        step = require(config, "no_rope_layer_interval")
        return tuple((i + 1) % step != 0 for i in range(layers))
    if not isinstance(flags, list) or len(flags) != layers or not set(flags) <= {0, 1}:
        refuse("no_rope_layers", str(flags)[:80], f"{layers} times 0 or 1")
    return tuple(map(bool, flags))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    return llama_layout(cfg, b, lambda i, h, prefix: attention(
        b, h, prefix, cfg.rope, cfg.heads, cfg.kv_heads, cfg.head_dim, cfg.head_dim ** -0.5,
        window=cfg.windows[i], rotate=cfg.rotated[i]))
