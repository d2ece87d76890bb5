"""Warm-up: every pipeline runs once before a model is "ready", so that the first prompt finds the
driver's own compilation, clears of fresh buffers and page mappings done.

The kernels run with `stopped` set and return at once: a whole forward would cost a software device
0.4 s, and what is to happen early (lavapipe compiles a kernel at its first dispatch, Dawn clears
each buffer before its first use) happens whatever the kernel then does. No buffer but the state
changes.

On a GPU a rehearsal follows: real prompts through the whole decode loop. A GPU that was idle
computes at a fraction of its clock until it has been busy for a while, and the loop's own first
submits, readbacks and Python paths cost milliseconds too; a first prompt of 400 tokens takes 15."""
import struct
import time

from pyengine.decode import state as st
from pyengine.plan.plan import program_rows

SMALLEST = 16          # rows of the prefill that is always warmed
LARGER_SECONDS = 0.3   # what larger ones may take in all


ENOUGH_SECONDS = 0.1   # of prompts, before a steady time counts
STEADY = 0.9           # of the best time before: what is no better has settled


def steps(plan, late=frozenset()):
    """[(program, dispatch indices)] of the programs that are not `late`: all of decode, so that
    every KV buffer is touched, and of the others, smallest first, what runs a pipeline that none
    before it ran."""
    seen, found = set(), []
    for name in sorted((name for name in plan.programs if name not in late), key=program_rows):
        indices = []
        for i, dispatch in enumerate(plan.programs[name]):
            if name == "decode" or dispatch.pipeline not in seen:
                indices.append(i)
            seen.add(dispatch.pipeline)
        if indices:
            found.append((name, indices))
    return found


async def warm_up(runner, plan, progress, clock=time.perf_counter, todo=None):
    """Runs `todo`, by default the plan's `steps` without the runner's late programs;
    `progress(done, total)` counts dispatches. Raises what the device raises."""
    state = plan.buffer("state")
    stopped = bytearray(st.NBYTES)
    struct.pack_into("<4I", stopped, 0, 0, 1, 1, 0)
    runner.write(state, 0, bytes(stopped))
    todo = steps(plan, runner.late) if todo is None else todo
    done, total, larger = 0, sum(len(indices) for _, indices in todo), 0.0
    for name, indices in todo:
        if larger < LARGER_SECONDS or program_rows(name) <= SMALLEST:
            began = clock()
            await runner.clock(name, indices)
            larger += (clock() - began) if program_rows(name) > SMALLEST else 0
        done += len(indices)
        progress(done, total)
    runner.write(state, 0, bytes(st.NBYTES))


async def rehearse(loop, clock=time.perf_counter, seconds=LARGER_SECONDS):
    """Runs prompts as long as the programs of `loop` (a `DecodeLoop`), the shortest first, each
    while it can be expected to end within `seconds`, until its time has settled.
    Nothing of them stays resident. Raises what the device raises."""
    start, sizes, expected = clock(), loop.prefill_sizes, 0.0
    for larger, rows in zip([*sizes[1:], 0], sizes):
        times = []
        while clock() - start + expected < seconds:
            began = clock()
            await loop.rehearse(rows)
            times.append(clock() - began)
            expected = min(times)
            settled = len(times) > 1 and times[-1] >= STEADY * min(times[:-1])
            if settled and (larger or clock() - start >= ENOUGH_SECONDS):
                break
        expected *= larger / rows
