"""A convolution's weights on their way from a file to (taps, channels, outputs)."""
import asyncio

import numpy as np
import pytest

from pyengine.device.numpy_ref import NumpyDevice
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import TensorRef
from pyengine.formats.source import BytesSource
from pyengine.kernels.repack import FLOATS
from pyengine.models.builder import Weights
from pyengine.plan.plan import SLICE
from pyengine.plan.schedule import make_plan
from pyengine.quant.affine import pack_dense
from pyengine.quant.blocks import data_bytes, dequantize
from pyengine.quant.kinds import WeightKind
from tests.checkpoints import device as open_device
from tests.kernels.repack_kit import upload

F32 = WeightKind("dense", dtype="f32")


def floats(encoding, count):
    values = np.random.default_rng(count).normal(size=(1, count)).astype(np.float32)
    packed = pack_dense(values, WeightKind("dense", dtype=encoding)).tobytes()
    return packed[:data_bytes(encoding, count)]


def plan_of(shape, encoding, caps, gap=0):
    out, channels, taps = shape
    raw = floats(encoding, out * channels * taps)
    refs = {"w": TensorRef("w", shape, encoding, 0, gap, len(raw))}
    weights = Weights(lambda name, columns, embedding: F32)
    weights.kernel("w", out, channels, taps)
    source = BytesSource("weights.bin", bytes(gap) + raw)
    return make_plan([], weights, {}, caps, refs), source, raw


@pytest.mark.parametrize("name", ["numpy", "native"])
@pytest.mark.parametrize("encoding", FLOATS)
def test_a_kernel_is_turned_and_padded(name, encoding):
    device = open_device(name)
    for shape in ((1, 1, 2), (7, 27, 3), (28, 16, 7), (83, 5, 11)):
        out, channels, taps = shape
        plan, source, raw = plan_of(shape, encoding, device.caps, gap=2)
        found, _ = asyncio.run(upload(device, plan, source))
        got = found["w"].view(np.float32).reshape(taps, -(-channels // 4) * 4, -(-out // 4) * 4)
        want = dequantize(raw, encoding, out * channels * taps).reshape(shape).transpose(2, 1, 0)
        assert (got[:, :channels, :out] == want).all(), shape
        assert not got[:, channels:].any() and not got[:, :, out:].any(), "the padding is not zero"


def test_a_kernel_of_several_slices():
    """Its rows come in several reads, each to columns of its own."""
    shape = (600, 120, 11)
    device = open_device("native")
    plan, source, raw = plan_of(shape, "f32", device.caps)
    assert len(raw) > SLICE
    found, seen = asyncio.run(upload(device, plan, source))
    want = dequantize(raw, "f32", 600 * 120 * 11).reshape(shape).transpose(2, 1, 0)
    assert (found["w"].view(np.float32).reshape(want.shape) == want).all() and len(seen) > 1


def test_a_quantised_kernel_is_refused():
    refs = {"w": TensorRef("w", (7, 64, 3), "q8_0", 0, 0, 7 * 6 * 34)}
    weights = Weights(lambda name, columns, embedding: F32)
    weights.kernel("w", 7, 64, 3)
    with pytest.raises(EngineError) as caught:
        make_plan([], weights, {}, NumpyDevice().caps, refs)
    assert caught.value.code == "E_UNSUPPORTED_TENSOR" and "'w'" in caught.value.message
