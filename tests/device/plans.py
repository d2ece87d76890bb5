"""Small plans for the tests of devices."""

from pyengine.plan.plan import SLICE, Buffer, Dispatch, Operand, Pipeline, Plan, Upload

ADD_ONE = """@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(1)
fn main() { x[0] += 1u; }
"""
BROKEN = """@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(1)
fn main() { x[0] += no_such_name; }
"""


def service_buffers():
    """The staging, jobs and readback buffers that each plan has."""
    pairs = [(f"staging.{i}", SLICE) for i in range(4)] + [(f"jobs.{i}", 64 * 256) for i in range(4)]
    return [Buffer(name, size, "staging") for name, size in (*pairs, ("readback.0", 256), ("readback.1", 256))]


def counter_plan(code=ADD_ONE, sizes=(256,)):
    """A plan whose program "step" adds one to word 0 of its first buffer."""
    buffers = [Buffer(f"b{i}", size, "state") for i, size in enumerate(sizes)] + service_buffers()
    step = Dispatch(0, (Operand(0, 0, 16, None),), (1, 1, 1), None)
    return Plan(buffers=buffers, pipelines=[Pipeline("counter#1", code, ("read_write",))],
                programs={"step": [step]})


def upload(number, offset, rows, row_bytes, file=0):
    return Upload(f"t{number}", file, offset, row_bytes, rows, 0, 0, row_bytes, -1, 1, "f32",
                  "dense_f32", row_bytes // 4, 0)
