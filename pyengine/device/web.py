"""The web device: WebGPU through `pwa_shell/gpu_binding.js`. The only file that may import js.

Python hands over the plan once and makes one call a burst; nothing but integers and typed arrays
crosses per call, and weights go from the file reader to the GPU without entering Python's heap
(wasm memory never shrinks).
"""
import json

from pyengine.caps import Caps
from pyengine.device.api import Layout, Runner
from pyengine.errors import MESSAGES, EngineError
from pyengine.plan.plan import late_programs

try:
    from js import Object
    from pyodide.ffi import JsException, create_proxy, to_js
except ImportError as error:  # plain CPython: importable for its docs, not usable
    raise ImportError("pyengine.device.web runs in Pyodide only; use device.native here") from error


def _coded(error):
    """The EngineError that gpu_binding.js meant, or E_GPU."""
    code = getattr(error, "code", None)
    facts = getattr(error, "facts", None)
    if isinstance(code, str) and code in MESSAGES and facts is not None:
        return EngineError(code, **facts.to_py())
    return EngineError("E_GPU", what="a command", detail=str(error)[:2000])


def _reader_of(source, proxies):
    """JavaScript's reader of a source; one over Python's own, for what is small and lies in memory,
    whose proxies the caller destroys."""
    reader = getattr(source, "reader", None)
    if reader is not None:
        return reader

    async def read(offset, length):
        return to_js(await source.read(offset, length))

    proxies.append(create_proxy(read))
    return to_js({"name": source.name, "size": source.size, "read": proxies[-1]},
                 dict_converter=Object.fromEntries)


class WebDevice:
    def __init__(self, binding):
        self._binding, self._layout = binding, Layout()
        self.facts = binding.describe()  # JSON text: all that a plan depends on of the device
        facts = json.loads(self.facts)
        self.caps = Caps(
            f16=facts["f16"],
            subgroups=facts["subgroups"],
            subgroup=facts["subgroup"],
            software=facts["software"],
            max_binding=facts["maxBinding"],
            max_buffer=facts["maxBuffer"],
            max_storage_buffers=facts["maxStorageBuffers"],
            backend="webgpu",
            vendor=facts["vendor"],
        )
        self.identity = facts["identity"]
        self.info = {
            "backend": "webgpu",
            "vendor": facts["vendor"],
            "architecture": facts["architecture"],
            "f16": self.caps.f16,
            "subgroups": self.caps.subgroups,
        }

    @classmethod
    async def opened(cls, binding):
        """The device of a promised binding. Raises `E_NO_WEBGPU`, `E_NO_ANSWER`, `E_GPU`."""
        try:
            return cls(await binding)
        except JsException as error:
            raise _coded(error) from None

    @property
    def layout(self):
        return self._layout

    @layout.setter
    def layout(self, layout):
        self._layout = layout
        self._binding.setLayout(layout.passes, layout.dispatches)

    async def prepare(self, plan, progress=None):
        from pyengine.plan import export  # late: a start by a kept plan exports nothing

        callback = create_proxy(progress or (lambda done, total: None))
        try:
            handle = await self._binding.prepare(
                export.header_json(plan, self.late(plan)), to_js(export.program_ints(plan)),
                callback,
            )
        except JsException as error:
            callback.destroy()
            raise _coded(error) from None
        return WebRunner(handle, plan, callback, self.late(plan))

    def late(self, plan):
        """Names of the programs whose pipelines are made behind "ready"."""
        return late_programs(plan, self.caps.software)

    def attach(self, started, plan):
        """The runner that JavaScript began by a kept plan (`started` of warm_start.js)."""
        return WebRunner(started.runner, plan, None, self.late(plan), started)

    def exported(self, plan):
        """(header JSON, Uint32Array of programs, [[buffer, bytes of its constants]]) for
        JavaScript to keep."""
        from pyengine.plan import export

        consts = [[index, data.tobytes()] for index, data in plan.consts.items()]
        header = export.header_json(plan, self.late(plan))
        return header, to_js(export.program_ints(plan)), to_js(consts)

    def close(self):
        """Gives the GPU device back; its runners are dead afterwards."""
        self._binding.destroy()


