"""What every device offers. A device turns a `Plan` into a `Runner`; a runner holds the memory and replays programs."""
from typing import Protocol

from pyengine.kernels.spec import ceil_div
from pyengine.plan.plan import SLICE

WORKGROUP = 64       # threads of a repack workgroup
MAX_GRID = 65535


class Runner(Protocol):
    """One model on one device."""

    async def upload(self, files, progress):
        """Streams every weight from `files` (ByteSources, by number) and every constant; `progress(bytes done, bytes in all)`."""

    def write(self, buffer, offset, data):
        """Queues `data` (bytes, a multiple of 4 long) into buffer number `buffer`."""

    async def run(self, sequence, read=None):
        """Replays [(program name, repeats)] in one submit; -> bytes of `read` = (buffer, offset, nbytes), or None."""

    def live(self):
        """{kind of object: how many exist}: what a leak test compares."""

    def close(self):
        """Releases everything. A closed runner is not used again."""


class Device(Protocol):
    """`caps` is a `kernels.spec.Caps`; `info` has backend, vendor, f16, subgroups for `engine.stats()`."""

    async def prepare(self, plan, progress=None):
        """Creates buffers and bind groups, compiles pipelines; -> Runner. Raises `E_OUT_OF_MEMORY`, `E_GPU`."""


def slices(upload):
    """(first row, rows) pieces of an upload of at most SLICE bytes, whole rows each."""
    most = max(1, SLICE // max(upload.row_bytes, upload.dst_row_bytes))
    return [(row, min(most, upload.rows - row)) for row in range(0, upload.rows, most)]


def repack_grid(upload, rows):
    """Workgroups (x, y, 1) for `rows` rows of an upload's repack kernel."""
    groups = ceil_div(rows * upload.units_per_row, WORKGROUP)
    x = min(groups, MAX_GRID)
    return x, ceil_div(groups, x), 1


def upload_bytes(plan):
    """File bytes that an upload reads in all."""
    return sum(u.row_bytes * u.rows for u in plan.uploads)
