"""Plan -> what crosses to JavaScript, once per model: one JSON text and one array of integers."""
import json
from array import array

from pyengine.device.api import reads, repack_grid
from pyengine.plan.plan import JOB_STRIDE, READBACKS, SLOTS


def _upload_rows(plan, read):
    """Per piece: [pipeline, buffer, destination byte (direct) or 0, start, nbytes, row, rows, row0,
    grid x, grid y]."""
    rows = []
    for piece in read.pieces:
        u = plan.uploads[piece.upload]
        grid = repack_grid(u, piece.rows)
        destination = (u.row0 + piece.row) * u.dst_row_bytes
        rows.append([u.pipeline, u.buffer, destination, piece.start, piece.rows * u.row_bytes,
                     piece.row, piece.rows, u.row0, grid[0], grid[1]])
    return rows


def header_json(plan):
    """Buffers, pipelines, uploads and where each program lies in the array of `program_ints`."""
    starts, at = {}, 0
    for name, dispatches in plan.programs.items():
        starts[name] = [at, len(dispatches)]
        at += sum(5 + 3 * len(d.operands) for d in dispatches)
    return json.dumps({
        "buffers": [[b.name[:80], b.nbytes] for b in plan.buffers],
        "pipelines": [[p.label, p.code, p.access] for p in plan.pipelines],
        "programs": starts,
        "uploads": [[r.file, r.offset, r.nbytes, _upload_rows(plan, r)] for r in reads(plan)],
        "staging": [plan.buffer(f"staging.{slot}") for slot in range(SLOTS)],
        "jobs": [plan.buffer(f"jobs.{slot}") for slot in range(SLOTS)],
        "readbacks": [plan.buffer(f"readback.{i}") for i in range(READBACKS)],
        "jobStride": JOB_STRIDE,
    })


def program_ints(plan):
    """Per dispatch: pipeline, grid x, y, z, operand count, then (buffer, offset, nbytes) of each
    operand."""
    ints = array("I")
    for dispatches in plan.programs.values():
        for d in dispatches:
            ints.extend((d.pipeline, *d.grid, len(d.operands)))
            for o in d.operands:
                ints.extend((o.buffer, o.offset, o.nbytes))
    return ints
