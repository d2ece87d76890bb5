"""Gemma 1 and CodeGemma: Llama's layout with gains stored less 1, scaled embeddings and GELU gates.
Gemma team 2024. Added by following docs/new-family.md."""
from dataclasses import dataclass

from pyengine.formats.hf_config import require
from pyengine.models.blocks.config import Shape, expect, rope, shape
from pyengine.models.blocks.decoder import attention, geglu, llama_layout
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("gemma",)
GGUF_ARCHS = ("gemma",)
DROPPED = {
    r"lm_head\.weight": "a tied head is the embedding; an untied one is read",
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq": "recomputed from the config",
}
SHIFT = 1.0  # gains are stored less 1


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default."""
    rope: RopeTables

    @classmethod
    def from_hf(cls, config):
        """`hidden_act` "gelu" of the first checkpoints meant the tanh form too: the models were
        trained with it. Raises `E_UNSUPPORTED_CONFIG` for what is missing or computed otherwise."""
        if config.get("hidden_activation") is None:
            expect(config, hidden_act="gelu" if config.get("hidden_act") == "gelu"
                   else "gelu_pytorch_tanh")
        else:
            expect(config, hidden_activation="gelu_pytorch_tanh")
        expect(config, attention_bias=False, use_bidirectional_attention=False)
        require(config, "head_dim")  # it is not hidden / heads in every published size
        found = shape(config, tied=True)
        return cls(**found, rope=rope(config, found["head_dim"]))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    return llama_layout(cfg, b, lambda i, h, prefix: attention(
        b, h, prefix, cfg.rope, cfg.heads, cfg.kv_heads, cfg.head_dim, cfg.head_dim ** -0.5),
        geglu, cfg.hidden ** 0.5, SHIFT)
