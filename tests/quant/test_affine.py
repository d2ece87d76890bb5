"""Affine and dense rows: the bit layout, round trips at awkward sizes, and MLX's quantiser."""

from pathlib import Path

import numpy as np
import pytest

from pyengine.formats.checkpoint import open_path
from pyengine.quant import affine, blocks
from pyengine.quant.kinds import WeightKind

GOLDENS = Path(__file__).parents[1] / "goldens"
AFFINE = [
    WeightKind("affine", bits, group, scale)
    for bits in (4, 8)
    for group in (16, 32, 64, 128)
    for scale in ("f16", "bf16", "f32")
]
QUANTISED = [kind for kind in AFFINE if kind.scale != "bf16"]  # others are only read from files


def ids(kind):
    return kind.name


def random_parts(kind, N, K, seed=3):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << kind.bits, (N, K), dtype=np.uint8)
    scales, biases = rng.standard_normal((2, N, K // kind.group)).astype(np.float16)
    if kind.scale == "bf16":
        scales, biases = affine.from_bf16(affine.to_bf16(np.stack([scales, biases])))
    return codes, scales.astype(np.float32), biases.astype(np.float32)


def read_element(words, kind, K, i):
    """Element i of one row, word by word from the layout's definition."""
    per_word = 32 // kind.bits
    code = int(words[i // per_word]) >> (i % per_word) * kind.bits & (1 << kind.bits) - 1
    at, group = kind.code_words(K), i // kind.group
    if kind.scale == "bf16":
        pair = np.array([words[at + group] << 16, words[at + group] & 0xFFFF0000]).view(np.float32)
    elif kind.scale == "f16":
        pair = words[at + group : at + group + 1].view(np.float16)
    else:
        pair = words[at + 2 * group : at + 2 * group + 2].view(np.float32)
    return np.float32(pair[0]) * np.float32(code) + np.float32(pair[1])


@pytest.mark.parametrize("kind", AFFINE, ids=ids)
@pytest.mark.parametrize("N, groups", [(1, 1), (7, 3), (83, 7)])
def test_pack_then_unpack_gives_the_parts_back(kind, N, groups):
    K = groups * kind.group
    parts = random_parts(kind, N, K)
    packed = affine.pack(*parts, kind)
    assert packed.shape == (N, kind.row_words(K)) and packed.dtype == np.uint32
    for got, wanted in zip(affine.unpack_parts(packed, kind, K), parts, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert not packed[:, kind.code_words(K) + kind.scale_words(K) :].any()


@pytest.mark.parametrize("kind", AFFINE, ids=ids)
def test_elements_lie_where_the_layout_says(kind):
    K = 3 * kind.group
    packed = affine.pack(*random_parts(kind, 2, K), kind)
    whole = affine.unpack(packed, kind, K)
    for n, i in [(0, 0), (0, 1), (1, kind.group - 1), (1, kind.group), (1, K - 1)]:
        assert whole[n, i] == read_element(packed[n], kind, K, i)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("N, K", [(1, 1), (7, 83), (3, 769), (5, 64)])
def test_dense_rows_keep_values_of_their_dtype(dtype, N, K):
    kind = WeightKind("dense", dtype=dtype)
    w = np.random.default_rng(5).standard_normal((N, K)).astype(np.float32)
    if dtype == "f16":
        w = w.astype(np.float16).astype(np.float32)
    if dtype == "bf16":
        w = (w.view(np.uint32) & 0xFFFF0000).view(np.float32)
    packed = affine.pack_dense(w, kind)
    assert packed.shape == (N, kind.row_words(K))
    np.testing.assert_array_equal(affine.unpack(packed, kind, K), w)


def test_bf16_rounds_to_nearest_even_and_keeps_nan():
    w = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7FC00000], np.uint32)
    bits = affine.to_bf16(w.view(np.float32))
    assert [hex(b) for b in bits[:4]] == ["0x3f80", "0x3f82", "0x3f81", "0x7f80"]
    assert np.isnan(affine.from_bf16(bits)[4])


@pytest.mark.parametrize("name", ["layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"])
def test_quantiser_reproduces_mlx_bit_for_bit(name, run):
    golden = np.load(GOLDENS / "quant/mlx_affine4_g64.npz")
    checkpoint = run(open_path(GOLDENS / "models-tiny/llama"))
    ref = checkpoint.tensors[f"model.{name}.weight"]
    raw = run(checkpoint.files[ref.file].read(ref.offset, ref.nbytes))
    checkpoint.close()
    N, K = ref.shape
    kind = WeightKind("affine", 4, 64, "f32")
    packed = affine.quantize(blocks.dequantize(raw, ref.encoding, N * K).reshape(N, K), kind)
    _, scales, biases = affine.unpack_parts(packed, kind, K)
    np.testing.assert_array_equal(packed[:, : K // 8], golden[f"model.{name}.weight"])
    np.testing.assert_array_equal(scales, golden[f"model.{name}.scales"])
    np.testing.assert_array_equal(biases, golden[f"model.{name}.biases"])


@pytest.mark.parametrize("kind", QUANTISED, ids=ids)
@pytest.mark.parametrize("spread", [1e-3, 0.02, 1.0, 3e4])
def test_quantised_weights_are_within_one_step(kind, spread):
    N, K = 7, 3 * kind.group
    w = (np.random.default_rng(7).standard_normal((N, K)) * spread).clip(-6e4, 6e4)
    w = w.astype(np.float32)
    got = affine.unpack(affine.quantize(w, kind), kind, K)
    grouped = w.reshape(N, -1, kind.group)
    step = np.ptp(grouped, axis=-1, keepdims=True) / ((1 << kind.bits) - 1)
    if kind.scale == "f16":
        step = np.maximum(step, affine.F16_MIN_NORMAL)
    error = np.abs(got.reshape(grouped.shape) - grouped) / step
    # MLX moves the grid so that zero and one edge are exact, which can cost the other edge a step
    assert error.max() <= 1.02, np.unravel_index(error.argmax(), error.shape)
    assert error.mean() < 0.3


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_the_best_for_the_stored_f16_scales(bits):
    kind = WeightKind("affine", bits, 32, "f16")
    w = np.random.default_rng(9).standard_normal((7, 96)).astype(np.float32) * np.float32(0.02)
    codes, scales, biases = affine.unpack_parts(affine.quantize(w, kind), kind, 96)
    grid = np.arange(1 << bits, dtype=np.float32)[:, None, None, None]
    values = grid * scales[..., None] + biases[..., None]  # (codes, N, G, 1)
    error = np.abs(values - w.reshape(7, 3, 32))
    mine = np.take_along_axis(error, codes.reshape(1, 7, 3, 32).astype(int), 0)[0]
    np.testing.assert_allclose(mine, error.min(0), atol=1e-7)


@pytest.mark.parametrize("kind", QUANTISED, ids=ids)
def test_zero_and_constant_groups(kind):
    K = 2 * kind.group
    w = np.zeros((2, K), np.float32)
    w[1, : kind.group] = 0.375
    np.testing.assert_array_equal(affine.unpack(affine.quantize(w, kind), kind, K), w)


@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-5, 1e-3])
def test_f16_scales_are_never_subnormal(spread):
    kind = WeightKind("affine", 8, 32, "f16")
    w = np.random.default_rng(15).standard_normal((7, 32)).astype(np.float32) * np.float32(spread)
    _, scales, _ = affine.unpack_parts(affine.quantize(w, kind), kind, 32)
    assert np.abs(scales).min() >= affine.F16_MIN_NORMAL


def test_weights_beyond_f16_are_held_at_its_edge():
    kind = WeightKind("affine", 8, 16, "f16")
    w = np.full((1, 16), 1e6, np.float32)
    got = affine.unpack(affine.quantize(w, kind), kind, 16)
    assert np.isfinite(got).all() and got.min() >= affine.F16_MAX
