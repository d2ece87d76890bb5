"""Ops of hybrid layers: short causal convolutions and the gated delta rule, with numpy references.

Conventions as in `ir/ops.py`, and two kinds of state that can only be extended:

A convolution's ring (K, C) f32 holds the input of position p in slot p % K. K taps need K - 1 past
inputs; the one slot more is what this step writes, so no reader can meet the writer. Positions
before 0 count as zeros, whatever the ring holds.

A delta rule's S (value heads, key dim, value dim) f32 maps keys to values; at position 0 it counts
as zero. Maths: Yang, Kautz and Hatamizadeh 2024, "Gated Delta Networks", in the layout of Qwen3.5:

    S *= exp(g);  d = (v - S^T k) * beta;  S += outer(k, d);  o = S^T q
"""
from pyengine.decode import state as st
from pyengine.ir.ops import (ELEMENTWISE, REDUCTION, Tolerance, _padded, _want, norm_linear,
                             register, valid_rows)
from pyengine.lazy import np

CHUNK = 64         # rows of one chunk of the chunked delta rule
L2_EPS = 1e-6      # of q and k's normalisation
CONV = Tolerance(5e-5, 2e-5, "f32; products of three inputs that may cancel in the sum")
DELTA = Tolerance(1e-4, 1e-4, "f32; a chunk's triangular inverse sums up to 64 rounded products")


def _sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


# ---- short convolutions --------------------------------------------------------------------------

def _check_conv(op, channels, attrs, taps, ring):
    k = attrs["taps"]
    _want(taps.shape == (channels * k,) and ring.shape == (k, channels),
          f"{op}: taps {taps.shape}, ring {ring.shape} for {channels} channels of {k}")


def _convolve(u, taps, ring, pos):
    """u (n, C), taps (C, K), the last tap for the newest input -> (n, C); the ring takes u's last
    rows."""
    n, k = len(u), taps.shape[1]
    past = np.arange(pos - k + 1, pos)
    known = np.where(past[:, None] >= 0, ring[past % k], 0)
    rows = np.concatenate([known, u]).astype(np.float64)
    out = sum(rows[j:j + n] * taps[:, j] for j in range(k))
    last = np.arange(max(0, n - k), n)
    ring[(pos + last) % k] = u[last]
    return out.astype(np.float32)


def _infer_short_conv(attrs, x, taps, ring, state):
    _check_conv("short_conv", attrs["channels"], attrs, taps, ring)
    _want(attrs["channels"] <= x.shape[1], f"short_conv: {attrs['channels']} channels of {x.shape}")
    return []


@register("short_conv", _infer_short_conv, ELEMENTWISE, mutates=(0, 2))
def short_conv(attrs, x, taps, ring, state):
    """Columns 0 .. channels of x (T, W) become silu(causal depthwise convolution), in place; taps
    (C * K)."""
    n, channels = valid_rows(state, len(x)), attrs["channels"]
    y = _convolve(x[:n, :channels], taps.reshape(channels, -1), ring, int(state[st.POS]))
    x[:n, :channels] = y * _sigmoid(y)
    return ()


