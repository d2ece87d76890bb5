"""Attention of one row in parts that run side by side, each over its own span of the cache, and the
ops that put the parts together (flash decoding, Dao et al. 2023).

Parts are one f32 array (splits, heads * d + pad4(heads)): per part each head's output over its
span, then each head's log of its sum of exponentials. Which parts exist follows from the length
alone, so that a fixed grid serves every length; rows beyond those are never written and never read.
"""
from pyengine.decode import state as st
from pyengine.ir.hybrid_ops import sigmoid_gate
from pyengine.ir.ops import REDUCTION, OPS, linear, linear_add, register, rope_kv
from pyengine.lazy import np


def span_of(length, splits, least):
    """Positions of each part: the smallest multiple of `least` of which `splits` cover `length`."""
    return least * -(-length // (least * splits))


def parts_of(attrs, state):
    """How many parts the row at the state's position has."""
    length = int(state[st.POS]) + 1
    return -(-length // span_of(length, attrs["splits"], attrs["span"]))


def parts_width(heads, d):
    return heads * d + -(-heads // 4) * 4


def _infer_parts(attrs, q, k_cache, v_cache, state):
    d = k_cache.shape[2]
    return [((attrs["splits"], parts_width(q.shape[1] // d, d)), "f32")]


@register("attention_parts", _infer_parts, REDUCTION)
def attention_parts(attrs, q, k_cache, v_cache, state):
    """q (1, heads * d) over cache positions 0 .. pos -> parts; attrs scale, splits, span."""
    length, (kv_heads, _, d) = int(state[st.POS]) + 1, k_cache.shape
    span = span_of(length, attrs["splits"], attrs["span"])
    q = q.reshape(kv_heads, -1, d)
    out = np.zeros((attrs["splits"], parts_width(q.shape[0] * q.shape[1], d)), np.float32)
    for part in range(-(-length // span)):
        k, v = (c[:, part * span:min((part + 1) * span, length)].astype(np.float32)
                for c in (k_cache, v_cache))                                # (kv, S, d)
        scores = q @ k.transpose(0, 2, 1) * np.float32(attrs["scale"])      # (kv, group, S)
        highest = scores.max(-1, keepdims=True)
        weights = np.exp(scores - highest)
        total = weights.sum(-1, keepdims=True)
        out[part, :q.size] = (weights / total @ v).reshape(-1)
        out[part, q.size:q.size + q.size // d] = (highest + np.log(total)).reshape(-1)
    return (out,)


def _infer_rope_parts(attrs, qkv, coarse, fine, k_cache, v_cache, state):
    q, = OPS["rope_kv"].infer(attrs, qkv, coarse, fine, k_cache, v_cache, state)
    d = attrs["head_dim"]
    return [((attrs["splits"], parts_width(q[0][1] // d, d)), "f32")]


@register("rope_attention_parts", _infer_rope_parts, REDUCTION, mutates=(3, 4))
def rope_attention_parts(attrs, qkv, coarse, fine, k_cache, v_cache, state):
    """rope_kv, then attention_parts over the same caches."""
    q, = rope_kv(attrs, qkv, coarse, fine, k_cache, v_cache, state)
    return attention_parts(attrs, q, k_cache, v_cache, state)


def _infer_combine(attrs, parts, state):
    return [((1, attrs["heads"] * attrs["head_dim"]), "f32")]


@register("attention_combine", _infer_combine, REDUCTION)
def attention_combine(attrs, parts, state):
    """parts -> attention's output (1, heads * d): the parts' outputs weighed by their sums."""
    heads, d = attrs["heads"], attrs["head_dim"]
    parts = parts[:parts_of(attrs, state)]
    logs = parts[:, heads * d:heads * d + heads, None]
    weights = np.exp(logs - logs.max(0))
    outputs = parts[:, :heads * d].reshape(-1, heads, d)
    return (((weights * outputs).sum(0) / weights.sum(0)).reshape(1, -1),)


@register("gated_combine", lambda attrs, parts, qkv, state: _infer_combine(attrs, parts, state),
          REDUCTION)
def gated_combine(attrs, parts, qkv, state):
    """attention_combine, then sigmoid_gate."""
    return sigmoid_gate(attrs, *attention_combine(attrs, parts, state), qkv, state)


def _infer_combine_linear(attrs, parts, weight, state):
    return [((1, weight.shape[0]), "f32")]


@register("combine_linear", _infer_combine_linear, REDUCTION)
def combine_linear(attrs, parts, weight, state):
    """attention_combine, then linear."""
    return linear({}, *attention_combine(attrs, parts, state), weight, state)


@register("combine_linear_add",
          lambda attrs, parts, weight, residual, state: [(residual.shape, "f32")], REDUCTION)
def combine_linear_add(attrs, parts, weight, residual, state):
    """attention_combine, then linear_add."""
    return linear_add({}, *attention_combine(attrs, parts, state), weight, residual, state)
