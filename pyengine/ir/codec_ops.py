"""Ops of neural audio codecs: causal convolutions over time that go on where they stopped,
HalfSnake and finite scalar quantisation, with numpy references.

A program of F frames has F * rate rows at a place where a frame is `rate` samples; `state` counts
frames: POS is the first one's number, N the valid ones. Activations are (rows, channels), channels
padded with zeros to a multiple of 4; kernels are (taps, channels in, channels out), padded too.

A convolution remembers its last inputs in `past` (2, kept rows, channels): run number STEP reads
half STEP % 2 and writes the other, so that no reader meets the writer. Rows before position 0 count
as zeros, whatever is there. References sum in double precision: what a sum's order changes is far
below the f32 that they give, so that frames decoded one by one are those of the whole.

Maths: HiFi-GAN (Kong et al. 2020) with the causal convolutions and HalfSnake of NVIDIA's NanoCodec
(Casanova et al. 2025); Snake: Liu et al. 2020; FSQ: Mentzer et al. 2023."""
from math import prod

from pyengine.decode import state as st
from pyengine.ir.ops import ELEMENTWISE, REDUCTION, _want, register
from pyengine.lazy import np

LEAK = 0.01     # slope of the leaky half below zero
TINY = 1e-9     # added to a Snake's alpha before the division


