"""The native device: WebGPU on plain CPython through wgpu-py, with naga as WGSL front end."""
import asyncio
import struct
import time
from collections import Counter
from pathlib import Path

from pyengine import flags
from pyengine.caps import Caps
from pyengine.device.api import Layout, Runner, check_finite, reads, repack_grid, upload_bytes
from pyengine.errors import EngineError
from pyengine.plan.plan import JOB_STRIDE, SLOTS

BINDING_TYPES = {"read": "read-only-storage", "read_write": "storage", "uniform": "uniform"}


def _limits(adapter):
    """The adapter's own limits for what kernels use when offered; the rest stays at WebGPU's
    defaults."""
    wanted = ("max-storage-buffer-binding-size", "max-buffer-size",
              "max-storage-buffers-per-shader-stage")
    return {name: adapter.limits[name] for name in wanted}


class NativeDevice:
    def __init__(self, adapter, device):
        info = adapter.info
        self.device, self.layout = device, Layout()
        software = info["adapter_type"] == "CPU"
        self.caps = Caps(
            f16="shader-f16" in device.features,
            subgroups="subgroup" in device.features,
            software=software,
            max_binding=device.limits["max-storage-buffer-binding-size"],
            max_buffer=device.limits["max-buffer-size"],
            max_storage_buffers=device.limits["max-storage-buffers-per-shader-stage"],
            backend="native",
            vendor=info["vendor"] or info["device"],
        )
        self.identity = " ".join(["native", *(str(info.get(key, "")) for key in (
            "backend_type", "vendor", "device", "description", "vendor_id", "device_id"))])
        self.info = {"backend": "native", "vendor": self.caps.vendor, "f16": self.caps.f16,
                     "subgroups": self.caps.subgroups}

    @classmethod
    async def create(cls):
        """Raises `E_NO_WEBGPU` when wgpu-py is missing or finds no Vulkan, Metal or D3D12
        adapter."""
        try:
            import wgpu

            adapters = [
                a for a in wgpu.gpu.enumerate_adapters_sync() if a.info["backend_type"] != "OpenGL"
            ]
        except (ImportError, RuntimeError, OSError) as error:
            raise EngineError("E_NO_WEBGPU", reason=f"wgpu-py: {error}") from None
        adapters = [a for a in adapters if flags.NATIVE_ADAPTER.lower() in a.summary.lower()]
        adapters.sort(key=lambda a: a.info["adapter_type"] == "CPU")
        if not adapters:
            raise EngineError(
                "E_NO_WEBGPU",
                reason="no native adapter; a Vulkan driver such as Mesa's lavapipe is enough",
            )
        adapter = adapters[0]
        features = [f for f in ("shader-f16", "subgroup", "timestamp-query")
                    if f in adapter.features]
        device = adapter.request_device_sync(required_features=features,
                                             required_limits=_limits(adapter))
        return cls(adapter, device)

    async def prepare(self, plan, progress=None):
        import wgpu
        runner = NativeRunner(self.device, plan, lambda: self.layout)
        try:
            runner.prepare(progress)
        except wgpu.GPUError as error:
            runner.close()
            raise EngineError("E_GPU", what="the plan", detail=str(error)[:2000]) from None
        return runner

    def close(self):
        """Gives the GPU device back; its runners are dead afterwards."""
        self.device.destroy()


def _usage(name):
    """What a plan's buffer is for, by its name."""
    from wgpu import BufferUsage as usage
    if name.startswith("readback"):
        return usage.MAP_READ | usage.COPY_DST
    extra = usage.UNIFORM if name.startswith("jobs.") else 0
    return usage.STORAGE | usage.COPY_DST | usage.COPY_SRC | extra


class _Timer:
    """Two timestamps around a compute pass."""

    def __init__(self, device):
        from wgpu import BufferUsage as usage
        from wgpu.backends.wgpu_native.extras import lib
        self.period = lib.wgpuQueueGetTimestampPeriod(device.queue._internal)  # ns a tick
        self._queries = device.create_query_set(type="timestamp", count=2)
        self.buffer = device.create_buffer(size=16, usage=usage.QUERY_RESOLVE | usage.COPY_SRC)
        self.writes = {"query_set": self._queries, "beginning_of_pass_write_index": 0,
                       "end_of_pass_write_index": 1}

    def resolve(self, encoder):
        encoder.resolve_query_set(self._queries, 0, 2, self.buffer, 0)


