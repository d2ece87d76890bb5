"""Blocks that dense decoder families share: grouped-query attention with RoPE, the gated MLP, and
the layout that Llama gave them."""
from dataclasses import dataclass


@dataclass(frozen=True)
class HeadNorms:
    """RMSNorm of each head of q and of k before RoPE: the tensors' names, eps, and what is added to
    their gains."""
    eps: float
    shift: float = 0.0
    names: tuple = ("q_norm.weight", "k_norm.weight")


def attention(b, x, prefix, tables, heads, kv_heads, head_dim, scale, *, norms=None, bias=False,
              window=None, rotate=True, rope="rope", positions=None, frames=None, gate=False):
    """x (T, H) normalised -> (T, heads * head_dim), before the output projection.

    `norms`: HeadNorms. `bias`: q, k and v have one. `window`: positions a row sees at most.
    `rotate` False: a layer without positions. `gate`: q_proj makes q and a gate head by head, and
    the output is times its sigmoid. `rope`: the name of `tables`, where a model has several.
    `positions` that they cover (None: the context); `frames`: as in `ir.ops.rope_places`.
    q and k name their head size, so that rows in llama.cpp's interleaved RoPE order are put back
    while loading."""
    qkv = b.linear(x, (prefix + "q_proj.weight", heads * head_dim * (2 if gate else 1), head_dim),
                   (prefix + "k_proj.weight", kv_heads * head_dim, head_dim),
                   (prefix + "v_proj.weight", kv_heads * head_dim))
    if window is not None and window >= b.context:
        window = None  # then it hides nothing
    attrs = {} if window is None else {"window": window}
    k_cache = b.cache(prefix + "k", kv_heads, head_dim, window)
    v_cache = b.cache(prefix + "v", kv_heads, head_dim, window)
    op, inputs, before = "rope_kv", [qkv], {}
    if norms is not None:
        op, before = "norm_rope_kv", {"eps": norms.eps, "shift": norms.shift}
        inputs.append(b.vectors(head_dim, *((prefix + name, 1) for name in norms.names)))
    elif bias:
        op = "bias_rope_kv"
        inputs.append(b.vectors(head_dim, (prefix + "q_proj.bias", heads),
                                (prefix + "k_proj.bias", kv_heads),
                                (prefix + "v_proj.bias", kv_heads)))
    if gate:
        before["gate"] = True
    if not rotate:
        before["rotate"] = False
    if frames is not None:
        before["frames"] = frames
    q = b.op(op, *inputs, *b.rope_tables(tables, rope, positions), k_cache, v_cache, heads=heads,
             kv_heads=kv_heads, head_dim=head_dim, **before, **attrs)
    out = b.op("attention", q, k_cache, v_cache, scale=scale, **attrs)
    return b.op("sigmoid_gate", out, qkv, head_dim=head_dim) if gate else out


def swiglu(b, x, prefix, width, hidden, names=("gate_proj", "up_proj", "down_proj")):
    """x (T, hidden) normalised -> (T, hidden): down(silu(gate(x)) * up(x)). `names`: the three
    matrices'."""
    return _gated(b, x, prefix, width, hidden, names, "silu_mul")


def geglu(b, x, prefix, width, hidden):
    """As swiglu with GELU's tanh form: Gemma's gate."""
    names = ("gate_proj", "up_proj", "down_proj")
    return _gated(b, x, prefix, width, hidden, names, "gelu_mul", act="gelu_tanh")


def _gated(b, x, prefix, width, hidden, names, op, **attrs):
    gate, up, down = (f"{prefix}{name}.weight" for name in names)
    return b.linear(b.op(op, b.linear(x, (gate, width), (up, width)), **attrs), (down, hidden))


def llama_layout(cfg, b, attend, mlp=swiglu, scale=1.0, shift=0.0):
    """The graph of `b.rows` tokens where each layer is x += o_proj(attend(i, norm(x), prefix)),
    then x += mlp(norm(x)): writes the logits of the last valid row to the io value "logits".
    `scale`: of the embeddings; `shift`: what the norms add to their gains."""
    x = b.embed("model.embed_tokens.weight", cfg.vocab, cfg.hidden, scale)
    for i in range(cfg.layers):
        b.mark(f"hidden {i}", x)
        layer = f"model.layers.{i}."
        h = b.rmsnorm(x, layer + "input_layernorm.weight", cfg.eps, shift)
        h = attend(i, h, layer + "self_attn.")
        x = b.op("add", x, b.linear(h, (layer + "self_attn.o_proj.weight", cfg.hidden)))
        h = b.rmsnorm(x, layer + "post_attention_layernorm.weight", cfg.eps, shift)
        x = b.op("add", x, mlp(b, h, layer + "mlp.", cfg.width, cfg.hidden))
    return head(cfg, b, x, shift)


def head(cfg, b, x, shift=0.0, norm="model.norm.weight"):
    """x (T, H) -> the name of the logits of its last valid row, behind the final `norm`."""
    if b.rows > 1:
        x = b.op("take_last", x)
    x = b.rmsnorm(x, norm, cfg.eps, shift)
    b.mark(f"hidden {cfg.layers}", x)
    weight = "model.embed_tokens.weight" if cfg.tied else "lm_head.weight"
    return b.linear(x, (weight, cfg.vocab), embedding=True, into=b.logits(cfg.vocab))
