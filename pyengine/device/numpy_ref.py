"""The oracle device: replays a plan with the ops' numpy references, on the plan's own buffers and
arena offsets."""
import time

from pyengine.caps import Caps
from pyengine.decode import state as st
from pyengine.device.api import Layout, Runner, check_finite, upload_bytes
from pyengine.ir import (  # noqa: F401  registers their ops
    audio_ops, codec_ops, hybrid_ops, mask_ops, sample_ops, split_ops)
from pyengine.ir.ops import OPS
from pyengine.lazy import np
from pyengine.quant import affine, blocks
from pyengine.quant.kinds import WeightKind

DTYPES = {"f32": "<f4", "u32": "<u4", "f16x2": "<f2"}


class NumpyRunner(Runner):
    def __init__(self, plan):
        self.plan = plan
        skipped = ("staging",)
        self._memory = [
            np.zeros(0 if b.part in skipped else b.nbytes, np.uint8) for b in plan.buffers
        ]
        # (buffer, offset) -> dequantised weight: unpacking again for every step would be most of
        # its time
        self._dense = {}
        self._state = plan.buffer("state") if any(b.name == "state" for b in plan.buffers) else None

    async def ready(self):
        """Nothing to compile."""

    async def upload(self, files, progress):
        done, total = 0, upload_bytes(self.plan)
        for index, data in self.plan.consts.items():
            self.write(index, 0, data.tobytes())
        for upload in self.plan.uploads:
            raw = await files[upload.file].read(upload.offset, upload.rows * upload.row_bytes)
            check_finite(upload, raw)
            self._put(upload, raw)
            done += len(raw)
            progress(done, total)

    def _put(self, upload, raw):
        if upload.part == "kernel":
            self._put_kernel(upload, raw)
            return
        kind, start = WeightKind.parse(upload.kind), upload.row0 * upload.dst_row_bytes
        if upload.part in ("rows", "shifted"):
            packed = blocks.repack(
                raw, upload.encoding, upload.rows, upload.columns, kind, upload.head_dim
            )
            if upload.part == "shifted":
                packed.view("<f4")[:, :upload.columns] -= 1
            self.write(upload.buffer, start, packed.tobytes())
            return
        memory = self._memory[upload.buffer][start:start + upload.rows * upload.dst_row_bytes]
        blocks.place(raw, upload.part, memory.view("<u4").reshape(upload.rows, -1), kind)

    def _put_kernel(self, upload, raw):
        values = blocks.dequantize(raw, upload.encoding, upload.rows * upload.columns)
        values = values.reshape(upload.rows, -1, upload.taps).transpose(2, 1, 0)
        memory = self._memory[upload.buffer].view("<f4")
        memory.reshape(upload.taps, -1, upload.outputs)[:, :values.shape[1], :upload.rows] = values

    def write(self, buffer, offset, data):
        self._memory[buffer][offset:offset + len(data)] = np.frombuffer(data, np.uint8)

    def copy(self, pairs):
        for source, target in pairs:
            self._memory[target][:] = self._memory[source]

    def _weight(self, operand):
        key = operand.buffer, operand.offset
        if key not in self._dense:
            value, kind = operand.value, WeightKind.parse(operand.value.dtype)
            rows, columns = value.shape
            words = self._view(operand, "<u4", (rows, kind.row_words(columns)))
            self._dense[key] = affine.unpack(words, kind, columns)
        return self._dense[key]

    def _view(self, operand, dtype, shape):
        count = int(np.prod(shape))
        return np.frombuffer(self._memory[operand.buffer], dtype, count, operand.offset).reshape(
            shape
        )

    def _array(self, operand):
        value = operand.value
        if value.dtype not in DTYPES:
            return self._weight(operand)
        return self._view(operand, DTYPES[value.dtype], value.shape)

    def _stopped(self):
        return self._state is not None and self._memory[self._state].view("<u4")[st.STOPPED]

    async def run(self, sequence, read=None):
        for names, repeats in sequence:
            self._replay([d for name in names for d in self.plan.programs[name]] * repeats)
        return await self.read(*read) if read else None

    def _replay(self, dispatches):
        for dispatch in dispatches:
            node = dispatch.node
            if self._stopped() and not OPS[node.op].always:
                continue
            arrays = [self._array(operand) for operand in dispatch.operands]
            results = OPS[node.op].reference(dict(node.attrs), *arrays[:len(node.inputs)])
            for array, result in zip(arrays[len(node.inputs):], results, strict=True):
                array[...] = result

    async def clock(self, program, indices=None, repeats=1):
        found = self.plan.programs[program]
        dispatches = (found if indices is None else [found[i] for i in indices]) * repeats
        started = time.perf_counter()
        self._replay(dispatches)
        return time.perf_counter() - started

    async def extend(self, plan, programs):
        self.plan = plan

    async def read(self, buffer, offset, nbytes):
        return self._memory[buffer][offset:offset + nbytes].tobytes()

    def live(self):
        return {"buffers": len(self._memory)}

    def close(self):
        self._memory, self._dense = [], {}


class NumpyDevice:
    """The reference device on plain CPython: slow, exact in what it means."""
    identity = "numpy"
    layout = Layout()

    def __init__(self, caps=None):
        self.caps = caps or Caps(backend="numpy", vendor="numpy")
        self.info = {"backend": "numpy", "vendor": "numpy", "f16": False, "subgroups": False}

    async def prepare(self, plan, progress=None):
        return NumpyRunner(plan)

    def close(self):
        """Holds nothing."""
