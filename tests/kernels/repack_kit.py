"""Uploads on a device: tensors of a made-up file are planned, streamed and read back."""

from dataclasses import dataclass

import numpy as np

from pyengine.formats.checkpoint import TensorRef
from pyengine.formats.source import BytesSource
from pyengine.models.builder import Weights
from pyengine.plan.schedule import make_plan
from pyengine.quant import blocks
from pyengine.quant.affine import pack_dense
from pyengine.quant.kinds import WeightKind

SCALE_AT = {"q4_0": (0,), "q4_1": (0, 2), "q5_0": (0,), "q5_1": (0, 2), "q8_0": (0,), "q4_k": (0, 2), "q5_k": (0, 2),
            "q6_k": (208,)}  # bytes of a block where an f16 lies


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: rows x columns in `encoding`, wanted on the device as `kind`."""

    name: str
    encoding: str
    rows: int
    columns: int
    kind: str
    head_dim: int = 0


def raw_bytes(tensor, rng, scale=None):
    """Random bytes of a tensor whose floats, or block scales, are ordinary numbers. `scale` maps an
    array of f16 scales to others, for the extreme ones."""
    count = tensor.rows * tensor.columns
    if tensor.encoding in ("f32", "f16", "bf16"):
        values = rng.normal(size=(1, count)).astype(np.float32)
        packed = pack_dense(values, WeightKind("dense", dtype=tensor.encoding)).tobytes()
        return packed[:blocks.data_bytes(tensor.encoding, count)]
    block = blocks.BLOCKS[tensor.encoding]
    raw = rng.integers(0, 256, (count // block.elements, block.nbytes), np.uint8)
    for at in SCALE_AT[tensor.encoding]:
        halves = rng.uniform(1e-3, 1e-2, len(raw)) * rng.choice([-1, 1], len(raw))
        halves = halves.astype(np.float16) if scale is None else scale(len(raw))
        raw[:, at:at + 2] = halves[:, None].view(np.uint8)
    return raw.tobytes()


def lay_out(tensors, data, gap=0):
    """One file with `gap` bytes before each tensor -> BytesSource, {name: TensorRef}."""
    file, refs = bytearray(), {}
    for tensor in tensors:
        file += bytes([0xAA] * gap)
        refs[tensor.name] = TensorRef(tensor.name, (tensor.rows, tensor.columns), tensor.encoding, 0,
                                      len(file), len(data[tensor.name]), bool(tensor.head_dim))
        file += data[tensor.name]
    return BytesSource("weights.bin", bytes(file)), refs


def plan_uploads(tensors, refs, caps, stacked=()):
    """The plan of the tensors' weight buffers; names in `stacked` share one buffer, in that order."""
    kinds = {tensor.name: WeightKind.parse(tensor.kind) for tensor in tensors}
    weights = Weights(lambda name, columns, embedding: kinds[name])
    alone = [[tensor] for tensor in tensors if tensor.name not in stacked]
    together = [tensor for tensor in tensors if tensor.name in stacked]
    for group in [*alone, together] if together else alone:
        weights.matrix([(t.name, t.rows, t.head_dim) for t in group], group[0].columns)
    return make_plan([], weights, {}, caps, refs)


def wanted(tensor, raw):
    """u32 rows by the oracle."""
    return blocks.repack(raw, tensor.encoding, tensor.rows, tensor.columns,
                         WeightKind.parse(tensor.kind), tensor.head_dim)


async def upload(device, plan, source):
    """Uploads -> {buffer name: u32 words (rows, row words)}, [(done, total)] of the progress."""
    runner, seen = await device.prepare(plan), []
    try:
        await runner.ready()
        await runner.upload([source], lambda done, total: seen.append((done, total)))
        found = {}
        for index, buffer in enumerate(plan.buffers):
            if buffer.part == "weights":
                data = await runner.read(index, 0, buffer.nbytes)
                found[buffer.name] = np.frombuffer(data, np.uint32)
    finally:
        runner.close()
    return found, seen


async def uploaded(device, tensors, data, gap=0, stacked=()):
    """Lays the tensors out in a file, uploads it -> {buffer name: words}, the progress, the plan."""
    source, refs = lay_out(tensors, data, gap)
    plan = plan_uploads(tensors, refs, device.caps, stacked)
    found, seen = await upload(device, plan, source)
    return found, seen, plan
