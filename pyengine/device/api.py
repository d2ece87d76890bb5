"""What every device offers. A device turns a `Plan` into a `Runner`; a runner holds the memory and
replays programs."""
from dataclasses import dataclass
from typing import Protocol

from pyengine.errors import EngineError
from pyengine.lazy import np
from pyengine.plan.plan import JOBS, SLICE

NOT_FINITE = "it has values that are infinite or no numbers"  # gpu_binding.js says the same
WORKGROUP = 64       # threads of a repack workgroup
MAX_GRID = 65535


class Runner(Protocol):
    """One model on one device. `ahead`: how many submits may be under way at once to some use;
    `clocks`: what `clock` reads, "gpu" (timestamps around the pass) or "wall" (the host's); `late`:
    programs that `ready` does not wait for: their pipelines are made after `begin_late`, when a run
    needs them or nothing runs. Nothing may be written or copied before such a first run has ended.
    """
    ahead, late = 1, frozenset()
    clocks = "wall"

    async def upload(self, files, progress):
        """Streams every weight from `files` (ByteSources, by number) and every constant;
        `progress(bytes done, bytes in all)`."""

    async def ready(self):
        """Waits until every pipeline that is not late is compiled. Raises `E_GPU`."""

    def begin_late(self):
        """From now on late pipelines are compiled, one by one, while nothing runs."""

    async def settled(self):
        """Waits until those are compiled too."""

    def write(self, buffer, offset, data):
        """Queues `data` (bytes, a multiple of 4 long) into buffer number `buffer`."""

    async def run(self, sequence, read=None):
        """Replays [(program names, repeats)], each group of names in turn, in one encoder, one pass
        and one submit;
        -> the bytes of `read` = (buffer, offset, nbytes) afterwards, or None."""

    def copy(self, pairs):
        """Queues a copy of each whole buffer: [(from, to)], buffers of one size."""

    def submit(self, sequence, read=None):
        """As `run`, but where `ahead` > 1 the work is under way when this returns; -> an awaitable
        of what `run` gives, which must be awaited."""
        return self.run(sequence, read)

    async def run_masked(self, before, asked, buffer, after, read, steps):
        """`run(before)`, then into `buffer` the mask of the reply that `asked` gives (a grammar's
        step, `decode/grammar.py`), then `run(after, read)`; and so on for `steps` (of
        `decode/grammar.py` too), where the device can ask by itself.

        -> (the last reply that was waited for; the bytes that each step read; how many times
        `before` was begun: once more than steps where that reply lets no id pass, or behind a stop,
        where the device may have left it out). {later: a reply} says that the device failed behind
        the last one."""
        await self.run(before)
        reply = await asked
        if not reply.get("accepted") or reply["empty"]:
            return reply, b"", 1
        self.write(buffer, 0, reply["mask"])
        return reply, await self.run(after, read), 1

    async def clock(self, program, indices=None, repeats=1):
        """Seconds that `repeats` times the dispatches `indices` (None: all) of a program take, one
        after the other in one pass. They compute what they always do: state and KV change."""

    async def extend(self, plan, programs):
        """Goes on with `plan`, whose buffers are the same and whose pipelines begin with those
        known: compiles the new ones and binds the named programs anew. Raises `E_GPU`, and goes on
        with the old plan then."""

    def live(self):
        """{kind of object: how many exist}: what a leak test compares."""

    def close(self):
        """Releases everything. A closed runner is not used again."""


class Device(Protocol):
    """`caps` is a `kernels.spec.Caps`; `info` has backend, vendor, f16, subgroups for
    `engine.stats()`; `identity` is a text that changes with the adapter, its driver and the
    browser, as far as they tell."""

    async def prepare(self, plan, progress=None):
        """Creates buffers and starts compiling; -> Runner. Raises `E_OUT_OF_MEMORY`, `E_GPU`."""

    def close(self):
        """Gives the device back; its runners are dead afterwards."""


@dataclass(frozen=True)
class Layout:
    """How dispatches lie in command buffers: at most `dispatches` a submit (0: any number), in
    `passes` compute passes. A device's `layout` holds from its next run on."""
    passes: int = 1
    dispatches: int = 0

    @property
    def per_pass(self):
        return -(-self.dispatches // self.passes)

    def submits(self, dispatches):
        """[[dispatches of a pass] of a submit]; one empty submit where there is nothing to do."""
        size = self.dispatches or len(dispatches) or 1
        step = self.per_pass or size
        found = [dispatches[i:i + size] for i in range(0, len(dispatches), size)] or [[]]
        return [[part[i:i + step] for i in range(0, len(part), step)] for part in found]


@dataclass(frozen=True)
class Piece:
    """Rows `row .. row + rows` of upload number `upload`, from byte `start` of their read."""
    upload: int
    row: int
    rows: int
    start: int


@dataclass(frozen=True)
class Read:
    """One contiguous range of a file, at most SLICE bytes, and the pieces in it: one staging slice,
    one submit."""
    file: int
    offset: int
    nbytes: int
    pieces: tuple


def _pieces(uploads):
    """(upload number, row, rows) of at most SLICE bytes, whole rows each, in file order."""
    for number, upload in enumerate(uploads):
        most = max(1, SLICE // upload.row_bytes)
        for row in range(0, upload.rows, most):
            yield number, row, min(most, upload.rows - row)


def reads(plan):
    """The plan's uploads as [Read] in file order: neighbouring tensors share a read."""
    found, group = [], []  # group: (begin, end, number, row, rows) of the read being filled

    def flush():
        if group:
            begin = group[0][0]
            pieces = tuple(Piece(n, row, rows, at - begin) for at, _, n, row, rows in group)
            found.append(Read(plan.uploads[group[0][2]].file, begin, group[-1][1] - begin, pieces))
            group.clear()

    for number, row, rows in _pieces(plan.uploads):
        upload = plan.uploads[number]
        begin = upload.offset + row * upload.row_bytes
        end = begin + rows * upload.row_bytes
        if group and (plan.uploads[group[0][2]].file != upload.file or end - group[0][0] > SLICE
                      or begin < group[-1][1] or len(group) == JOBS):
            flush()
        group.append((begin, end, number, row, rows))
    flush()
    return found


def check_finite(upload, raw):
    """Raises `E_UNSUPPORTED_TENSOR` where `raw`, bytes of an upload, has scales or biases that are
    infinite or not numbers: every row they are in would be."""
    if upload.exponent is None:
        return
    size, mask = upload.exponent
    bits = np.frombuffer(raw, "<u2" if size == 2 else "<u4")
    if ((bits & mask) == mask).any():
        raise EngineError("E_UNSUPPORTED_TENSOR", tensor=upload.tensor, detail=NOT_FINITE)


def repack_grid(upload, rows):
    """Workgroups (x, y, 1) for `rows` rows of an upload's repack kernel."""
    groups = -(-rows * upload.units_per_row // WORKGROUP)
    x = min(groups, MAX_GRID)
    return x, -(-groups // x), 1


def upload_bytes(plan):
    """File bytes that an upload reads in all."""
    return sum(u.row_bytes * u.rows for u in plan.uploads)
