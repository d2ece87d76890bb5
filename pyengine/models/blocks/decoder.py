"""Blocks that dense decoder families share: grouped-query attention with RoPE, and the SwiGLU
MLP."""


def attention(b, x, prefix, tables, heads, kv_heads, head_dim, scale):
    """x (T, H) normalised -> (T, heads * head_dim), before the output projection.

    q and k name their head size, so that rows in llama.cpp's interleaved RoPE order are put back
    while loading."""
    qkv = b.linear(x, (prefix + "q_proj.weight", heads * head_dim, head_dim),
                   (prefix + "k_proj.weight", kv_heads * head_dim, head_dim),
                   (prefix + "v_proj.weight", kv_heads * head_dim))
    k_cache = b.cache(prefix + "k", kv_heads, head_dim)
    v_cache = b.cache(prefix + "v", kv_heads, head_dim)
    q = b.op("rope_kv", qkv, *b.rope_tables(tables), k_cache, v_cache,
             heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    return b.op("attention", q, k_cache, v_cache, scale=scale)


def swiglu(b, x, prefix, width, hidden):
    """x (T, hidden) normalised -> (T, hidden): down(silu(gate(x)) * up(x))."""
    gate_up = b.linear(x, (prefix + "gate_proj.weight", width), (prefix + "up_proj.weight", width))
    return b.linear(b.op("silu_mul", gate_up), (prefix + "down_proj.weight", hidden))
