"""Uploads: reads cover every row of every tensor once, in file order; the export says the same."""
import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pyengine.compile import compile_model
from pyengine.device.api import MAX_GRID, reads, repack_grid, upload_bytes
from pyengine.plan.export import header_json, program_ints
from pyengine.plan.plan import JOBS, SLICE, Plan, Upload
from tests.checkpoints import checkpoint, config, device, tensors


def upload(file, offset, row_bytes, rows, pipeline=0, units=1):
    return Upload(
        "t",
        file,
        offset,
        row_bytes,
        rows,
        0,
        0,
        row_bytes,
        pipeline,
        units,
        "f32",
        "dense_f32",
        1,
        0,
    )


@some.composite
def plans(draw):
    """Uploads in file order: gaps, several files, rows from one byte to a whole slice."""
    uploads, file, offset = [], 0, 0
    for _ in range(draw(some.integers(0, 90))):
        if draw(some.integers(0, 9)) == 0:
            file, offset = file + 1, 0
        offset += draw(some.sampled_from([0, 0, 0, 1, 31, 769, SLICE]))
        row_bytes = draw(some.sampled_from([1, 4, 83, 1152, 65536, SLICE // 2 + 1, SLICE]))
        rows = draw(some.sampled_from([1, 2, 7, 83, 769]))
        rows = min(rows, max(1, 5 * SLICE // row_bytes))
        uploads.append(upload(file, offset, row_bytes, rows))
        offset += row_bytes * rows
    return Plan(uploads=uploads)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(plans())
def test_every_row_once_in_file_order(plan):
    covered, at = {i: 0 for i in range(len(plan.uploads))}, (0, 0)
    for read in reads(plan):
        assert 0 < read.nbytes <= SLICE and 1 <= len(read.pieces) <= JOBS
        assert (read.file, read.offset) >= at
        at = read.file, read.offset + read.nbytes
        for piece in read.pieces:
            u = plan.uploads[piece.upload]
            assert piece.row == covered[piece.upload] and piece.rows > 0 and u.file == read.file
            assert read.offset + piece.start == u.offset + piece.row * u.row_bytes
            assert 0 <= piece.start and piece.start + piece.rows * u.row_bytes <= read.nbytes
            covered[piece.upload] += piece.rows
    assert covered == {i: u.rows for i, u in enumerate(plan.uploads)}


def test_neighbours_share_a_read():
    plan = Plan(uploads=[upload(0, 0, 1000, 7), upload(0, 7000, 500, 2), upload(0, 8032, 4, 1)])
    (read,) = reads(plan)
    assert (read.offset, read.nbytes, [p.start for p in read.pieces]) == (0, 8036, [0, 7000, 8032])
    many = Plan(uploads=[upload(0, 4 * i, 4, 1) for i in range(JOBS + 1)])
    assert [len(read.pieces) for read in reads(many)] == [JOBS, 1]


def test_a_tensor_used_twice_is_read_twice():
    """An embedding that is also the head, of another kind: a read never goes back."""
    plan = Plan(uploads=[upload(0, 64, 1000, 7), upload(0, 64, 1000, 7), upload(0, 7064, 4, 1)])
    assert [(r.offset, r.nbytes, [p.upload for p in r.pieces]) for r in reads(plan)] == [
        (64, 7000, [0]), (64, 7004, [1, 2])]


@pytest.mark.parametrize("rows,units", [(1, 1), (7, 83), (769, 576), (1 << 20, 4096)])
def test_a_grid_has_a_thread_for_every_unit(rows, units):
    x, y, z = repack_grid(upload(0, 0, 4, rows, units=units), rows)
    assert (
        x <= MAX_GRID and y <= MAX_GRID and z == 1 and 64 * x * y >= rows * units > 64 * (x * y - x)
    )


@pytest.fixture(scope="module")
def model():
    source = checkpoint(config(), tensors(config()), {"model.layers.0.mlp.up_proj.weight": "F16"})
    return compile_model(source.config, source.tensors, quant="keep"), source


def test_a_model_s_uploads_fill_its_weight_buffers(model):
    plan, source = model[0].plan, model[1]
    assert {u.tensor for u in plan.uploads} == set(source.tensors)
    filled = {}
    for u in plan.uploads:
        filled[u.buffer] = filled.get(u.buffer, 0) + u.rows * u.dst_row_bytes
    consts = set(plan.consts)
    weights = {
        i: b.nbytes for i, b in enumerate(plan.buffers) if b.part == "weights" and i not in consts
    }
    assert filled == weights
    assert upload_bytes(plan) == sum(ref.nbytes for ref in source.tensors.values())


@pytest.mark.parametrize("on", ["numpy", "native"])
def test_progress_ends_at_all_bytes(model, on):
    found, seen = device(on), []

    async def upload_all():
        runner = await found.prepare(model[0].plan)
        await runner.upload(model[1].files, lambda done, total: seen.append((done, total)))
        runner.close()

    asyncio.run(upload_all())
    total = upload_bytes(model[0].plan)
    assert seen[-1] == (total, total) and seen == sorted(seen) and all(t == total for _, t in seen)


# ---- what crosses to JavaScript ------------------------------------------------------------------


def test_ints_hold_every_dispatch(model):
    plan = model[0].plan
    ints, header = program_ints(plan), json.loads(header_json(plan))
    assert (
        ints.typecode == "I"
        and ints.itemsize == 4
        and list(header["programs"]) == list(plan.programs)
    )
    end = 0
    for name, dispatches in plan.programs.items():
        at, count = header["programs"][name]
        assert at == end and count == len(dispatches)
        for d in dispatches:
            pipeline, *grid, operands = ints[at:at + 5]
            assert (pipeline, tuple(grid), operands) == (d.pipeline, d.grid, len(d.operands))
            for i, o in enumerate(d.operands):
                assert tuple(ints[at + 5 + 3 * i:at + 8 + 3 * i]) == (o.buffer, o.offset, o.nbytes)
            at += 5 + 3 * operands
        end = at
    assert end == len(ints)


def test_header_holds_buffers_pipelines_and_reads(model):
    plan = model[0].plan
    header = json.loads(header_json(plan))
    assert [b[1] for b in header["buffers"]] == [b.nbytes for b in plan.buffers]
    assert [p[1] for p in header["pipelines"]] == [p.code for p in plan.pipelines]
    assert [tuple(p[2]) for p in header["pipelines"]] == [p.access for p in plan.pipelines]
    assert [
        plan.buffers[i].name for i in header["staging"] + header["jobs"] + header["readbacks"]
    ] == [*(f"staging.{i}" for i in range(4)), *(f"jobs.{i}" for i in range(4)), "readback.0", "readback.1"]
    for read, (file, offset, nbytes, pieces) in zip(reads(plan), header["uploads"], strict=True):
        assert (file, offset, nbytes) == (read.file, read.offset, read.nbytes)
        for piece, row in zip(read.pieces, pieces, strict=True):
            u = plan.uploads[piece.upload]
            assert row[:2] == [u.pipeline, u.buffer] and row[3:5] == [
                piece.start,
                piece.rows * u.row_bytes,
            ]
            assert row[2] == (u.row0 + piece.row) * u.dst_row_bytes
            assert row[5:8] == [piece.row, piece.rows, u.row0]
            assert tuple(row[8:]) == (*repack_grid(u, piece.rows)[:2], -1)
