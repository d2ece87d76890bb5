"""Qwen3.5's language model: three gated delta nets to one gated attention. Yang, Kautz and
Hatamizadeh 2024; layer by layer as in transformers' qwen3_5."""
from dataclasses import dataclass

from pyengine.formats.hf_config import require, rope_parameters
from pyengine.models.blocks.config import Shape, expect, layer_types, refuse, shape, taps_of
from pyengine.models.blocks.decoder import HeadNorms, attention, head, swiglu
from pyengine.models.blocks.hybrid import gated_delta_net
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("qwen3_5", "qwen3_5_text")
GGUF_ARCHS = ("qwen35",)
RENAMES = ((r"model\.language_model\.", "model."),)  # the class with a vision tower

# tensors of published checkpoints that the graph does not read, each for a reason
DROPPED = {
    r"lm_head\.weight": "a tied head is the embedding; an untied one is read",
    r"mtp\..*": "multi-token prediction: a draft head that decoding here does not use",
    r"model\.visual\..*": "the vision tower",
    r"vision_tower\..*": "the vision tower, as MLX names it",
}
LINEAR, FULL = "linear_attention", "full_attention"
MAX_LINEAR_DIM = 256   # of a delta rule's heads: a workgroup holds one
SHIFT = 1.0            # norms have gain 1 + w, except the delta net's own


@dataclass(frozen=True)
class Config(Shape):
    """The fields that change the maths; none has a default. `kinds` by layer; `delta`: the delta
    rule's attributes as (name, value) pairs."""
    rope: RopeTables
    kinds: tuple
    delta: tuple
    taps: int

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, hidden_act="silu", attention_bias=False, attn_output_gate=True)
        require(config, "head_dim")
        found = shape(config, tied=False)
        parameters = rope_parameters(config)
        rotated = int(found["head_dim"] * require(parameters, "partial_rotary_factor", float))
        if rotated % 2 or not 2 <= rotated <= found["head_dim"]:
            refuse("partial_rotary_factor", parameters["partial_rotary_factor"],
                   f"an even part of {found['head_dim']} dims")
        return cls(**found, rope=RopeTables(rotated, parameters), kinds=_kinds(config, found),
                   delta=_delta(config), taps=taps_of(config, "linear_conv_kernel_dim"))


def prefill_rows(context):
    """Rows of the prefill programs: the projection of a row is eight times as wide as the residual
    stream, and a small device must hold one and the saved states too."""
    return (16, 128) if context <= 1024 else (16, 128, 256)


def _kinds(config, found):
    every = config.get("full_attention_interval")
    rule = None if every is None else lambda i: LINEAR if (i + 1) % every else FULL
    if rule is not None:
        require(config, "full_attention_interval")
    return layer_types(config, found["layers"], (LINEAR, FULL), rule)


def _delta(config):
    names = {"key_heads": "linear_num_key_heads", "value_heads": "linear_num_value_heads",
             "key_dim": "linear_key_head_dim", "value_dim": "linear_value_head_dim"}
    heads = {ours: require(config, theirs) for ours, theirs in names.items()}
    if heads["value_heads"] % heads["key_heads"]:
        refuse("linear_num_value_heads", heads["value_heads"],
               f"a multiple of the {heads['key_heads']} key heads")
    for name in ("key_dim", "value_dim"):
        if heads[name] % 4 or heads[name] > MAX_LINEAR_DIM:
            refuse(names[name], heads[name], f"a multiple of 4 up to {MAX_LINEAR_DIM}")
    return (*heads.items(), ("ggml", bool(config.get("linear_ggml_layout"))))


def build(cfg, b):
    """The graph of `b.rows` tokens: writes the logits of the last valid row to the io value
    "logits"."""
    x = b.embed("model.embed_tokens.weight", cfg.vocab, cfg.hidden)
    for i, kind in enumerate(cfg.kinds):
        b.mark(f"hidden {i}", x)
        layer = f"model.layers.{i}."
        h = b.rmsnorm(x, layer + "input_layernorm.weight", cfg.eps, SHIFT)
        if kind == LINEAR:
            h = gated_delta_net(b, h, layer + "linear_attn.", dict(cfg.delta), cfg.taps, cfg.eps)
            out = layer + "linear_attn.out_proj.weight"
        else:
            h = attention(b, h, layer + "self_attn.", cfg.rope, cfg.heads, cfg.kv_heads,
                          cfg.head_dim, cfg.head_dim ** -0.5, gate=True,
                          norms=HeadNorms(cfg.eps, SHIFT))
            out = layer + "self_attn.o_proj.weight"
        x = b.op("add", x, b.linear(h, (out, cfg.hidden)))
        h = b.rmsnorm(x, layer + "post_attention_layernorm.weight", cfg.eps, SHIFT)
        x = b.op("add", x, swiglu(b, h, layer + "mlp.", cfg.width, cfg.hidden))
    return head(cfg, b, x, shift=SHIFT)

