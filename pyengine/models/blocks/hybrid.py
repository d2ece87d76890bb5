"""What hybrid decoder families share: convolution taps, rings and the gated delta rule."""
from pyengine.ir.hybrid_ops import columns


def ring(b, name, taps, channels):
    """A convolution's state (taps, channels)."""
    return b.recurrent(name, (taps, channels))


def gated_delta_net(b, x, prefix, heads, taps, eps):
    """x (T, H) normalised -> (T, value heads * value dim), before the output projection.

    `heads`: the delta rule's attributes {key_heads, value_heads, key_dim, value_dim, ggml: the
    heads' order and gates are llama.cpp's}. One stacked
    matrix makes q | k | v | z | b | a; the convolution goes over q | k | v."""
    nk, nv, dk, dv = (heads[k] for k in ("key_heads", "value_heads", "key_dim", "value_dim"))
    z0 = columns(heads)[2]
    y = b.linear(x, (prefix + "in_proj_qkv.weight", z0), (prefix + "in_proj_z.weight", nv * dv),
                 (prefix + "in_proj_b.weight", nv), (prefix + "in_proj_a.weight", nv),
                 apart=b.apart)
    b.op("short_conv", y, b.taps(prefix + "conv1d.weight", z0, taps),
         ring(b, prefix + "conv", taps, z0), channels=z0, taps=taps)
    gates = b.vector(prefix + "A_log", nv), b.vector(prefix + "dt_bias", nv)
    s = b.recurrent(prefix + "S", (nv, dk, dv), matrix=True)
    if b.rows == 1:
        o = b.op("delta_step", y, *gates, s, **heads)
    else:
        o = b.op("delta_rows", y, b.op("delta_chunks", y, *gates, **heads), s, **heads)
    return b.op("gated_norm", o, y, b.vector(prefix + "norm.weight", dv), col=z0, eps=eps)


def short_convolution(b, x, prefix, hidden, taps):
    """x (T, H) normalised -> (T, H), before the output projection: LFM2's operator."""
    bcx = b.linear(x, (prefix + "in_proj.weight", 3 * hidden))
    return b.op("gated_conv", bcx, b.taps(prefix + "conv.weight", hidden, taps),
                ring(b, prefix + "conv", taps, hidden), taps=taps)
