"""GGUF blocks against a slow scalar reading of ggml's formulas and ggml's own values; repacking."""

from pathlib import Path

import numpy as np
import pytest

from pyengine.errors import EngineError
from pyengine.quant import affine
from pyengine.quant.blocks import BLOCKS, data_bytes, dequantize, repack, unpermute_rope
from pyengine.quant.kinds import WeightKind, for_encoding

GOLDENS = Path(__file__).parents[1] / "goldens/quant/ggml_blocks.npz"
QUANTS = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"]
HALVES = {"q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q4_k": [0, 2],
          "q5_k": [0, 2], "q6_k": [208]}
F = np.float32


def random_raw(encoding, n_blocks, seed=11):
    """Random blocks with finite scales."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (n_blocks, BLOCKS[encoding].nbytes), dtype=np.uint8)
    for at in HALVES[encoding]:
        half = (rng.standard_normal(n_blocks) * 0.05).astype("<f2")
        raw[:, at : at + 2] = half.view(np.uint8).reshape(-1, 2)
    return raw.tobytes()


def half(block, at):
    return F(np.frombuffer(block[at : at + 2], "<f2")[0])


def k_scale(q, j):
    """(scale, min) number j of the 12 packed bytes of q4_k and q5_k."""
    if j < 4:
        return q[j] & 63, q[j + 4] & 63
    return q[j + 4] & 15 | (q[j - 4] >> 6) << 4, q[j + 4] >> 4 | (q[j] >> 6) << 4


def slow_small(b, encoding):
    d = half(b, 0)
    if encoding == "q8_0":
        return [d * F(q - 256 if q > 127 else q) for q in b[2:]]
    if encoding in ("q5_0", "q5_1"):
        at = 2 if encoding == "q5_0" else 4
        fifth = int.from_bytes(b[at : at + 4], "little")
        least = d * F(-16) if encoding == "q5_0" else half(b, 2)
        codes = [q & 15 for q in b[at + 4 :]] + [q >> 4 for q in b[at + 4 :]]
        return [d * F(q | (fifth >> i & 1) << 4) + least for i, q in enumerate(codes)]
    if encoding == "q4_0":
        low, high = [d * F((q & 15) - 8) for q in b[2:]], [d * F((q >> 4) - 8) for q in b[2:]]
    else:
        m = half(b, 2)
        low, high = [d * F(q & 15) + m for q in b[4:]], [d * F(q >> 4) + m for q in b[4:]]
    return low + high


def slow_q45_k(b, encoding):
    d, dmin, out = half(b, 0), half(b, 2), []
    fifth, qs = (b[16:48], b[48:]) if encoding == "q5_k" else (bytes(32), b[16:])
    for j in range(8):
        scale, least = k_scale(b[4:16], j)
        for i in range(32):
            byte = qs[j // 2 * 32 + i]
            q = (byte >> 4 if j % 2 else byte & 15) + 16 * (fifth[i] >> j & 1)
            out.append(d * F(scale) * F(q) - dmin * F(least))
    return out


def slow_q6_k(b):
    d, out = half(b, 208), [F(0)] * 256
    for n in range(2):
        ql, qh, sc = b[64 * n : 64 * n + 64], b[128 + 32 * n : 160 + 32 * n], b[192 + 8 * n :]
        for i in range(32):
            lows = [ql[i] & 15, ql[i + 32] & 15, ql[i] >> 4, ql[i + 32] >> 4]
            for part, low in enumerate(lows):
                q = (low | (qh[i] >> 2 * part & 3) << 4) - 32
                scale = sc[i // 16 + 2 * part]
                scale = scale - 256 if scale > 127 else scale
                out[128 * n + 32 * part + i] = d * F(scale) * F(q)
    return out


def slow_dequantize(raw, encoding):
    size, out = BLOCKS[encoding].nbytes, []
    for at in range(0, len(raw), size):
        b = raw[at : at + size]
        if encoding == "q6_k":
            out += slow_q6_k(b)
        else:
            out += slow_q45_k(b, encoding) if "k" in encoding else slow_small(b, encoding)
    return np.array(out, np.float32)


@pytest.mark.parametrize("encoding", QUANTS)
@pytest.mark.parametrize("n_blocks", [1, 7])
def test_equals_the_scalar_formula(encoding, n_blocks):
    raw = random_raw(encoding, n_blocks)
    got = dequantize(raw, encoding, n_blocks * BLOCKS[encoding].elements)
    np.testing.assert_array_equal(got, slow_dequantize(raw, encoding))


@pytest.mark.parametrize("encoding", QUANTS)
def test_equals_ggml(encoding):
    golden = np.load(GOLDENS)
    wanted = golden[encoding + ".f32"]
    got = dequantize(golden[encoding + ".raw"].tobytes(), encoding, wanted.size)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("encoding", QUANTS)
@pytest.mark.parametrize("N, blocks_per_row", [(1, 1), (7, 3), (83, 1)])
def test_repacking_as_kept_is_exact(encoding, N, blocks_per_row):
    K = blocks_per_row * BLOCKS[encoding].elements
    raw = random_raw(encoding, N * blocks_per_row)
    kind = for_encoding(encoding, K)
    got = affine.unpack(repack(raw, encoding, N, K, kind), kind, K)
    np.testing.assert_array_equal(got.ravel(), dequantize(raw, encoding, N * K))


@pytest.mark.parametrize("encoding", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("N, K", [(1, 1), (7, 83), (2, 769)])
def test_floats_are_kept_exactly(encoding, N, K):
    rng = np.random.default_rng(13)
    bits = rng.standard_normal((N, K)).astype(np.float32)
    raw = {"f32": bits, "f16": bits.astype("<f2"), "bf16": affine.to_bf16(bits)}[encoding].tobytes()
    kind = for_encoding(encoding, K)
    packed = repack(raw, encoding, N, K, kind)
    item = len(raw) // (N * K)
    assert packed[1 % N].tobytes()[: K * item] == raw[(1 % N) * K * item : (1 % N + 1) * K * item]
    got = affine.unpack(packed, kind, K)
    np.testing.assert_array_equal(got.ravel(), dequantize(raw, encoding, N * K))


def test_other_affine_kinds_are_quantised_from_f32():
    raw = random_raw("q8_0", 6)
    kind = WeightKind("affine", 4, 64, "f16")
    wanted = affine.quantize(dequantize(raw, "q8_0", 192).reshape(3, 64), kind)
    np.testing.assert_array_equal(repack(raw, "q8_0", 3, 64, kind), wanted)


def test_blocks_can_become_dense():
    raw = random_raw("q4_k", 2)
    kind = WeightKind("dense", dtype="f32")
    got = affine.unpack(repack(raw, "q4_k", 2, 256, kind), kind, 256)
    np.testing.assert_array_equal(got.ravel(), dequantize(raw, "q4_k", 512))


@pytest.mark.parametrize("heads, hd", [(1, 2), (3, 8), (9, 64)])
def test_rope_rows_return_to_halves(heads, hd):
    rows = np.arange(heads * hd, dtype=np.float32)[:, None]
    # llama.cpp's own permutation of a matrix in Hugging Face's order
    permuted = rows.reshape(heads, 2, hd // 2, 1).swapaxes(1, 2).reshape(heads * hd, 1)
    np.testing.assert_array_equal(unpermute_rope(permuted, hd), rows)
    kind = WeightKind("dense", dtype="f32")
    packed = repack(permuted.tobytes(), "f32", heads * hd, 1, kind, rope_head_dim=hd)
    np.testing.assert_array_equal(affine.unpack(packed, kind, 1), rows)


def test_rope_row_formula():
    hd = 8
    got = unpermute_rope(np.arange(hd)[:, None], hd).ravel()
    for j in range(hd // 2):
        for part in range(2):
            assert got[part * hd // 2 + j] == 2 * j + part


@pytest.mark.parametrize("hd", [3, 5, 14])
def test_impossible_head_dim_is_refused(hd):
    with pytest.raises(EngineError) as caught:
        unpermute_rope(np.zeros((8, 1)), hd)
    assert caught.value.code == "E_BAD_REQUEST"


@pytest.mark.parametrize("encoding", QUANTS + ["f32", "f16", "bf16"])
def test_short_data_and_part_blocks_are_refused(encoding):
    elements = BLOCKS[encoding].elements * 2
    raw = bytes(data_bytes(encoding, elements))
    with pytest.raises(EngineError) as caught:
        dequantize(raw[:-1], encoding, elements)
    assert caught.value.code == "E_TRUNCATED"
    if BLOCKS[encoding].elements > 1:
        with pytest.raises(EngineError) as caught:
            dequantize(raw, encoding, elements - 1)
        assert caught.value.code == "E_BAD_REQUEST"


def test_integers_hold_no_weights():
    with pytest.raises(EngineError) as caught:
        dequantize(bytes(8), "i32", 2)
    assert caught.value.code == "E_UNSUPPORTED_TENSOR"
