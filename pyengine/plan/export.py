"""Plan -> what crosses to JavaScript, once per model: one JSON text and one array of integers."""
import json
from array import array

from pyengine.device.api import reads, repack_grid
from pyengine.plan.plan import JOB_STRIDE, READBACKS, SLOTS


def _upload_rows(plan, read):
    """Per piece: [pipeline, buffer, destination byte (direct) or 0, start, nbytes, row, rows, row0,
    grid x, grid y, number of an upload in "finite" or -1]."""
    rows = []
    for piece in read.pieces:
        u = plan.uploads[piece.upload]
        grid = repack_grid(u, piece.rows)
        destination = (u.row0 + piece.row) * u.dst_row_bytes
        rows.append([u.pipeline, u.buffer, destination, piece.start, piece.rows * u.row_bytes,
                     piece.row, piece.rows, u.row0, *grid[:2],
                     piece.upload if u.exponent else -1])
    return rows


def _starts(plan, names):
    """{name: [start in `program_ints(plan, names)`, dispatches]}."""
    starts, at = {}, 0
    for name in names:
        starts[name] = [at, len(plan.programs[name])]
        at += sum(5 + 3 * len(d.operands) for d in plan.programs[name])
    return starts


def _pipeline_rows(pipelines):
    return [[p.label, p.code, p.access] for p in pipelines]


def extension_json(plan, known, names):
    """The pipelines from number `known` on, and [number, start, dispatches] of the programs
    `names` in the array of `program_ints(plan, names)`."""
    numbers = {name: number for number, name in enumerate(plan.programs)}
    return json.dumps({
        "pipelines": _pipeline_rows(plan.pipelines[known:]),
        "programs": [[numbers[name], *where] for name, where in _starts(plan, names).items()],
    })


def _late_pipelines(plan, late):
    """Numbers of the pipelines that only the programs `late` have."""
    early = {d.pipeline for name, found in plan.programs.items() if name not in late for d in found}
    early |= {u.pipeline for u in plan.uploads}
    return sorted({d.pipeline for name in late for d in plan.programs[name]} - early)


def header_json(plan, late=()):
    """Buffers, pipelines, uploads and where each program lies in the array of `program_ints`;
    `late`: names of programs that nobody waits for before they run."""
    return json.dumps({
        "buffers": [[b.name[:80], b.nbytes] for b in plan.buffers],
        "pipelines": _pipeline_rows(plan.pipelines),
        "programs": _starts(plan, plan.programs),
        "uploads": [[r.file, r.offset, r.nbytes, _upload_rows(plan, r)] for r in reads(plan)],
        # {upload number: [tensor, bytes of a number, mask of its exponent]}: must be finite
        "finite": {i: [u.tensor[:120], *u.exponent]
                   for i, u in enumerate(plan.uploads) if u.exponent},
        "staging": [plan.buffer(f"staging.{slot}") for slot in range(SLOTS)],
        "jobs": [plan.buffer(f"jobs.{slot}") for slot in range(SLOTS)],
        "readbacks": [plan.buffer(f"readback.{i}") for i in range(READBACKS)],
        "jobStride": JOB_STRIDE,
        "late": _late_pipelines(plan, late),
    })


def program_ints(plan, names=None):
    """Of the programs `names` (None: all), per dispatch: pipeline, grid x, y, z, operand count,
    then (buffer, offset, nbytes) of each operand."""
    ints = array("I")
    for name in plan.programs if names is None else names:
        for d in plan.programs[name]:
            ints.extend((d.pipeline, *d.grid, len(d.operands)))
            for o in d.operands:
                ints.extend((o.buffer, o.offset, o.nbytes))
    return ints
