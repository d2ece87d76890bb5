"""File bytes to weight rows on a GPU, against the numpy oracle `quant.blocks.repack`."""

import asyncio
import zlib
from dataclasses import replace

import numpy as np
import pytest

from pyengine.device.api import reads
from pyengine.device.numpy_ref import NumpyDevice
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import TensorRef
from pyengine.formats.source import BytesSource
from pyengine.kernels.repack import BLOCKED, FLOATS, VARIANTS
from pyengine.plan.plan import JOBS, SLICE
from pyengine.quant import affine
from pyengine.quant.blocks import BLOCKS
from pyengine.quant.kinds import WeightKind, for_encoding
from tests.checkpoints import device as open_device
from tests.formats.mlx_writer import float_bytes
from tests.kernels.repack_kit import Tensor, plan_uploads, raw_bytes, upload, uploaded, wanted

ENCODINGS = FLOATS + BLOCKED


@pytest.fixture(scope="module")
def device():
    return open_device("native")


def data_of(tensors, **options):
    return {t.name: raw_bytes(t, np.random.default_rng(zlib.crc32(repr(t).encode())), **options)
            for t in tensors}


def check_exact(tensors, device, gap=0, **options):
    data = data_of(tensors, **options)
    found, _, _ = asyncio.run(uploaded(device, tensors, data, gap))
    for tensor in tensors:
        want = wanted(tensor, data[tensor.name])
        got = found[tensor.name].reshape(want.shape)
        differ = np.argwhere(got != want)
        assert len(differ) == 0, f"{tensor}: {len(differ)} words differ, first at {differ[0]}"


# ---- exact -------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0, 1, 2, 3])
def test_files_own_codes_are_kept(device, gap):
    tensors = [Tensor(f"{encoding}.{rows}", encoding, rows, columns, for_encoding(encoding, columns).name)
               for encoding in BLOCKED
               for rows, columns in ((1, 256), (7, 768), (83, 256), (13, 1792))]
    tensors += [Tensor(f"narrow.{encoding}", encoding, 83, 32, for_encoding(encoding, 32).name)
                for encoding in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")]
    check_exact(tensors, device, gap)


@pytest.mark.parametrize("encoding", FLOATS)
@pytest.mark.parametrize("columns", [1, 7, 36, 83, 769])
def test_floats_are_kept(device, encoding, columns):
    tensors = [Tensor("same", encoding, 17, columns, f"dense_{encoding}"),
               Tensor("f32", encoding, 7, columns, "dense_f32"),
               Tensor("one row", encoding, 1, columns, "dense_f32")]
    check_exact(tensors, device, gap=2)


@pytest.mark.parametrize("encoding", BLOCKED)
def test_blocks_become_floats(device, encoding):
    """Equal as numbers: compilers may turn scale * code + bias around, which moves a zero's sign."""
    tensor = Tensor("w", encoding, 7, 768, "dense_f32")
    data = data_of([tensor])
    found, _, _ = asyncio.run(uploaded(device, [tensor], data, gap=1))
    want = wanted(tensor, data["w"]).view(np.float32)
    assert (found["w"].view(np.float32).reshape(want.shape) == want).all()


def special(values):
    return lambda count: np.resize(np.array(values, np.float16), count)


@pytest.mark.parametrize("encoding", BLOCKED)
def test_infinite_scales_stay_infinite(device, encoding):
    """NaN scales are left out: the formats have none, and WGSL need not keep a NaN."""
    tensor = Tensor("w", encoding, 7, 256, for_encoding(encoding, 256).name)
    data = data_of([tensor], scale=special([np.inf, 1, -np.inf, 65504, 0, -0.0]))
    found, _, _ = asyncio.run(uploaded(device, [tensor], data))
    kind = WeightKind.parse(tensor.kind)
    want = wanted(tensor, data["w"])
    got = affine.unpack_parts(found["w"].reshape(want.shape), kind, 256)
    with np.errstate(invalid="ignore"):
        for a, b in zip(got, affine.unpack_parts(want, kind, 256), strict=True):
            assert (a[~np.isnan(b)] == b[~np.isnan(b)]).all()  # 0 * inf is NaN in the oracle


@pytest.mark.parametrize("encoding", BLOCKED)
def test_subnormal_scales_are_kept_or_become_zero(device, encoding):
    """WGSL lets a device flush f16 subnormals, scales below 6.1e-5: the weights lose at most that."""
    tensor = Tensor("w", encoding, 7, 256, for_encoding(encoding, 256).name)
    data = data_of([tensor], scale=special([1e-5, 6e-8, 0.5, -3e-5]))
    found, _, _ = asyncio.run(uploaded(device, [tensor], data))
    kind = WeightKind.parse(tensor.kind)
    want = wanted(tensor, data["w"])
    got = affine.unpack_parts(found["w"].reshape(want.shape), kind, 256)
    codes, scales, biases = affine.unpack_parts(want, kind, 256)
    assert (got[0] == codes).all()
    assert ((got[1] == scales) | (got[1] == 0)).all()
    assert (np.abs(got[2] - biases) <= 128 * 63 * 2.0**-14).all()


def test_float_bits_are_copied(device):
    """Infinities and subnormals of 16-bit floats go through untouched where the kind is the file's."""
    halves = np.arange(65536, dtype=np.uint16)
    for encoding in ("f16", "bf16"):
        tensor = Tensor("w", encoding, 86, 761, f"dense_{encoding}")
        data = {"w": halves[:86 * 761].tobytes()}
        found, _, _ = asyncio.run(uploaded(device, [tensor], data, gap=2))
        rows = found["w"].reshape(86, -1).view(np.uint16)[:, :761]
        assert (rows.reshape(-1) == halves[:86 * 761]).all()


# ---- quantising --------------------------------------------------------------------------------


def quantised(encoding, kind, rows=13, columns=256):
    return Tensor("w", encoding, rows, columns, kind)


def check_quantised(tensor, data, words):
    """The oracle's scales and codes but for ties, which other roundings of scale may turn over."""
    kind = WeightKind.parse(tensor.kind)
    want = wanted(tensor, data["w"])
    got = words.reshape(want.shape)
    codes, scales, biases = affine.unpack_parts(want, kind, tensor.columns)
    got_codes, got_scales, got_biases = affine.unpack_parts(got, kind, tensor.columns)
    # WGSL's division is within 2.5 ulp: an f16 step where that crosses a rounding edge
    assert np.allclose(got_scales, scales, rtol=2.0**-10), np.abs(got_scales - scales).max()
    assert np.allclose(got_biases, biases, rtol=2.0**-10, atol=1e-7)
    moved = np.abs(got_codes.astype(int) - codes) > 0
    same_scale = np.repeat(got_scales == scales, kind.group, 1)
    assert (moved & same_scale).mean() <= 1e-3 and moved.mean() <= 0.05
    step = np.repeat(np.abs(scales), kind.group, 1)
    diff = np.abs(affine.unpack(got, kind, tensor.columns) - affine.unpack(want, kind, tensor.columns))
    assert (diff <= step * 1.01 + 1e-6).all() and (diff / step).mean() < 0.01
    assert (got[:, kind.code_words(tensor.columns) + kind.scale_words(tensor.columns):] == 0).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_quantises_as_the_oracle_does(device, encoding, bits):
    groups = (16, 32, 64, 128) if encoding in FLOATS else (64,)
    for group in groups:
        tensor = quantised(encoding, f"affine{bits}_g{group}_f16")
        data = data_of([tensor])
        found, _, _ = asyncio.run(uploaded(device, [tensor], data, gap=1))
        check_quantised(tensor, data, found["w"])


@pytest.mark.parametrize("bits", [4, 8])
def test_quantises_groups_of_one_value(device, bits):
    """Constant, zero, tiny and huge groups: nothing divides by zero or leaves f16's range."""
    values = np.zeros((7, 256), np.float32)
    values[1], values[2], values[3], values[4] = 1.5, -2.25, 1e-9, 3e4
    values[5, ::2], values[6, 5] = -1e-6, 1.0
    tensor = quantised("f32", f"affine{bits}_g64_f16", 7)
    data = {"w": values.tobytes()}
    found, _, _ = asyncio.run(uploaded(device, [tensor], data))
    want = affine.unpack(wanted(tensor, data["w"]), WeightKind.parse(tensor.kind), 256)
    got = affine.unpack(found["w"].reshape(7, -1), WeightKind.parse(tensor.kind), 256)
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2.0**-14)