def _create_buffers(device, plan):
    """All buffers or none: wgpu-py refuses a size or the sum of them as a validation error,
    whatever the cause."""
    import wgpu
    buffers = []
    try:
        for b in plan.buffers:
            buffers.append(
                device.create_buffer(size=b.nbytes, label=b.name[:80], usage=_usage(b.name))
            )
    except wgpu.GPUError:
        for buffer in buffers:
            buffer.destroy()
        raise EngineError(
            "E_OUT_OF_MEMORY",
            what="the model",
            needed=plan.bytes_needed()["total"],
            available="less",
        ) from None
    return buffers


class NativeRunner(Runner):
    def __init__(self, device, plan, layout=Layout):
        self._device, self._queue, self.plan = device, device.queue, plan
        self._limit = layout
        self._buffers = _create_buffers(device, plan)
        self._layouts, self._pipelines, self._groups, self._programs = {}, [], {}, {}
        self._readback = self._buffers[plan.buffer("readback.0")]
        self._own = []  # buffers beyond the plan's
        self._timer = None
        self.clocks = "gpu" if "timestamp-query" in device.features else "wall"

    # ---- set-up ----------------------------------------------------------------------------------

    def prepare(self, progress=None, programs=None):
        """Compiles the pipelines not known yet and binds `programs` (None: all);
        `progress(done, total)` counts pipelines."""
        known, pipelines = len(self._pipelines), self.plan.pipelines
        for i, pipeline in enumerate(pipelines[known:], known):
            self._pipelines.append(self._compile(pipeline))
            if progress:
                progress(i + 1, len(pipelines))
        for name in self.plan.programs if programs is None else programs:
            self._programs[name] = [(self._pipelines[d.pipeline][0], self._bind(d), d.grid)
                                    for d in self.plan.programs[name]]

    async def extend(self, plan, programs):
        import wgpu
        before, known, self.plan = self.plan, len(self._pipelines), plan
        try:
            self.prepare(programs=programs)
        except wgpu.GPUError as error:
            self.plan = before
            del self._pipelines[known:]
            raise EngineError("E_GPU", what="the plan", detail=str(error)[:2000]) from None

    def _layout(self, access):
        if access not in self._layouts:
            import wgpu
            entries = [{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE,
                        "buffer": {"type": BINDING_TYPES[a]}} for i, a in enumerate(access)]
            self._layouts[access] = self._device.create_bind_group_layout(entries=entries)
        return self._layouts[access]

    def _compile(self, pipeline):
        if flags.DUMP_WGSL:
            path = Path(flags.DUMP_WGSL, pipeline.label.replace("#", "_") + ".wgsl")
            path.write_text(pipeline.code)
        layout = self._layout(pipeline.access)
        # naga takes subgroup operations without the line that Tint demands
        code = pipeline.code.replace("enable subgroups;\n", "")
        module = self._device.create_shader_module(code=code, label=pipeline.label)
        compiled = self._device.create_compute_pipeline(
            layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={"module": module, "entry_point": "main"})
        return compiled, layout

    def _group(self, pipeline, ranges):
        key = pipeline, ranges
        if key not in self._groups:
            self._groups[key] = self._device.create_bind_group(
                layout=self._pipelines[pipeline][1],
                entries=[
                    {
                        "binding": i,
                        "resource": {"buffer": self._buffers[b], "offset": offset, "size": size},
                    }
                    for i, (b, offset, size) in enumerate(ranges)
                ],
            )
        return self._groups[key]

    def _bind(self, dispatch):
        return self._group(
            dispatch.pipeline, tuple((o.buffer, o.offset, o.nbytes) for o in dispatch.operands)
        )

    # ---- weights ---------------------------------------------------------------------------------

    async def ready(self):
        """Pipelines were compiled by the constructor."""

    async def upload(self, files, progress):
        done, total = 0, upload_bytes(self.plan)
        for index, data in self.plan.consts.items():
            self.write(index, 0, data.tobytes())
        for number, read in enumerate(reads(self.plan)):
            raw = await files[read.file].read(read.offset, read.nbytes)
            self._put(read, bytes(raw) + bytes(-len(raw) % 4), number % SLOTS)
            done += sum(self.plan.uploads[p.upload].row_bytes * p.rows for p in read.pieces)
            progress(done, total)

    def _put(self, read, raw, slot):
        """One slice: direct copies, then one submit that repacks the rest from staging."""
        staging, jobs = self.plan.buffer(f"staging.{slot}"), self.plan.buffer(f"jobs.{slot}")
        self.write(staging, 0, raw)
        dispatches = []
        for i, piece in enumerate(read.pieces):
            upload = self.plan.uploads[piece.upload]
            data = memoryview(raw)[piece.start:piece.start + piece.rows * upload.row_bytes]
            check_finite(upload, data)
            if upload.pipeline < 0:
                self.write(upload.buffer, (upload.row0 + piece.row) * upload.dst_row_bytes, data)
                continue
            job = struct.pack("<4I", piece.row, piece.rows, upload.row0, piece.start)
            self.write(jobs, i * JOB_STRIDE, job)
            whole = [(b, 0, self.plan.buffers[b].nbytes) for b in (staging, upload.buffer)]
            group = self._group(upload.pipeline, (*whole, (jobs, i * JOB_STRIDE, 16)))
            pipeline = self._pipelines[upload.pipeline][0]
            dispatches.append((pipeline, group, repack_grid(upload, piece.rows)))
        self._queue.submit([self._recorded(dispatches).finish()])

    # ---- running ---------------------------------------------------------------------------------

    def write(self, buffer, offset, data):
        self._queue.write_buffer(self._buffers[buffer], offset, data)

    def copy(self, pairs):
        encoder = self._device.create_command_encoder()
        for source, target in pairs:
            size = self.plan.buffers[source].nbytes
            encoder.copy_buffer_to_buffer(self._buffers[source], 0, self._buffers[target], 0, size)
        self._queue.submit([encoder.finish()])

    def _encode(self, encoder, dispatches, timestamps=None):
        compute_pass = encoder.begin_compute_pass(timestamp_writes=timestamps)
        for pipeline, group, grid in dispatches:
            compute_pass.set_pipeline(pipeline)
            compute_pass.set_bind_group(0, group)
            compute_pass.dispatch_workgroups(*grid)
        compute_pass.end()

    def _recorded(self, dispatches):
        """The encoder of the last submit of the dispatches; those before it are submitted."""
        *whole, last = self._limit().submits(dispatches)
        for passes in whole:
            self._queue.submit([self._passes(passes).finish()])
        return self._passes(last)

    def _passes(self, passes):
        encoder = self._device.create_command_encoder()
        for dispatches in passes:
            self._encode(encoder, dispatches)
        return encoder

    async def run(self, sequence, read=None):
        encoder = self._recorded([d for names, repeats in sequence for _ in range(repeats)
                                  for name in names for d in self._programs[name]])
        data = self._submit(encoder, read and (self._buffers[read[0]], *read[1:]))
        await asyncio.sleep(0)  # each map leaves the loop a callback: without a turn they pile up
        return data

    def _submit(self, encoder, read=None):
        """Submits; -> the bytes of `read` (GPU buffer, offset, nbytes) once all is done, or None.
        One buffer serves every read: making one for each would be most of a short read's time."""
        if read is None:
            self._queue.submit([encoder.finish()])
            return None
        source, offset, nbytes = read
        if nbytes > self._readback.size:
            self._readback = self._device.create_buffer(size=nbytes, usage=_usage("readback"))
            self._own.append(self._readback)
        encoder.copy_buffer_to_buffer(source, offset, self._readback, 0, nbytes)
        self._queue.submit([encoder.finish()])
        self._readback.map_sync("READ", 0, nbytes)
        data = bytes(self._readback.read_mapped(0, nbytes))
        self._readback.unmap()
        return data

    async def read(self, buffer, offset, nbytes):
        """Bytes of a buffer once all that was submitted is done."""
        return await self.run([], (buffer, offset, nbytes))

    async def clock(self, program, indices=None, repeats=1):
        found = self._programs[program]
        dispatches = (found if indices is None else [found[i] for i in indices]) * repeats
        encoder = self._device.create_command_encoder()
        if self.clocks == "gpu":
            if self._timer is None:
                self._timer = _Timer(self._device)
                self._own.append(self._timer.buffer)
            self._encode(encoder, dispatches, self._timer.writes)
            self._timer.resolve(encoder)
            begin, end = struct.unpack("<2Q", self._submit(encoder, (self._timer.buffer, 0, 16)))
            return (end - begin) * self._timer.period * 1e-9
        self._encode(encoder, dispatches)
        started = time.perf_counter()
        self._submit(encoder, (self._buffers[0], 0, 4))
        return time.perf_counter() - started

    def live(self):
        return Counter(buffers=len(self._buffers) + len(self._own), bind_groups=len(self._groups),
                       pipelines=len(self._pipelines))

    def close(self):
        for buffer in self._buffers + self._own:
            buffer.destroy()
        self._buffers, self._groups, self._pipelines, self._programs = [], {}, [], {}
        self._own, self._timer = [], None