def lanes(channels):
    """Channels as they lie in memory: a multiple of 4."""
    return -(-channels // 4) * 4


def half_snake(x, alpha):
    """x (rows, C), alpha (S,) -> f64: x + sin(alpha x)^2 / alpha in the first S channels, leaky
    ReLU in the rest."""
    x, alpha = x.astype(np.float64), alpha.astype(np.float64)
    s, rest = x[:, :len(alpha)], x[:, len(alpha):]
    snake = s + np.sin(alpha * s) ** 2 / (alpha + TINY)
    return np.concatenate([snake, np.where(rest > 0, rest, LEAK * rest)], axis=1)


# ---- what is remembered --------------------------------------------------------------------------

def _valid(attrs, rows, state):
    """(valid rows, position of the first) of an operand of `rows` rows."""
    rate = attrs["rate"]
    return min(int(state[st.N]) * rate, rows), int(state[st.POS]) * rate


def _joined(x, past, pos, step):
    """Kept rows, then the n rows of x; the other half of `past` takes the last of them."""
    n, kept = len(x), past.shape[1]
    before = pos - kept + np.arange(kept) >= 0
    rows = np.concatenate([np.where(before[:, None], past[step % 2], np.float32(0)), x])
    after = pos + n - kept + np.arange(kept) >= 0
    past[(step + 1) % 2][after] = rows[n:][after]
    return rows


# ---- causal convolutions -------------------------------------------------------------------------

def _conv_shape(attrs, x, kernel, offsets, past, state):
    taps, wide, out = kernel.shape
    kept = (taps - 1) * attrs["dilation"]
    _want(taps == attrs["taps"] > 1 and x.shape[1] == wide and offsets.shape == (out,)
          and past.shape == (2, kept, wide) and wide % 4 == out % 4 == 0
          and x.shape[0] % attrs["rate"] == 0,
          f"causal_conv: x {x.shape}, kernel {kernel.shape}, past {past.shape}, {attrs}")
    return (x.shape[0], out), "f32"


def _conv(attrs, x, kernel, offsets, past, state, act=lambda rows: rows.astype(np.float64)):
    """-> (n valid rows of the output f64, n)."""
    n, pos = _valid(attrs, len(x), state)
    rows = act(_joined(x[:n], past, pos, int(state[st.STEP])))
    dilation = attrs["dilation"]
    weights = kernel.astype(np.float64)
    y = sum(rows[j * dilation:j * dilation + n] @ w for j, w in enumerate(weights))
    return y + offsets, n


def _filled(rows, values):
    out = np.zeros((rows, values.shape[1]), np.float32)
    out[:len(values)] = values
    return out


def _infer_conv(attrs, *values):
    return [_conv_shape(attrs, *values)]


@register("causal_conv", _infer_conv, REDUCTION, mutates=(3,))
def causal_conv(attrs, x, kernel, offsets, past, state):
    """x (T, I), kernel (taps, I, O), offsets (O,) -> y[t] = offsets + sum over j of
    kernel[j]^T x[t - (taps - 1 - j) * dilation], (T, O)."""
    return (_filled(len(x), _conv(attrs, x, kernel, offsets, past, state)[0]),)


def _infer_snake(attrs, x, alpha, kernel, offsets, past, state):
    _want(len(alpha.shape) == 1 and 0 < alpha.shape[0] <= x.shape[1], f"alpha {alpha.shape}")
    return [_conv_shape(attrs, x, kernel, offsets, past, state)]


def _snake_conv(attrs, x, alpha, *rest):
    return _conv(attrs, x, *rest, act=lambda rows: half_snake(rows, alpha))[0]


@register("snake_conv", _infer_snake, REDUCTION, mutates=(4,))
def snake_conv(attrs, x, alpha, *rest):
    """causal_conv of half_snake(x): the activation is made while rows are loaded."""
    return (_filled(len(x), _snake_conv(attrs, x, alpha, *rest)),)


def _infer_clamp(attrs, *values):
    (rows, out), dtype = _infer_snake(attrs, *values)[0]
    _want(out == 4, f"snake_conv_clamp: {out} outputs")
    return [((rows, 1), dtype)]


@register("snake_conv_clamp", _infer_clamp, REDUCTION, mutates=(4,))
def snake_conv_clamp(attrs, x, alpha, *rest):
    """snake_conv's first channel, clamped to -1 .. 1: samples (T, 1)."""
    return (_filled(len(x), np.clip(_snake_conv(attrs, x, alpha, *rest)[:, :1], -1, 1)),)


def _infer_add(attrs, x, alpha, kernel, offsets, residual, past, state):
    shape = _infer_snake(attrs, x, alpha, kernel, offsets, past, state)
    _want(residual.shape == shape[0][0], f"snake_conv_add: residual {residual.shape}")
    return shape


@register("snake_conv_add", _infer_add, REDUCTION, mutates=(5,))
def snake_conv_add(attrs, x, alpha, kernel, offsets, residual, past, state):
    """residual (T, O) + snake_conv."""
    found = _snake_conv(attrs, x, alpha, kernel, offsets, past, state)
    return (_filled(len(x), residual[:len(found)] + found),)


def _infer_into(attrs, x, alpha, kernel, offsets, residual, acc, past, state):
    _want(acc.shape == residual.shape and attrs["count"] > 0, f"snake_conv_into: acc {acc.shape}")
    _infer_add(attrs, x, alpha, kernel, offsets, residual, past, state)
    return []


@register("snake_conv_into", _infer_into, REDUCTION, mutates=(5, 6))
def snake_conv_into(attrs, x, alpha, kernel, offsets, residual, acc, past, state):
    """acc = (acc + residual + snake_conv) / count, in place: a mean over branches."""
    found = _snake_conv(attrs, x, alpha, kernel, offsets, past, state)
    n = len(found)
    acc[:n] = (acc[:n] + (residual[:n] + found)) / attrs["count"]
    return ()


# ---- grouped transposed convolution --------------------------------------------------------------

def _infer_up(attrs, x, alpha, kernel, offsets, past, state):
    stride, channels = attrs["stride"], attrs["channels"]
    wide, out = lanes(channels), lanes(channels // 2)
    _want(x.shape[1] == wide and channels % 2 == 0 and kernel.shape == (channels, lanes(2 * stride))
          and offsets.shape == (out,) and past.shape == (2, 1, wide)
          and x.shape[0] % attrs["rate"] == 0,
          f"snake_up: x {x.shape}, kernel {kernel.shape}, past {past.shape}, {attrs}")
    return [((x.shape[0] * stride, out), "f32")]


@register("snake_up", _infer_up, REDUCTION, mutates=(4,))
def snake_up(attrs, x, alpha, kernel, offsets, past, state):
    """Transposed convolution of half_snake(x) with stride r, 2 r taps and a group for each output,
    its last r rows dropped: x (T, C), kernel (C, 2 r) -> (T r, C / 2).

    Output o has inputs 2 o and 2 o + 1; its row m r + j is what row m leaves at tap j and row m - 1
    at tap j + r, so that the last row of x is all that is remembered."""
    r, channels = attrs["stride"], attrs["channels"]
    n, pos = _valid(attrs, len(x), state)
    rows = half_snake(_joined(x[:n], past, pos, int(state[st.STEP])), alpha)[:, :channels]
    w = kernel[:, :2 * r].astype(np.float64).reshape(channels // 2, 2, 2, r)  # o, input, row, j
    pairs = rows.reshape(n + 1, channels // 2, 2)
    y = np.einsum("moi,oij->mjo", pairs[1:], w[:, :, 0])
    y = y + np.einsum("moi,oij->mjo", pairs[:-1], w[:, :, 1])
    out = np.zeros((len(x) * r, lanes(channels // 2)), np.float32)
    out[:n * r, :channels // 2] = y.reshape(n * r, -1) + offsets[:channels // 2]
    return (out,)


# ---- codes and weights ---------------------------------------------------------------------------

def _infer_fsq(attrs, codes, state):
    _want(len(attrs["levels"]) == 4 and len(codes.shape) == 2,
          f"fsq_dequant: {codes.shape}, {attrs}")
    return [((codes.shape[0], 4 * codes.shape[1]), "f32")]


@register("fsq_dequant", _infer_fsq, ELEMENTWISE)
def fsq_dequant(attrs, codes, state):
    """codes u32 (F, groups) -> (F, 4 groups): digit d of a code, whose base is the product of the
    levels before, less half its levels, over that half."""
    levels = attrs["levels"]
    n = min(int(state[st.N]), len(codes))
    bases = np.array([prod(levels[:d]) for d in range(len(levels))])
    digits = codes[:n, :, None].astype(np.int64) // bases % np.array(levels)
    half = np.array(levels) // 2
    return (_filled(len(codes), ((digits - half) / half).reshape(n, -1)),)


def _infer_weight_norm(attrs, kernel, gains, state):
    units = kernel.shape[0] if attrs["by"] == "rows" else kernel.shape[-1]
    _want(attrs["by"] in ("rows", "columns") and gains.shape[0] <= units,
          f"weight_norm: kernel {kernel.shape}, gains {gains.shape}, {attrs}")
    return []


@register("weight_norm", _infer_weight_norm, REDUCTION, mutates=(0,), prepares=True)
def weight_norm(attrs, kernel, gains, state):
    """kernel becomes gain * kernel / its length, for each of its rows (N, K) or columns (.., N):
    Salimans and Kingma 2016, undone once after loading."""
    flat = kernel if attrs["by"] == "rows" else kernel.reshape(-1, kernel.shape[-1]).T
    flat = flat[:len(gains)]
    length = np.sqrt(np.sum(flat.astype(np.float64) ** 2, axis=1, keepdims=True))
    flat[...] = gains[:, None] * flat / length
    return ()