# ---- rows in RoPE order ------------------------------------------------------------------------


@pytest.mark.parametrize("head_dim", [2, 16, 36, 64])
@pytest.mark.parametrize("encoding, kind", [
    ("f32", "dense_f32"), ("f16", "dense_f16"), ("q8_0", "affine8_g32_f16"),
    ("q4_k", "affine4_g32_f32")])
def test_interleaved_rows_are_put_in_halves(device, encoding, kind, head_dim):
    tensor = Tensor("q", encoding, 3 * head_dim, 256, kind, head_dim)
    plain = Tensor("plain", encoding, head_dim, 256, kind)
    check_exact([plain, tensor], device, gap=3)


def test_interleaved_rows_in_several_slices(device):
    """A slice that begins inside a head still knows where its rows belong."""
    tensor = Tensor("q", "f32", 36 * 30, 1024, "dense_f32", 36)
    check_exact([tensor], device, gap=5)
    assert tensor.rows * tensor.columns * 4 > SLICE


# ---- slices ------------------------------------------------------------------------------------


def test_a_tensor_of_several_slices(device):
    check_exact([Tensor("a", "f32", 7, 83, "dense_f32"), Tensor("big", "q8_0", 769, 8192, "affine8_g32_f16"),
                 Tensor("b", "bf16", 3, 7, "dense_bf16")], device, gap=1)


