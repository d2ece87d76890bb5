"""Ops of encoders that read raw audio and of decoders that look back at them (Moonshine; Jeffries
et al. 2024), with numpy references. Conventions as in `ir/ops.py`; activations are (T, channels).

The state's `N` is the valid rows of whatever runs: `stride_rows` divides it where a convolution
divides time, so that one program serves every length up to its own. `SOURCE` is how many rows the
encoder's output has."""
import math

from pyengine.decode import state as st
from pyengine.ir.ops import (ELEMENTWISE, EXACT, REDUCTION, Tolerance, _padded, _want, register,
                             valid_rows)
from pyengine.lazy import np

SLABS = 64   # parts of a group's statistics
ERF = Tolerance(2e-6, 1e-5, "kernels take erf within 1.5e-7 of a value up to some tens")


def strided(rows, kernel, stride):
    """Rows that a convolution without padding makes of `rows`."""
    return (rows - kernel) // stride + 1 if rows >= kernel else 0


# ---- convolutions --------------------------------------------------------------------------------

@register("stride_rows", lambda attrs, state: [], EXACT, mutates=(0,))
def stride_rows(attrs, state):
    """N of the state becomes the rows that a convolution of `kernel` and `stride` makes of N."""
    state[st.N] = strided(int(state[st.N]), attrs["kernel"], attrs["stride"])
    return ()


def _infer_unfold(attrs, x, state):
    rows = strided(x.shape[0], attrs["kernel"], attrs["stride"])
    _want(rows > 0, f"unfold: x {x.shape} for {dict(attrs)}")
    return [((rows, x.shape[1] * attrs["kernel"]), "f32")]


@register("unfold", _infer_unfold, EXACT)
def unfold(attrs, x, state):
    """x (T, C) -> what each of a convolution's rows sees of it, (rows, C * kernel), a channel's
    taps side by side as they are in a weight (out, C, kernel): `linear` makes the convolution."""
    kernel, stride = attrs["kernel"], attrs["stride"]
    rows = strided(len(x), kernel, stride)
    n = min(int(state[st.N]), rows)
    places = np.arange(n)[:, None] * stride + np.arange(kernel)     # (n, kernel)
    found = x[places].transpose(0, 2, 1)                            # (n, C, kernel)
    return (_padded(found.reshape(n, -1), rows),)


# ---- norms ---------------------------------------------------------------------------------------

def _infer_group_stats(attrs, x, state):
    return [((SLABS, 4), "f32")]


