"""The op table: each op's shape rule and its numpy reference, which is the definition the kernels
are tested against.

Operand conventions of the references: activations are f32 arrays (T, width); a weight arrives
dequantised, f32 (N, K); a KV cache is a writable (n_kv, context, head_dim) array of f16 or f32;
`state` is the uint32 state buffer. Every op takes `state` last: rows >= n are padding and stay zero
here, and kernels return at once when it says `stopped`.
"""
from collections.abc import Callable
from dataclasses import dataclass

from pyengine.decode import state as st
from pyengine.errors import EngineError
from pyengine.lazy import np


@dataclass(frozen=True)
class Tolerance:
    """|got - want| <= atol + rtol * |want|, and why that much."""
    atol: float
    rtol: float
    reason: str


EXACT = Tolerance(0.0, 0.0, "moves or selects values")
ELEMENTWISE = Tolerance(1e-6, 1e-5, "f32, a few roundings; exp and sqrt within 4 ulp")
HALVES = Tolerance(5e-2, 2e-2, "the largest of a million sums of products rounded to f16")
REDUCTION = Tolerance(2e-5, 2e-5, "f32 sums of up to some thousand terms in another order")


@dataclass(frozen=True)
class OpSpec:
    """`infer(attrs, *values) -> [(shape, dtype)]`; `reference(attrs, *arrays) -> tuple of output
    arrays`; `mutates`: indices of the inputs that the op writes in place; `always`: it runs in the
    rest of a burst that stopped, too; `prepares`: it runs once, after the upload, and may change
    weights."""
    name: str
    infer: Callable
    reference: Callable
    tolerance: Tolerance
    mutates: tuple = ()
    always: bool = False
    prepares: bool = False


OPS = {}


def register(name, infer, tolerance, mutates=(), always=False, prepares=False):
    """Decorator: the decorated function is the op's reference."""
    def add(reference):
        if name in OPS:
            raise EngineError("E_INTERNAL", detail=f"op {name} is registered twice")
        OPS[name] = OpSpec(name, infer, reference, tolerance, mutates, always, prepares)
        return reference
    return add


def _want(condition, detail):
    if not condition:
        raise EngineError("E_INTERNAL", detail=detail)


def valid_rows(state, rows):
    """Rows to compute of a T-row op: decode programs (T = 1) always have one."""
    return min(int(state[st.N]), rows) if rows > 1 else 1


def _padded(array, rows):
    out = np.zeros((rows, *array.shape[1:]), np.float32)
    out[:len(array)] = array
    return out


# ---- embedding, norms, element-wise --------------------------------------------------------------

def _infer_embed(attrs, tokens, weight, state):
    return [((tokens.shape[0], weight.shape[1]), "f32")]


@register("embed", _infer_embed, ELEMENTWISE)
def embed(attrs, tokens, weight, state):
    """tokens u32 (T,), weight (V, H) -> weight[tokens] * scale (T, H); an id beyond the weight
    takes its last row, which `embed_into` writes anew where the table has further parts."""
    n = valid_rows(state, len(tokens))
    rows = weight[np.minimum(tokens[:n], len(weight) - 1)]
    return (_padded(rows * np.float32(attrs.get("scale", 1.0)), len(tokens)),)


def _infer_embed_into(attrs, tokens, weight, x, state):
    _want(x.shape == (tokens.shape[0], weight.shape[1]), f"embed_into: x {x.shape}")
    return []


@register("embed_into", _infer_embed_into, ELEMENTWISE, mutates=(2,))
def embed_into(attrs, tokens, weight, x, state):
    """As `embed`, where weight (V, H) is rows row0 .. row0 + V of the table: into the rows of an x
    that exists whose ids are among them."""
    n, row0 = valid_rows(state, len(tokens)), attrs["row0"]
    ids = tokens[:n].astype(np.int64) - row0
    mine = np.flatnonzero((ids >= 0) & (ids < len(weight)))
    x[mine] = weight[ids[mine]] * np.float32(attrs.get("scale", 1.0))
    return ()


def _infer_rmsnorm(attrs, x, gain, state):
    _want(gain.shape == (x.shape[1],), f"rmsnorm gain {gain.shape} for x {x.shape}")
    return [(x.shape, "f32")]


@register("rmsnorm", _infer_rmsnorm, REDUCTION)
def rmsnorm(attrs, x, gain, state):
    """x (T, H), gain (H,) -> (gain + shift) * x / sqrt(mean(x^2) + eps); Zhang and Sennrich 2019.
    Gemma stores gain - 1: `shift` is 1 there, 0 where the config does not say it."""
    variance = np.mean(np.square(x.astype(np.float64)), axis=-1, keepdims=True)
    scaled = gain + np.float32(attrs.get("shift", 0.0))
    return ((x / np.sqrt(variance + attrs["eps"]) * scaled).astype(np.float32),)