def test_many_small_tensors_share_reads(device):
    rows = [1, 7, 3, 2, 13]
    tensors = [Tensor(f"t{i}", ENCODINGS[i % 9], rows[i % 5], 256,
                      for_encoding(ENCODINGS[i % 9], 256).name) for i in range(150)]
    data = data_of(tensors)
    found, seen, plan = asyncio.run(uploaded(device, tensors, data, gap=3))
    counts = [len(read.pieces) for read in reads(plan)]
    assert sum(counts) == 150 and max(counts) == JOBS and len(counts) == 3
    for tensor in tensors:
        assert (found[tensor.name] == wanted(tensor, data[tensor.name]).reshape(-1)).all(), tensor
    total = sum(map(len, data.values()))
    assert seen[-1] == (total, total) and seen == sorted(seen)


def test_stacked_tensors_share_a_buffer(device):
    tensors = [Tensor("q", "q4_k", 32, 256, "affine4_g32_f32", 16),
               Tensor("x", "f32", 1, 7, "dense_f32"),
               Tensor("k", "q4_k", 16, 256, "affine4_g32_f32", 16),
               Tensor("v", "q4_k", 7, 256, "affine4_g32_f32")]
    data = data_of(tensors)
    found, _, _ = asyncio.run(uploaded(device, tensors, data, 1, stacked=("q", "k", "v")))
    want = np.concatenate([wanted(t, data[t.name]) for t in tensors if t.name != "x"])
    assert (found["q+k+v"] == want.reshape(-1)).all()


def test_numpy_uploads_the_same(device):
    """The oracle device's upload gives what the oracle's repack gives."""
    tensors = [Tensor(f"{e}", e, 12, 512, for_encoding(e, 512).name, 12 if e == "f32" else 0)
               for e in ENCODINGS]
    check_exact(tensors, NumpyDevice(), gap=1)


# ---- codes, scales and biases that are tensors of their own (MLX) ---------------------------------


def joined(kind, rows, columns, gap, seed=11):
    """(file, TensorRef with its scales and biases, the weight rows that they make)."""
    rng, groups = np.random.default_rng(seed), columns // kind.group
    codes = rng.integers(0, 1 << kind.bits, (rows, columns)).astype(np.uint8)
    pairs = rng.normal(size=(2, rows, groups)).astype(np.float16).astype(np.float32)
    if kind.scale == "bf16":
        pairs = affine.from_bf16(affine.to_bf16(pairs))
    packed = affine.pack(codes, *pairs, kind)
    words = packed[:, :kind.code_words(columns)]
    file, refs = bytearray(), {}
    for name, array in (("w.biases", pairs[1]), ("w.scales", pairs[0]), ("w", words)):
        raw = array.tobytes() if name == "w" else float_bytes(array, kind.scale)[2]
        file += bytes([0xAA] * gap)
        refs[name] = TensorRef(name, array.shape, kind.scale, 0, len(file), len(raw))
        file += raw
    ref = replace(refs["w"], encoding=kind.name, scales=refs["w.scales"], biases=refs["w.biases"])
    return BytesSource("weights.bin", bytes(file)), ref, packed


@pytest.mark.parametrize("gap", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("bits, group, rows, columns", [
    (4, 64, 83, 192), (8, 32, 7, 32), (4, 128, 1, 128), (8, 64, 5125, 1024)])
def test_joined_tensors_make_weight_rows(device, bits, group, rows, columns, scale, gap):
    """The largest needs two slices for its codes, which end within its rows' scales."""
    kind = WeightKind("affine", bits, group, scale)
    source, ref, want = joined(kind, rows, columns, gap)
    for target in (device, NumpyDevice()):
        plan = plan_uploads([Tensor("w", kind.name, rows, columns, kind.name)], {"w": ref},
                            target.caps)
        found, _ = asyncio.run(upload(target, plan, source))
        assert (found["w"] == want.reshape(-1)).all()


# ---- refusals ----------------------------------------------------------------------------------


def test_a_row_beyond_a_slice_is_refused(device):
    tensor = Tensor("wide", "f32", 1, SLICE // 4 + 4, "dense_f32")
    with pytest.raises(EngineError) as caught:
        asyncio.run(uploaded(device, [tensor], {"wide": bytes(SLICE + 16)}))
    assert caught.value.code == "E_UNSUPPORTED_TENSOR" and "wide" in str(caught.value)


@pytest.mark.parametrize("encoding, kind", [
    ("f32", "dense_bf16"), ("q8_0", "dense_f16"), ("f16", "affine4_g32_f32")])
def test_a_pair_without_a_kernel_is_refused(device, encoding, kind):
    with pytest.raises(EngineError) as caught:
        asyncio.run(uploaded(device, *one(Tensor("w", encoding, 7, 256, kind))))
    assert caught.value.code == "E_UNSUPPORTED_TENSOR" and kind in str(caught.value)


def one(tensor):
    return [tensor], data_of([tensor])


def test_every_variant_is_tested():
    """The encodings and modes above are those of the table; "kernel", the place of a convolution's
    taps, is tests/audio/test_codec.py's."""
    found = {v["encoding"] for v in VARIANTS if v["mode"] != "place"}
    assert found == set(ENCODINGS) <= set(BLOCKS)
    assert {v["mode"] for v in VARIANTS} == {"exact", "quantize", "dense", "place", "kernel"}