class WebRunner(Runner):
    ahead = 2  # one burst computes while the browser encodes the next

    def __init__(self, handle, plan, compile_callback, late, started=None):
        self._handle, self.plan, self._compile_callback = handle, plan, compile_callback
        self.late = late
        self._started = started  # its upload is under way, its constants are written
        self._sequences = {}  # sequence -> Int32Array: the same few every token
        self._known = len(plan.pipelines)
        self.clocks = "gpu" if handle.gpuClock else "wall"

    async def upload(self, files, progress):
        for index, data in self.plan.consts.items():
            self.write(index, 0, data.tobytes())
        proxies = [callback := create_proxy(progress)]
        try:
            if self._started is not None:
                await self._started.uploaded(callback)
            else:
                readers = [_reader_of(source, proxies) for source in files]
                await self._handle.upload(to_js(readers), callback)
        except JsException as error:
            raise _coded(error) from None
        finally:
            for proxy in proxies:
                proxy.destroy()

    async def ready(self):
        try:
            await self._asked(self._handle.ready())
        finally:
            self._drop_callback()

    def begin_late(self):
        self._handle.beginLate()

    async def settled(self):
        await self._asked(self._handle.settled())

    def _drop_callback(self):
        if self._compile_callback is not None:
            self._compile_callback.destroy()
            self._compile_callback = None

    def write(self, buffer, offset, data):
        self._handle.write(buffer, offset, to_js(data))

    def copy(self, pairs):
        self._handle.copy(to_js([index for pair in pairs for index in pair]))

    def _program_numbers(self):
        return {name: number for number, name in enumerate(self.plan.programs)}

    def _sequence(self, sequence):
        key = tuple((tuple(names), repeats) for names, repeats in sequence)
        if key not in self._sequences:
            numbers, flat = self._program_numbers(), []
            for names, repeats in key:
                flat += [repeats, len(names), *(numbers[name] for name in names)]
            self._sequences[key] = to_js(flat)
        return self._sequences[key]

    async def run(self, sequence, read=None):
        return await self.submit(sequence, read)

    def submit(self, sequence, read=None):
        buffer, offset, nbytes = read or (-1, 0, 0)
        running = self._handle.run(self._sequence(sequence), buffer, offset, nbytes)
        return self._result(running, read)

    async def _result(self, promise, read):
        data = await self._asked(promise)
        return data.to_bytes() if read else None

    async def run_masked(self, before, asked, buffer, after, read, steps):
        reply = asked.pending
        if not hasattr(reply, "promise"):
            return await super().run_masked(before, asked, buffer, after, read, steps)
        told = await self._asked(self._handle.runMasked(
            self._sequence(before), self._sequence(after), reply.promise, reply.asker, buffer,
            to_js(steps.word), steps.count, to_js(sorted(steps.stops)), to_js(read)))
        found = {"later": reply.again(told.later)} if told.reply is None else json.loads(told.reply)
        return found, told.data.to_bytes(), told.forwards

    async def read(self, buffer, offset, nbytes):
        return await self.run([], (buffer, offset, nbytes))

    async def clock(self, program, indices=None, repeats=1):
        number = self._program_numbers()[program]
        return await self._asked(self._handle.clock(number, to_js(indices or []), repeats))

    async def extend(self, plan, programs):
        from pyengine.plan import export

        header = export.extension_json(plan, self._known, programs)
        await self._asked(self._handle.extend(header, to_js(export.program_ints(plan, programs))))
        self.plan, self._known = plan, len(plan.pipelines)
        self._sequences = {}

    async def _asked(self, promise):
        try:
            return await promise
        except JsException as error:
            raise _coded(error) from None

    def live(self):
        return json.loads(self._handle.live())

    def close(self):
        self._drop_callback()
        self._sequences = {}
        self._handle.close()