def _infer_gated_conv(attrs, bcx, taps, ring, state):
    _want(bcx.shape[1] % 3 == 0, f"gated_conv: {bcx.shape}")
    _check_conv("gated_conv", bcx.shape[1] // 3, attrs, taps, ring)
    return [((bcx.shape[0], bcx.shape[1] // 3), "f32")]


@register("gated_conv", _infer_gated_conv, CONV, mutates=(2,))
def gated_conv(attrs, bcx, taps, ring, state):
    """bcx (T, 3H) = B | C | x -> C * causal depthwise convolution(B * x), (T, H): LFM2's
    operator."""
    n, width = valid_rows(state, len(bcx)), bcx.shape[1] // 3
    b, c, x = np.split(bcx[:n], 3, axis=1)
    y = _convolve(b * x, taps.reshape(width, -1), ring, int(state[st.POS]))
    return (_padded(c * y, len(bcx)),)


def _infer_norm_linear_conv(attrs, x, gain, weight, taps, ring, state):
    y = norm_linear_shape(x, gain, weight)
    _check_conv("norm_linear_conv", attrs["channels"], attrs, taps, ring)
    _want(x.shape[0] == 1 and attrs["channels"] <= weight.shape[0], f"norm_linear_conv: {x.shape}")
    return [y]


def norm_linear_shape(x, gain, weight):
    """(shape, dtype) of norm_linear's output."""
    _want(gain.shape == (x.shape[1],) and x.shape[1] == weight.shape[1],
          f"norm_linear_conv: x {x.shape}, gain {gain.shape}, weight {weight.shape}")
    return (x.shape[0], weight.shape[0]), "f32"


@register("norm_linear_conv", _infer_norm_linear_conv, REDUCTION, mutates=(4,))
def norm_linear_conv(attrs, x, gain, weight, taps, ring, state):
    """norm_linear of one row, then short_conv of its first `channels` columns."""
    y, = norm_linear(attrs, x, gain, weight, state)
    short_conv(attrs, y, taps, ring, state)
    return (y,)


# ---- gated attention ----------------------------------------------------------------------------

def _infer_sigmoid_gate(attrs, o, qkv, state):
    _want(o.shape[1] % attrs["head_dim"] == 0 and qkv.shape[1] >= 2 * o.shape[1],
          f"sigmoid_gate: o {o.shape}, qkv {qkv.shape}, {attrs}")
    return [(o.shape, "f32")]


@register("sigmoid_gate", _infer_sigmoid_gate, ELEMENTWISE)
def sigmoid_gate(attrs, o, qkv, state):
    """o (T, heads * d) * sigmoid(gate); qkv's columns begin with q and gate, d each, head by
    head."""
    n, d = valid_rows(state, len(o)), attrs["head_dim"]
    gate = qkv[:n, :2 * o.shape[1]].reshape(n, -1, 2, d)[:, :, 1]
    return (_padded(o[:n] * _sigmoid(gate.reshape(n, -1)), len(o)),)


# ---- the gated delta rule ------------------------------------------------------------------------

def _sizes(attrs):
    return tuple(attrs[k] for k in ("key_heads", "value_heads", "key_dim", "value_dim"))


def columns(attrs):
    """First columns of (k, v, z, b, a, end) in a projected row q | k | v | z | b | a."""
    nk, nv, dk, dv = _sizes(attrs)
    k, v, z = nk * dk, 2 * nk * dk, 2 * nk * dk + nv * dv
    return k, v, z, z + nv * dv, z + nv * dv + nv, z + nv * dv + 2 * nv


def _check_delta(op, attrs, y, *vectors):
    nk, nv, dk, dv = _sizes(attrs)
    _want(nv % nk == 0 and y.shape[1] == columns(attrs)[-1], f"{op}: {y.shape} for {attrs}")
    for vector in vectors:
        _want(vector.shape == (nv,), f"{op}: {vector.shape} for {nv} heads")
    return (y.shape[0], nv * dv), "f32"


def _per_value_head(attrs, x):
    """x (n, key heads, ...) -> (n, value heads, ...). Value heads that share a key head are
    neighbours; with `ggml` they take turns, as llama.cpp's converter orders them."""
    each = attrs["value_heads"] // attrs["key_heads"]
    if attrs.get("ggml"):
        return np.tile(x, (1, each) + (1,) * (x.ndim - 2))
    return np.repeat(x, each, axis=1)


def _projected(attrs, y, a_log, dt_bias):
    """y (n, W) -> q, k (n, nv, dk) normalised, q scaled, v (n, nv, dv), beta, g (n, nv); f64.
    With `ggml`, a_log is -exp(A_log) already."""
    nk, nv, dk, dv = _sizes(attrs)
    k0, v0, z0, b0, a0, end = columns(attrs)
    y = y.astype(np.float64)

    def unit(x):
        x = x.reshape(-1, nk, dk)
        return _per_value_head(attrs, x / np.sqrt((x * x).sum(-1, keepdims=True) + L2_EPS))

    rates = a_log.astype(np.float64)
    g = (rates if attrs.get("ggml") else -np.exp(rates)) * np.logaddexp(0, y[:, a0:end] + dt_bias)
    return (unit(y[:, :k0]) * dk**-0.5, unit(y[:, k0:v0]), y[:, v0:z0].reshape(-1, nv, dv),
            _sigmoid(y[:, b0:a0]), g)


def recurrent_delta(q, k, v, beta, g, s):
    """The definition: q, k (n, heads, dk), v (n, heads, dv), beta, g (n, heads), s (heads, dk, dv)
    -> (o (n, heads, dv), s after)."""
    out = np.empty_like(v)
    for t in range(len(v)):
        s = s * np.exp(g[t])[:, None, None]
        d = (v[t] - np.einsum("hkv,hk->hv", s, k[t])) * beta[t][:, None]
        s = s + k[t][:, :, None] * d[:, None, :]
        out[t] = np.einsum("hkv,hk->hv", s, q[t])
    return out, s


def chunk_factors(q, k, beta, g):
    """What a chunk of c rows needs apart from v and S: (inverse (c, c, heads), p (c, c, heads),
    log decay G (c, heads)).

    d = inverse @ (beta * (v - exp(G) k S)) solves the recurrence's d for all rows at once, because
    d_i subtracts what d_j, j < i, left along k_i; o = exp(G) q S + p @ d."""
    c = len(g)
    total = np.cumsum(g, axis=0)
    decay = np.exp(np.minimum(total[:, None] - total[None], 0))          # (i, j, heads)
    lower = np.tril(np.ones((c, c)))[:, :, None]
    a = np.einsum("ihd,jhd->ijh", k, k) * decay * beta[:, None] * (lower - np.eye(c)[:, :, None])
    inverse = np.linalg.inv(np.eye(c) + a.transpose(2, 0, 1)).transpose(1, 2, 0)
    return inverse, np.einsum("ihd,jhd->ijh", q, k) * decay * lower, total


def chunked_delta(q, k, v, beta, g, s, chunk=CHUNK):
    """As `recurrent_delta`, `chunk` rows at a time."""
    out = np.empty_like(v)
    for at in range(0, len(v), chunk):
        rows = slice(at, at + chunk)
        inverse, p, total = chunk_factors(q[rows], k[rows], beta[rows], g[rows])
        out[rows], s = _advance(q[rows], k[rows], v[rows], beta[rows], s, inverse, p, total)
    return out, s


def _advance(q, k, v, beta, s, inverse, p, total):
    """One chunk: -> (o, s after)."""
    grown = np.exp(total)[:, :, None]
    rest = beta[:, :, None] * (v - grown * np.einsum("hkv,ihk->ihv", s, k))
    d = np.einsum("ijh,jhv->ihv", inverse, rest)
    out = grown * np.einsum("hkv,ihk->ihv", s, q) + np.einsum("ijh,jhv->ihv", p, d)
    left = np.exp(total[-1] - total)[:, :, None]  # decay from row j to the end
    s = s * np.exp(total[-1])[:, None, None] + np.einsum("jhk,jhv->hkv", left * k, d)
    return out, s


def _infer_delta_step(attrs, y, a_log, dt_bias, s, state):
    nk, nv, dk, dv = _sizes(attrs)
    _want(s.shape == (nv, dk, dv) and y.shape[0] == 1, f"delta_step: S {s.shape}, y {y.shape}")
    return [_check_delta("delta_step", attrs, y, a_log, dt_bias)]


@register("delta_step", _infer_delta_step, DELTA, mutates=(3,))
def delta_step(attrs, y, a_log, dt_bias, s, state):
    """One step of every head: y (1, W) = q | k | v | z | b | a, convolved -> o (1, heads * dv)."""
    before = s.astype(np.float64) * (state[st.POS] > 0)
    out, after = recurrent_delta(*_projected(attrs, y, a_log, dt_bias), before)
    s[...] = after
    return (out.reshape(1, -1).astype(np.float32),)


def _infer_gated_norm(attrs, o, y, gain, state):
    width = gain.shape[0]
    _want(o.shape[1] % width == 0 and y.shape[1] >= attrs["col"] + o.shape[1],
          f"gated_norm: o {o.shape}, y {y.shape}, gain {gain.shape}, {attrs}")
    return [(o.shape, "f32")]


@register("gated_norm", _infer_gated_norm, REDUCTION)
def gated_norm(attrs, o, y, gain, state):
    """Per head of len(gain): gain * o / rms(o) * silu(z), z the columns from `col` of y."""
    n = valid_rows(state, len(o))
    heads = o[:n].astype(np.float64).reshape(n, -1, len(gain))
    z = y[:n, attrs["col"]:attrs["col"] + o.shape[1]].reshape(heads.shape)
    rms = np.sqrt(np.mean(heads * heads, axis=-1, keepdims=True) + attrs["eps"])
    out = heads / rms * gain * z * _sigmoid(z)
    return (_padded(out.reshape(n, -1).astype(np.float32), len(o)),)


def _infer_delta_step_norm(attrs, y, a_log, dt_bias, s, gain, state):
    return _infer_delta_step(attrs, y, a_log, dt_bias, s, state)


@register("delta_step_norm", _infer_delta_step_norm, DELTA, mutates=(3,))
def delta_step_norm(attrs, y, a_log, dt_bias, s, gain, state):
    """delta_step, then gated_norm."""
    o, = delta_step(attrs, y, a_log, dt_bias, s, state)
    return gated_norm(attrs, o, y, gain, state)


def chunk_words(rows):
    """f32 of one head's factors of one chunk of a T-row program: inverse, p, then log decay, beta,
    1 / |k| and 1 / (|q| sqrt(dk)) of each row."""
    size = min(CHUNK, rows)
    return 2 * size * size + 4 * size


def _infer_delta_chunks(attrs, y, a_log, dt_bias, state):
    _check_delta("delta_chunks", attrs, y, a_log, dt_bias)
    return [((-(-y.shape[0] // CHUNK), attrs["value_heads"], chunk_words(y.shape[0])), "f32")]


@register("delta_chunks", _infer_delta_chunks, DELTA)
def delta_chunks(attrs, y, a_log, dt_bias, state):
    """y (T, W) -> the factors of each chunk and head that do not depend on S: (chunks, heads,
    chunk_words)."""
    nk, nv, dk, dv = _sizes(attrs)
    n, size, k0 = valid_rows(state, len(y)), min(CHUNK, len(y)), columns(attrs)[0]
    out = np.zeros((-(-len(y) // CHUNK), nv, chunk_words(len(y))), np.float32)
    for c in range(-(-n // size)):
        rows = y[c * size:min(n, (c + 1) * size)]
        q, k, _, beta, g = _projected(attrs, rows, a_log, dt_bias)
        inverse, p, total = chunk_factors(q, k, beta, g)
        lengths = [_per_value_head(attrs, 1 / np.sqrt((x * x).sum(-1) + L2_EPS))
                   for x in (rows[:, i:i + k0].astype(np.float64).reshape(-1, nk, dk)
                             for i in (k0, 0))]
        m = len(rows)
        square = out[c, :, :2 * size * size].reshape(nv, 2, size, size)
        square[:, 0, :m, :m] = inverse.transpose(2, 0, 1)
        square[:, 1, :m, :m] = p.transpose(2, 0, 1)
        tail = out[c, :, 2 * size * size:].reshape(nv, 4, size)
        for i, part in enumerate((total, beta, lengths[0], lengths[1] * dk**-0.5)):
            tail[:, i, :m] = part.T
    return (out,)


def _infer_delta_rows(attrs, y, chunks, s, state):
    nk, nv, dk, dv = _sizes(attrs)
    wanted = (-(-y.shape[0] // CHUNK), nv, chunk_words(y.shape[0]))
    _want(s.shape == (nv, dk, dv) and chunks.shape == wanted,
          f"delta_rows: {s.shape}, {chunks.shape}")
    return [_check_delta("delta_rows", attrs, y)]


@register("delta_rows", _infer_delta_rows, DELTA, mutates=(2,))
def delta_rows(attrs, y, chunks, s, state):
    """The rows of a prefill: y (T, W) and its delta_chunks -> o (T, heads * dv); S moves on."""
    nk, nv, dk, dv = _sizes(attrs)
    n, size = valid_rows(state, len(y)), min(CHUNK, len(y))
    k0, v0, z0 = columns(attrs)[:3]
    held, outs = s.astype(np.float64) * (state[st.POS] > 0), [np.empty((0, nv, dv))]
    for c in range(-(-n // size)):
        rows = y[c * size:min(n, (c + 1) * size)].astype(np.float64)
        m, found = len(rows), chunks[c].astype(np.float64)
        square = found[:, :2 * size * size].reshape(nv, 2, size, size)[:, :, :m, :m]
        tail = found[:, 2 * size * size:].reshape(nv, 4, size)[:, :, :m]
        total, beta, k_inv, q_inv = tail.transpose(1, 2, 0)
        q, k = (_per_value_head(attrs, x.reshape(m, nk, dk))
                for x in (rows[:, :k0], rows[:, k0:v0]))
        v = rows[:, v0:z0].reshape(m, nv, dv)
        inverse, p = square.transpose(1, 2, 3, 0)
        out, held = _advance(q * q_inv[:, :, None], k * k_inv[:, :, None], v, beta, held, inverse,
                             p, total)
        outs.append(out)
    s[...] = held
    flat = np.concatenate(outs).reshape(n, nv * dv)
    return (_padded(flat.astype(np.float32), len(y)),)
