"""The op references against plain formulas, where another op's reference is not the formula."""
import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.ir.ops import OPS, rope_rotation, valid_rows
from pyengine.models.blocks.rope import RopeTables

RNG = np.random.default_rng(3)


def state(pos=0, n=1):
    return np.frombuffer(st.pack_state(pos, n), np.uint32)


def run(op, *arrays, **attrs):
    return OPS[op].reference(attrs, *arrays)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "rows,n,want", [(1, 1, 1), (1, 0, 1), (16, 7, 7), (16, 16, 16), (16, 83, 16)]
)
def test_valid_rows(rows, n, want):
    assert valid_rows(state(n=n), rows) == want


def test_padding_rows_stay_zero():
    s, tokens = state(n=3), np.array([1, 5, 2, 99, 99], np.uint32)
    table, k_cache, v_cache = (
        normal(7, 8),
        np.zeros((1, 9, 4), np.float32),
        np.zeros((1, 9, 4), np.float32),
    )
    (x,) = run("embed", tokens, table, s, scale=2.0)
    assert (x[:3] == 2 * table[[1, 5, 2]]).all() and not x[3:].any()
    (y,) = run("linear", normal(5, 8), table, s)
    assert y[:3].all() and not y[3:].any()
    coarse, fine = np.ones((1, 2, 2), np.float32), np.ones((64, 2, 2), np.float32)
    (q,) = run(
        "rope_kv", normal(5, 12), coarse, fine, k_cache, v_cache, s, heads=1, kv_heads=1, head_dim=4
    )
    assert not q[3:].any() and v_cache[:, :3].all() and not v_cache[:, 3:].any()
    (o,) = run("attention", q, k_cache, v_cache, s, scale=1.0)
    assert o[:3].any() and not o[3:].any()
    (last,) = run("take_last", x, s)
    assert (last == x[2:3]).all()


def test_silu_of_large_numbers():
    (y,) = run("silu_mul", np.array([[-1e4, 1e4, 0, 2, 2, 2]], np.float32), state())
    assert y.tolist() == [[0, 2e4, 0]]


def test_fused_ops_are_their_parts():
    x, gain, w, residual, s = normal(1, 8), normal(8), normal(6, 8), normal(1, 6), state()
    (h,) = run("rmsnorm", x, gain, s, eps=1e-5)
    assert np.allclose(h, x / np.sqrt((x.astype(float) ** 2).mean() + 1e-5) * gain, rtol=1e-6)
    (y,) = run("norm_linear", x, gain, w, s, eps=1e-5)
    assert np.allclose(y, h @ w.T, atol=1e-6)
    (z,) = run("norm_gate_up", x, gain, w, s, eps=1e-5)
    assert np.allclose(z, y[:, :3] / (1 + np.exp(-y[:, :3])) * y[:, 3:], atol=1e-6)
    (r,) = run("linear_add", x, w, residual, s)
    assert np.allclose(r, residual + x @ w.T, atol=1e-6)


def test_a_norm_behind_is_its_parts():
    x, r, post, gain, s = normal(1, 8), normal(1, 8), normal(8), normal(8), state()
    w, keys = normal(6, 8), {"eps": 1e-5, "shift": 1.0}
    want = r + x / np.sqrt((x.astype(float) ** 2).mean() + 1e-5) * (1 + post)
    (summed,) = run("norm_add", x, post, r, s, **keys)
    assert np.allclose(summed, want, rtol=1e-6)
    y, kept = run("add_norm_linear", x, post, r, gain, w, s, **keys)
    assert (kept == summed).all()
    normed = want / np.sqrt((want**2).mean() + 1e-5) * (1 + gain)
    assert np.allclose(y, normed @ w.T, atol=1e-5)
    z, kept = run("add_norm_gate_up", x, post, r, gain, w, s, act="gelu_tanh", **keys)
    gate, up = np.split(normed @ w.T, 2, 1)
    gelu = gate / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (gate + 0.044715 * gate**3)))
    assert np.allclose(z, gelu * up, atol=1e-5) and (kept == summed).all()


def test_gelu_of_large_numbers():
    (y,) = run("gelu_mul", np.array([[-1e4, 1e4, 0, 2, 2, 2]], np.float32), state())
    assert y.tolist() == [[0, 2e4, 0]]


