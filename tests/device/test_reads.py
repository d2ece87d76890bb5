"""How an upload is cut into reads: every row once, in file order, within a staging slice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pyengine.device.api import MAX_GRID, reads, repack_grid, upload_bytes
from pyengine.plan.export import header_json, program_ints
from pyengine.plan.plan import JOBS, SLICE, Plan
from tests.device.plans import counter_plan, service_buffers, upload

ROW_BYTES = (4, 7, 18, 34, 1000, 65536, SLICE // 2 + 1, SLICE)


def plan_of(shapes):
    """[(file step, gap, rows, row bytes)] -> a plan of uploads that lie one after the other."""
    uploads, at, file = [], 0, 0
    for number, (step, gap, rows, row_bytes) in enumerate(shapes):
        at, file = (0, file + 1) if step else (at, file)
        uploads.append(upload(number, at + gap, rows, row_bytes, file))
        at += gap + rows * row_bytes
    return Plan(buffers=service_buffers(), uploads=uploads)


shapes = some.lists(some.tuples(some.booleans(), some.integers(0, 99), some.integers(1, 83),
                                some.sampled_from(ROW_BYTES)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(shapes)
def test_every_row_is_read_once(found):
    plan = plan_of(found)
    rows = {number: [] for number in range(len(plan.uploads))}
    last = (-1, 0)
    for read in reads(plan):
        assert (read.file, read.offset) >= last and 0 < read.nbytes <= SLICE
        assert 0 < len(read.pieces) <= JOBS
        last = (read.file, read.offset + read.nbytes)
        for piece in read.pieces:
            up = plan.uploads[piece.upload]
            assert read.file == up.file
            assert read.offset + piece.start == up.offset + piece.row * up.row_bytes
            assert piece.start + piece.rows * up.row_bytes <= read.nbytes
            rows[piece.upload] += range(piece.row, piece.row + piece.rows)
    assert rows == {n: list(range(up.rows)) for n, up in enumerate(plan.uploads)}
    assert upload_bytes(plan) == sum(r * b for _, _, r, b in found)


def test_small_neighbours_share_a_read():
    assert len(reads(plan_of([(False, 3, 7, 18)] * JOBS))) == 1
    assert len(reads(plan_of([(False, 3, 7, 18)] * (JOBS + 1)))) == 2
    assert len(reads(plan_of([(False, 0, 1, 4), (True, 0, 1, 4)]))) == 2
    assert reads(Plan()) == []


@pytest.mark.parametrize("rows, units", [(1, 1), (83, 48), (65535, 64), (248320, 128)])
def test_a_grid_covers_its_units(rows, units):
    up = upload(0, 0, rows, 4)
    x, y, z = repack_grid(type(up)(**{**vars(up), "units_per_row": units}), rows)
    assert max(x, y, z) <= MAX_GRID and z == 1
    assert x * y * 64 >= rows * units > (x * y - x) * 64 - x * 64


def test_the_export_is_the_plan():
    """What crosses to JavaScript says the same as the plan."""
    plan = counter_plan(sizes=(256, 512))
    plan.programs["twice"] = plan.programs["step"] * 2
    plan.uploads = [upload(0, 8, 3, 16)]
    header, ints = json.loads(header_json(plan)), list(program_ints(plan))
    assert header["buffers"][:2] == [["b0", 256], ["b1", 512]]
    assert header["programs"] == {"step": [0, 1], "twice": [8, 2]}
    assert ints == [0, 1, 1, 1, 1, 0, 0, 16] * 3
    (file, offset, nbytes, ((pipeline, buffer, _, start, size, row, rows, *_),)), = header["uploads"]
    assert (file, offset, nbytes, pipeline, buffer) == (0, 8, 48, -1, 0)
    assert (start, size, row, rows) == (0, 48, 0, 3)
    assert [header["buffers"][i][0] for i in header["readbacks"]] == ["readback.0", "readback.1"]
    assert [header["buffers"][i][0] for i in header["jobs"]] == [f"jobs.{i}" for i in range(4)]
