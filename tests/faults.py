"""A numpy device that fails where it is told to, as gpu_binding.js does when WebGPU fails: the
Python twin of pwa_shell/js/gpu_faults.js."""
from pyengine.device.numpy_ref import NumpyDevice, NumpyRunner
from pyengine.errors import EngineError

KINDS = ("lost", "map", "validation", "memory", "hang")


class Faults:
    """Counts the devices' calls; `plant(kind, at)` makes call number `at` from now (0: the next)
    fail, several times if asked. `live` counts open runners and devices."""

    def __init__(self):
        self.calls, self.live, self.opened = [], 0, 0
        self._planted = []

    def plant(self, kind, at, times=1):
        self._planted += [(len(self.calls) + at, kind)] * times

    @property
    def left(self):
        return len(self._planted)

    async def open(self):
        """A device of its own, as `open_device` of `load_steadily`."""
        return FaultyDevice(self)

    def call(self, name):
        """One call; -> the kind of fault that it meets, or None."""
        number = len(self.calls)
        self.calls.append(name)
        if self._planted and self._planted[0][0] <= number:
            return self._planted.pop(0)[1]
        return None


class FaultyDevice(NumpyDevice):
    def __init__(self, faults):
        super().__init__()
        self._faults, self.failure, self._open = faults, None, True
        faults.live += 1
        faults.opened += 1

    def check(self, name, reads=False):
        """One call on this device. A lost one stays lost, a validation error stays told."""
        kind = self._faults.call(name)
        if kind == "lost":
            self.failure = EngineError("E_DEVICE_LOST", reason="injected")
        elif kind == "validation" or kind == "map" and not reads:
            self.failure = EngineError("E_GPU", what="a command", detail="injected")
        elif kind == "map":
            raise EngineError("E_GPU", what="a readback", detail="injected")
        elif kind == "hang":  # as gpu_binding.js says it after a while
            self.failure = EngineError("E_NO_ANSWER", what="The GPU", seconds=30)
        elif kind == "memory":
            raise EngineError("E_OUT_OF_MEMORY", what="the model", needed=1 << 30, available="less")
        if self.failure is not None:
            raise self.failure

    async def prepare(self, plan, progress=None):
        self.check("prepare")
        return FaultyRunner(plan, self)

    def close(self):
        if self._open:
            self._open = False
            self._faults.live -= 1


class FaultyRunner(NumpyRunner):
    def __init__(self, plan, device):
        super().__init__(plan)
        self._device, self._open = device, True
        device._faults.live += 1

    def write(self, buffer, offset, data):
        self._device.check("write")
        super().write(buffer, offset, data)

    def copy(self, pairs):
        self._device.check("copy")
        super().copy(pairs)

    async def ready(self):
        self._device.check("ready")

    async def run(self, sequence, read=None):
        self._device.check("run", reads=True)
        return await super().run(sequence, read)

    async def read(self, buffer, offset, nbytes):
        self._device.check("read", reads=True)
        return await super().read(buffer, offset, nbytes)

    async def clock(self, program, indices=None, repeats=1):
        self._device.check("clock")
        return await super().clock(program, indices, repeats)

    def close(self):
        if self._open:
            self._open = False
            self._device._faults.live -= 1
        super().close()
