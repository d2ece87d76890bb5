"""Gemma 3 text: gains are stored less 1, embeddings scaled, norms before and behind each sublayer,
GELU gates, and sliding windows with a RoPE of their own in most layers. Gemma team 2025."""
from dataclasses import dataclass

from pyengine.formats.hf_config import over_zero, require, rope_parameters
from pyengine.models.blocks.config import (
    FULL,
    SLIDING,
    Shape,
    expect,
    rope,
    shape,
    windows,
)
from pyengine.models.blocks.decoder import HeadNorms, attention, geglu, head
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("gemma3_text",)
GGUF_ARCHS = ("gemma3",)
RENAMES = (  # the class with a vision tower, as transformers 4 and 5 save it
    (r"language_model\.(?=model\.|lm_head\.)", ""),
    (r"model\.language_model\.", "model."),
)
DROPPED = {
    r"lm_head\.weight": "a tied head is the embedding; an untied one is read",
    r"(model\.)?(vision_tower|multi_modal_projector|vision_model)\..*": "the text model only",
}

SHIFT = 1.0  # gains are stored less 1


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default. `windows` by layer."""
    rope: RopeTables
    local_rope: RopeTables
    windows: tuple
    scale: float

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, hidden_activation="gelu_pytorch_tanh", attention_bias=False,
               attn_logit_softcapping=None, final_logit_softcapping=None,
               use_bidirectional_attention=False)
        require(config, "head_dim")  # it is not hidden / heads in any published size
        found = shape(config, tied=True)
        d, scalar = found["head_dim"], over_zero(config, "query_pre_attn_scalar")
        return cls(**found, rope=rope(config, d, FULL),
                   local_rope=RopeTables(d, _local_rope(config)),
                   windows=windows(config, found["layers"], _kind(config)), scale=scalar ** -0.5)


def _kind(config):
    """transformers 4: every `sliding_window_pattern`-th layer sees all."""
    def kind(i):
        field = "sliding_window_pattern"
        pattern = require(config, field if config.get(field) is not None else "_" + field)
        return FULL if (i + 1) % pattern == 0 else SLIDING
    return kind


def _local_rope(config):
    """Rope parameters of sliding layers: their own in transformers 5, unscaled with
    `rope_local_base_freq` in 4."""
    parameters = config.get("rope_parameters")
    if isinstance(parameters, dict) and isinstance(parameters.get(SLIDING), dict):
        return rope_parameters(config, SLIDING)
    return {"rope_type": "default", "rope_theta": require(config, "rope_local_base_freq", float)}


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    x = b.embed("model.embed_tokens.weight", cfg.vocab, cfg.hidden, cfg.hidden ** 0.5)
    norms = HeadNorms(cfg.eps, SHIFT)
    for i in range(cfg.layers):
        b.mark(f"hidden {i}", x)
        layer, window = f"model.layers.{i}.", cfg.windows[i]
        tables = (cfg.rope, "rope") if window is None else (cfg.local_rope, "local_rope")
        h = b.rmsnorm(x, layer + "input_layernorm.weight", cfg.eps, SHIFT)
        h = attention(b, h, layer + "self_attn.", tables[0], cfg.heads, cfg.kv_heads,
                      cfg.head_dim, cfg.scale, norms=norms, window=window, rope=tables[1])
        h = b.linear(h, (layer + "self_attn.o_proj.weight", cfg.hidden))
        h = b.rmsnorm(h, layer + "post_attention_layernorm.weight", cfg.eps, SHIFT)
        x = b.op("add", x, h)
        h = b.rmsnorm(x, layer + "pre_feedforward_layernorm.weight", cfg.eps, SHIFT)
        h = geglu(b, h, layer + "mlp.", cfg.width, cfg.hidden)
        h = b.rmsnorm(h, layer + "post_feedforward_layernorm.weight", cfg.eps, SHIFT)
        x = b.op("add", x, h)
    return head(cfg, b, x, SHIFT)

