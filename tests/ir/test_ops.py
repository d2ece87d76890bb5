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
