"""The null device: runs nothing, records everything; most tests of the decode loop need no more."""
from pyengine.caps import Caps
from pyengine.device.api import Layout, Runner


class NullRunner(Runner):
    """Records `writes` and `runs`; reads answer zeros, or what `respond(sequence, read)` gives."""

    def __init__(self, plan, respond=None):
        self.plan = plan
        self.writes, self.runs, self.copies = [], [], []
        self._respond = respond
        self.closed = False

    async def ready(self):
        """Nothing to compile."""

    async def upload(self, files, progress):
        for upload in self.plan.uploads:
            await files[upload.file].read(upload.offset, upload.row_bytes * upload.rows)

    def write(self, buffer, offset, data):
        self.writes.append((self.plan.buffers[buffer].name, offset, bytes(data)))

    def copy(self, pairs):
        self.copies.append(tuple(pairs))

    async def run(self, sequence, read=None):
        self.runs.append(tuple(sequence))
        if read is None:
            return None
        return self._respond(sequence, read) if self._respond else bytes(read[2])

    async def read(self, buffer, offset, nbytes):
        return bytes(nbytes)

    async def clock(self, program, indices=None, repeats=1):
        self.runs.append((((program,), repeats),))
        return 0.0

    async def extend(self, plan, programs):
        self.plan = plan

    def live(self):
        return {"buffers": 0 if self.closed else len(self.plan.buffers)}

    def close(self):
        self.closed = True


class NullDevice:
    layout = Layout()

    def __init__(self, caps=None, respond=None):
        self.caps, self.identity = caps or Caps(), "null"
        self.info = {"backend": "null", "vendor": "", "f16": self.caps.f16,
                     "subgroups": self.caps.subgroups}
        self._respond = respond

    async def prepare(self, plan, progress=None):
        return NullRunner(plan, self._respond)

    def close(self):
        """Holds nothing."""