def _infer_norm_add(attrs, x, gain, residual, state):
    _want(x.shape == residual.shape, f"norm_add: x {x.shape}, residual {residual.shape}")
    return _infer_rmsnorm(attrs, x, gain, state)


@register("norm_add", _infer_norm_add, REDUCTION)
def norm_add(attrs, x, gain, residual, state):
    """residual + rmsnorm(x): a norm behind a sublayer (Gemma, OLMo 2)."""
    return (residual + rmsnorm(attrs, x, gain, state)[0],)


def _infer_add(attrs, x, y, state):
    _want(x.shape == y.shape, f"add: x {x.shape}, y {y.shape}")
    return [(x.shape, "f32")]


@register("add", _infer_add, ELEMENTWISE)
def add(attrs, x, y, state):
    """x, y (T, H) -> x + y."""
    return (x + y,)


def _infer_gated(attrs, gate_up, state):
    _want(gate_up.shape[1] % 2 == 0, f"an odd width of gate_up {gate_up.shape}")
    return [((gate_up.shape[0], gate_up.shape[1] // 2), "f32")]


@register("silu_mul", _infer_gated, ELEMENTWISE)
def silu_mul(attrs, gate_up, state):
    """gate_up (T, 2I), gate in the first half -> silu(gate) * up (T, I); Shazeer 2020, SwiGLU."""
    gate, up = np.split(gate_up, 2, axis=1)
    with np.errstate(over="ignore"):
        return (gate / (1 + np.exp(-gate)) * up,)


@register("gelu_mul", _infer_gated, ELEMENTWISE)
def gelu_mul(attrs, gate_up, state):
    """As silu_mul with GELU's tanh form, x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3);
    Hendrycks and Gimpel 2016. `act` is always "gelu_tanh": what a fused node keeps of it."""
    gate, up = np.split(gate_up, 2, axis=1)
    u = np.float32((2 / np.pi) ** 0.5) * (gate + np.float32(0.044715) * gate * gate * gate)
    with np.errstate(over="ignore"):
        return (gate / (1 + np.exp(-2 * u)) * up,)


@register("take_last", lambda attrs, x, state: [((1, x.shape[1]), "f32")], EXACT)
def take_last(attrs, x, state):
    """x (T, H) -> row n - 1, (1, H): only the last token's logits are ever wanted."""
    n = valid_rows(state, len(x))
    return (x[n - 1:n],)


# ---- matrices ------------------------------------------------------------------------------------

def _infer_linear(attrs, x, weight, state):
    _want(x.shape[1] == weight.shape[1], f"linear: x {x.shape} against weight {weight.shape}")
    return [((x.shape[0], attrs.get("width", weight.shape[0])), "f32")]


@register("linear", _infer_linear, REDUCTION)
def linear(attrs, x, weight, state):
    """x (T, K), weight (N, K) -> columns col .. col + N of y (T, width); the rest of y is for
    `linear_into`."""
    n, col = valid_rows(state, len(x)), attrs.get("col", 0)
    y = np.zeros((len(x), attrs.get("width", len(weight))), np.float32)
    y[:n, col:col + len(weight)] = x[:n] @ weight.T
    return (y,)


def _infer_linear_into(attrs, x, weight, y, state):
    _want(x.shape[1] == weight.shape[1] and attrs["col"] + weight.shape[0] <= y.shape[1],
          f"linear_into: x {x.shape}, weight {weight.shape}, y {y.shape} at {attrs['col']}")
    return []


@register("linear_into", _infer_linear_into, REDUCTION, mutates=(2,))
def linear_into(attrs, x, weight, y, state):
    """As `linear`, into columns of a y that exists: parts of other kinds, or beyond one binding's
    size."""
    n, col = valid_rows(state, len(x)), attrs["col"]
    y[:n, col:col + len(weight)] = x[:n] @ weight.T
    return ()


def _infer_norm_linear(attrs, x, gain, weight, state):
    _infer_rmsnorm(attrs, x, gain, state)
    return _infer_linear(attrs, x, weight, state)


@register("norm_linear", _infer_norm_linear, REDUCTION)
def norm_linear(attrs, x, gain, weight, state):
    """rmsnorm, then linear."""
    return linear(attrs, *rmsnorm(attrs, x, gain, state), weight, state)


def _infer_norm_gate_up(attrs, x, gain, weight, state):
    ((rows, width), dtype), = _infer_norm_linear({}, x, gain, weight, state)
    return [((rows, width // 2), dtype)]


@register("norm_gate_up", _infer_norm_gate_up, REDUCTION)
def norm_gate_up(attrs, x, gain, weight, state):
    """rmsnorm, linear with gate rows above up rows, silu_mul (or gelu_mul, as `act` says)."""
    gated = gelu_mul if attrs.get("act") == "gelu_tanh" else silu_mul
    return gated({}, *norm_linear(attrs, x, gain, weight, state), state)


def _infer_add_norm_linear(attrs, x, post_gain, residual, gain, weight, state):
    summed, = _infer_norm_add(attrs, x, post_gain, residual, state)
    return _infer_norm_linear(attrs, x, gain, weight, state) + [summed]


@register("add_norm_linear", _infer_add_norm_linear, REDUCTION)
def add_norm_linear(attrs, x, post_gain, residual, gain, weight, state):
    """norm_add, then norm_linear of the sum; -> (its output, the sum). One eps and shift for both
    norms."""
    summed, = norm_add(attrs, x, post_gain, residual, state)
    return (*norm_linear(attrs, summed, gain, weight, state), summed)


def _infer_add_norm_gate_up(attrs, x, post_gain, residual, gain, weight, state):
    summed, = _infer_norm_add(attrs, x, post_gain, residual, state)
    return _infer_norm_gate_up(attrs, x, gain, weight, state) + [summed]


@register("add_norm_gate_up", _infer_add_norm_gate_up, REDUCTION)
def add_norm_gate_up(attrs, x, post_gain, residual, gain, weight, state):
    """norm_add, then norm_gate_up of the sum; -> (its output, the sum)."""
    summed, = norm_add(attrs, x, post_gain, residual, state)
    return (*norm_gate_up(attrs, summed, gain, weight, state), summed)


def _infer_linear_add(attrs, x, weight, residual, state):
    _want(residual.shape == (x.shape[0], weight.shape[0]), f"linear_add: residual {residual.shape}")
    return _infer_linear(attrs, x, weight, state)


@register("linear_add", _infer_linear_add, REDUCTION)
def linear_add(attrs, x, weight, residual, state):
    """linear, then add to the residual stream."""
    return (residual + linear(attrs, x, weight, state)[0],)


# ---- attention -----------------------------------------------------------------------------------

def rope_rotation(coarse, fine, positions):
    """cos and sin of position * frequency, (T, half) each, by the addition theorem from two small
    tables: coarse[p // 64] and fine[p % 64] hold (cos, sin) computed in double precision. Exact
    where f32 `cos(8000.)` is not."""
    a, b = coarse[positions // len(fine)], fine[positions % len(fine)]  # (T, half, 2)
    cos = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    sin = a[..., 1] * b[..., 0] + a[..., 0] * b[..., 1]
    return cos, sin


def _rotate(x, cos, sin, interleaved=False):
    """x (T, heads, d): pairs (i, i + half) of the first 2 * half dims (NeoX halves), or
    (2i, 2i + 1) where `interleaved`; Su et al. 2021."""
    half = cos.shape[-1]
    cos, sin, rest = cos[:, None], sin[:, None], x[..., 2 * half:]
    if interleaved:
        a, b = x[..., :2 * half:2], x[..., 1:2 * half:2]
        pairs = np.stack([a * cos - b * sin, b * cos + a * sin], -1)
        return np.concatenate([pairs.reshape(*x.shape[:-1], 2 * half), rest], axis=-1)
    a, b = x[..., :half], x[..., half:2 * half]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)


def rope_places(attrs, state, positions):
    """Where RoPE has `positions`, in steps of its tables. With `frames` = (steps of a token, steps
    of a frame, tokens of a frame) the tokens from position SOURCE of the state on are frames, whose
    tokens are all in one place; those before count one by one."""
    if "frames" not in attrs:
        return positions
    token, frame, group = attrs["frames"]
    first = int(state[st.SOURCE])
    spoken = first * token + (positions - first) // group * frame
    return np.where(positions < first, positions * token, spoken)


def _infer_rope_kv(attrs, qkv, coarse, fine, k_cache, v_cache, state):
    heads, kv_heads, d = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
    wide = (2 * heads if attrs.get("gate") else heads) + 2 * kv_heads
    _want(qkv.shape[1] == wide * d, f"rope_kv: qkv {qkv.shape} for {dict(attrs)}")
    _want(k_cache.shape[::2] == (kv_heads, d), f"rope_kv: cache {k_cache.shape} for {dict(attrs)}")
    return [((qkv.shape[0], heads * d), "f32")]


@register("rope_kv", _infer_rope_kv, ELEMENTWISE, mutates=(3, 4))
def rope_kv(attrs, qkv, coarse, fine, k_cache, v_cache, state):
    """Rotates q and k (not where `rotate` is False; neighbours where `interleaved`), stores k and v
    at pos .. pos + n of the caches, modulo their length where a `window` makes them rings; `frames`
    as in `rope_places`; -> rotated q (T, heads * d)."""
    rows, n, pos = len(qkv), valid_rows(state, len(qkv)), int(state[st.POS])
    heads, kv_heads, d = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
    places = rope_places(attrs, state, pos + np.arange(n))
    cos, sin = rope_rotation(coarse, fine, places)
    if not attrs.get("rotate", True):
        cos, sin = cos[:, :0], sin[:, :0]
    q, k, v = np.split(qkv[:n].reshape(n, -1, d), [heads, heads + kv_heads], axis=1)
    slots = (pos + np.arange(n)) % k_cache.shape[1]
    pairs = attrs.get("interleaved", False)
    k_cache[:, slots] = _rotate(k, cos, sin, pairs).transpose(1, 0, 2)
    v_cache[:, slots] = v.transpose(1, 0, 2)
    return (_padded(_rotate(q, cos, sin, pairs).reshape(n, heads * d), rows),)


def _infer_bias_rope_kv(attrs, qkv, bias, *rest):
    heads = attrs["heads"] + 2 * attrs["kv_heads"]
    _want(bias.shape == (heads, attrs["head_dim"]), f"bias_rope_kv: bias {bias.shape}")
    return _infer_rope_kv(attrs, qkv, *rest)


@register("bias_rope_kv", _infer_bias_rope_kv, ELEMENTWISE, mutates=(4, 5))
def bias_rope_kv(attrs, qkv, bias, *rest):
    """rope_kv of qkv + bias, bias (heads + 2 kv_heads, d)."""
    return rope_kv(attrs, qkv + bias.reshape(1, -1), *rest)


def _infer_norm_rope_kv(attrs, qkv, gains, *rest):
    _want(gains.shape == (2, attrs["head_dim"]), f"norm_rope_kv: gains {gains.shape}")
    return _infer_rope_kv(attrs, qkv, *rest)


@register("norm_rope_kv", _infer_norm_rope_kv, REDUCTION, mutates=(4, 5))
def norm_rope_kv(attrs, qkv, gains, *rest):
    """rope_kv after an rmsnorm of each head of q (gain: row 0 of gains (2, d)) and of k (row 1).
    `gate`: behind each head of q lies one of the output's gate, which is left alone."""
    heads, kv_heads, d = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
    if attrs.get("gate"):
        q = qkv[:, :2 * heads * d].reshape(len(qkv), heads, 2, d)[:, :, 0]
        qkv = np.concatenate([q.reshape(len(qkv), -1), qkv[:, 2 * heads * d:]], axis=1)
    q, k, v = np.split(qkv.reshape(len(qkv), -1, d), [heads, heads + kv_heads], axis=1)
    q, k = (rmsnorm(attrs, x, gain, None)[0] for x, gain in ((q, gains[0]), (k, gains[1])))
    return rope_kv(attrs, np.concatenate([q, k, v], axis=1).reshape(qkv.shape), *rest)


@register("attention", lambda attrs, q, k_cache, v_cache, state: [(q.shape, "f32")], REDUCTION)
def attention(attrs, q, k_cache, v_cache, state):
    """Causal grouped-query attention of q (T, heads * d) over cache positions 0 .. pos + row, or
    the last `window` of them, in caches that are rings then; -> (T, heads * d)."""
    rows, n, pos = len(q), valid_rows(state, len(q)), int(state[st.POS])
    kv_heads, length, d = k_cache.shape
    window = attrs.get("window", pos + n)
    places = np.arange(max(0, pos + 1 - window), pos + n)  # S positions that some row sees
    q = q[:n].reshape(n, kv_heads, -1, d).transpose(1, 2, 0, 3)  # (kv, group, n, d)
    k, v = (c[:, None, places % length].astype(np.float32) for c in (k_cache, v_cache))
    scores = q @ k.transpose(0, 1, 3, 2) * np.float32(attrs["scale"])  # (kv, group, n, S)
    row = pos + np.arange(n)[:, None]
    visible = (places <= row) & (places > row - window)
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = (weights / weights.sum(-1, keepdims=True)) @ v  # (kv, group, n, d)
    return (_padded(out.transpose(2, 0, 1, 3).reshape(n, -1), rows),)