def test_heads_are_normalised_before_they_rotate():
    """And v is not; a bias is added to all three."""
    qkv, gains, bias, s = normal(2, 4 * 6), normal(2, 6), normal(4, 6), state(n=2)
    coarse, fine = tables_of(6)
    attrs = {"heads": 2, "kv_heads": 1, "head_dim": 6, "rotate": False}
    caches = [np.zeros((1, 9, 6), np.float32) for _ in range(4)]
    (q,) = run("norm_rope_kv", qkv, gains, coarse, fine, *caches[:2], s, eps=1e-5, shift=1.0, **attrs)
    heads = qkv.reshape(2, 4, 6).astype(float)
    normed = heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-5)
    assert np.allclose(q.reshape(2, 2, 6), normed[:, :2] * (1 + gains[0]), atol=1e-6)
    assert np.allclose(caches[0][0, :2], normed[:, 2] * (1 + gains[1]), atol=1e-6)
    assert np.allclose(caches[1][0, :2], heads[:, 3])
    (q,) = run("bias_rope_kv", qkv, bias, coarse, fine, *caches[2:], s, **attrs)
    assert np.allclose(q.reshape(2, 2, 6), (heads + bias)[:, :2], atol=1e-6)
    assert np.allclose(caches[3][0, :2], (heads + bias)[:, 3], atol=1e-6)


def tables_of(d, rows=4):
    tables = RopeTables(d, {"rope_theta": 10000.0})
    return (np.array(tables.coarse(rows), np.float32).reshape(rows, d // 2, 2),
            np.array(tables.fine(), np.float32).reshape(64, d // 2, 2))


def test_a_ring_holds_what_a_window_sees():
    """Chunks of any size up to the ring's slack give what one pass over all positions gives."""
    window, slack, n, d = 5, 7, 31, 6
    qkv, attrs = normal(n, 3 * d), {"heads": 1, "kv_heads": 1, "head_dim": d, "window": window}
    coarse, fine = tables_of(d)

    def outputs(length, sizes):
        caches, pos, found = [np.full((1, length, d), np.nan, np.float32) for _ in range(2)], 0, []
        for size in sizes:
            s = state(pos, size)
            (q,) = run("rope_kv", qkv[pos:pos + size], coarse, fine, *caches, s, **attrs)
            found.append(run("attention", q, *caches, s, scale=0.5, window=window)[0])
            pos += size
        return np.concatenate(found)

    whole = outputs(n, [n])
    for sizes in ([1] * n, [7, 7, 7, 7, 3], [8, 8, 8, 7], [2, 8, 1, 8, 8, 4]):
        assert np.allclose(outputs(window + slack, sizes), whole, atol=1e-6), sizes
    assert not np.allclose(outputs(window + slack, [9, 9, 9, 4]), whole, atol=1e-3)
    last = qkv[-window:].reshape(window, 3, d)
    assert whole[-1].min() >= last[:, 2].min(0).min() and np.isfinite(whole).all()


def test_linear_parts_fill_the_columns_of_one_output():
    x, a, b, s = normal(7, 8), normal(5, 8), normal(3, 8), state(n=7)
    (y,) = run("linear", x, a, s, width=8)
    run("linear_into", x, b, y, s, col=5)
    assert np.allclose(y, x @ np.concatenate([a, b]).T, atol=1e-6)


def test_rotation_tables_at_far_positions():
    tables = RopeTables(16, {"rope_theta": 10000.0})
    coarse = np.array(tables.coarse(128), np.float32).reshape(128, 8, 2)
    fine = np.array(tables.fine(), np.float32).reshape(64, 8, 2)
    positions = np.array([0, 1, 63, 64, 769, 8000, 8191])
    cos, sin = rope_rotation(coarse, fine, positions)
    angle = positions[:, None] * np.array(tables.frequencies)
    assert np.abs(cos - np.cos(angle)).max() < 3e-7 and np.abs(sin - np.sin(angle)).max() < 3e-7


def test_attention_is_causal_and_grouped():
    heads, d, n, pos = 4, 8, 3, 5
    k, v = normal(2, 16, d), normal(2, 16, d)
    q = normal(n, heads * d)
    (out,) = run("attention", q, k, v, state(pos, n), scale=0.5)
    for t in range(n):
        for head in range(heads):
            seen = slice(0, pos + t + 1)
            s = k[head // 2, seen].astype(float) @ q[t, head * d:(head + 1) * d] * 0.5
            p = np.exp(s - s.max())
            want = p / p.sum() @ v[head // 2, seen]
            assert np.abs(out[t, head * d:(head + 1) * d] - want).max() < 1e-5