@register("group_stats", _infer_group_stats, REDUCTION)
def group_stats(attrs, x, state):
    """x (T, C) -> of each of SLABS runs of rows: how many numbers, their mean, and the sum of the
    squares of what differs from it; the fourth is 0. Runs are of the same length but for the
    last."""
    n = valid_rows(state, len(x))
    size, out = -(-n // SLABS), np.zeros((SLABS, 4), np.float32)
    for i in range(SLABS):
        part = x[i * size:min((i + 1) * size, n)].astype(np.float64)
        if part.size:
            out[i, :3] = part.size, part.mean(), np.square(part - part.mean()).sum()
    return (out,)


def _infer_group_norm(attrs, x, stats, gain, bias, state):
    _want(gain.shape == bias.shape == (x.shape[1],), f"group_norm: gain {gain.shape}")
    return [(x.shape, "f32")]


@register("group_norm", _infer_group_norm, REDUCTION)
def group_norm(attrs, x, stats, gain, bias, state):
    """x (T, C) normalised over all its valid rows and channels, as one group (Wu and He 2018),
    times gain (C,) plus bias (C,); `stats` are its group_stats, merged as Chan et al. 1979 do."""
    n = valid_rows(state, len(x))
    count, mean, squares = stats.astype(np.float64)[:, :3].T
    whole = (count * mean).sum() / count.sum()
    variance = (squares + count * np.square(mean - whole)).sum() / count.sum()
    scaled = (x[:n] - whole) / np.sqrt(variance + attrs["eps"]) * gain + bias
    return (_padded(scaled.astype(np.float32), len(x)),)


def _infer_layernorm(attrs, x, gain, state):
    _want(gain.shape == (x.shape[1],), f"layernorm gain {gain.shape} for x {x.shape}")
    return [(x.shape, "f32")]


@register("layernorm", _infer_layernorm, REDUCTION)
def layernorm(attrs, x, gain, state):
    """x (T, H), gain (H,) -> gain * (x - mean) / sqrt(variance + eps); Ba et al. 2016, without a
    bias."""
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    return ((centred / np.sqrt(variance + attrs["eps"]) * gain).astype(np.float32),)


# ---- activations ---------------------------------------------------------------------------------

@register("tanh", lambda attrs, x, state: [(x.shape, "f32")], ELEMENTWISE)
def tanh(attrs, x, state):
    """x (T, C) -> tanh(x)."""
    return (np.tanh(x),)


def _infer_biased(attrs, x, bias, *rest):
    _want(bias.shape == (x.shape[1],), f"bias {bias.shape} for x {x.shape}")
    _want(all(v.shape == x.shape for v in rest[:-1]), f"x {x.shape} with {rest[:-1]}")
    return [(x.shape, "f32")]


@register("bias_gelu", _infer_biased, ERF)
def bias_gelu(attrs, x, bias, state):
    """x (T, C), bias (C,) -> GELU of their sum y, exactly: y * (1 + erf(y / sqrt 2)) / 2; Hendrycks
    and Gimpel 2016."""
    n = valid_rows(state, len(x))
    y = (x[:n] + bias).astype(np.float64)
    erf = np.frompyfunc(math.erf, 1, 1)(y * 0.5**0.5).astype(np.float64)
    return (_padded(0.5 * y * (1 + erf), len(x)),)


@register("bias_add", _infer_biased, ELEMENTWISE)
def bias_add(attrs, x, bias, residual, state):
    """x, residual (T, C), bias (C,) -> residual + (x + bias)."""
    return (residual + (x + bias),)


def _infer_bias_silu_mul(attrs, x, bias, state):
    _infer_biased(attrs, x, bias, state)
    _want(x.shape[1] % 2 == 0, f"an odd width of x {x.shape}")
    return [((x.shape[0], x.shape[1] // 2), "f32")]


@register("bias_silu_mul", _infer_bias_silu_mul, ELEMENTWISE)
def bias_silu_mul(attrs, x, bias, state):
    """x (T, 2I), bias (2I,), in their sum `up` before the gate -> silu(gate) * up (T, I)."""
    up, gate = np.split(x + bias, 2, axis=1)
    with np.errstate(over="ignore"):
        return (gate / (1 + np.exp(-gate)) * up,)


# ---- attention over all of a source --------------------------------------------------------------

def _infer_store_kv(attrs, kv, k_cache, v_cache, state):
    heads, length, d = k_cache.shape
    _want(k_cache.shape == v_cache.shape and kv.shape[1] == 2 * heads * d
          and kv.shape[0] <= length, f"store_kv: kv {kv.shape} into {k_cache.shape}")
    return []


@register("store_kv", _infer_store_kv, EXACT, mutates=(1, 2))
def store_kv(attrs, kv, k_cache, v_cache, state):
    """kv (T, 2 * heads * d), keys before values, into rows 0 .. N of caches (heads, S, d)."""
    n, (heads, _, d) = valid_rows(state, len(kv)), k_cache.shape
    k, v = np.split(kv[:n].reshape(n, 2 * heads, d).transpose(1, 0, 2), 2)
    k_cache[:, :n], v_cache[:, :n] = k, v
    return ()


def source_length(state, length):
    """Positions that are there to attend to: at least one, at most what a cache holds."""
    return max(1, min(int(state[st.SOURCE]), length))


@register("source_attention", lambda attrs, q, k_cache, v_cache, state: [(q.shape, "f32")],
          REDUCTION)
def source_attention(attrs, q, k_cache, v_cache, state):
    """Attention of q (T, heads * d) over positions 0 .. SOURCE of the caches, all of them from
    every row: an encoder's own, and a decoder's over the encoder's output; -> (T, heads * d)."""
    rows, n = len(q), valid_rows(state, len(q))
    kv_heads, length, d = k_cache.shape
    seen = source_length(state, length)
    q = q[:n].reshape(n, kv_heads, -1, d).transpose(1, 2, 0, 3)  # (kv, group, n, d)
    k, v = (c[:, None, :seen].astype(np.float32) for c in (k_cache, v_cache))
    scores = q @ k.transpose(0, 1, 3, 2) * np.float32(attrs["scale"])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = (weights / weights.sum(-1, keepdims=True)) @ v         # (kv, group, n, d)
    return (_padded(out.transpose(2, 0, 1, 3).reshape(n, -1), rows),)
