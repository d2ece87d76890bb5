"""Where a token's time goes: each kernel's time on the device, the bytes it has to move, and the
bandwidth that makes.

Kernels of one shape are timed together, over all layers in turn, because one matrix again and again
would come from a cache that the real program cannot keep it in."""
from statistics import median

from pyengine.decode import state as st
from pyengine.ir.ops import OPS
from pyengine.quant.kinds import WeightKind

# seconds that a timed pass should last: browsers round GPU timestamps to 0.1 ms, and around a wall
# clock's pass lies a submit of about as much
LONG_ENOUGH = {"gpu": 0.01, "wall": 0.05}
MOST_REPEATS = 512


def traffic(dispatch, pos, rows):
    """(bytes read, bytes written) that the dispatch's work needs, for `rows` rows from `pos` on.

    Each operand counts once, however often a kernel loads it: the KV cache as far as it is filled
    (read by attention, written by RoPE), embedding and rotation tables by the rows that are looked
    up; a state of another kind is read and written as a whole."""
    node, read, written = dispatch.node, 0, 0
    mutates = OPS[node.op].mutates
    attends, ropes = "attention" in node.op, "rope" in node.op
    for i, operand in enumerate(dispatch.operands):
        value, nbytes = operand.value, operand.nbytes
        if value.role == "state" and (attends or ropes):
            places = value.shape[1]
            read += nbytes * min(pos + rows, places) // places if attends else 0
            written += nbytes * min(rows, places) // places if i in mutates else 0
        elif i >= len(node.inputs) or i in mutates:
            written += nbytes
            read += nbytes if value.role == "state" else 0
        elif value.role == "weight" and node.op.startswith("embed"):
            read += rows * WeightKind.parse(value.dtype).nbytes(1, value.shape[1])
        elif value.role == "const":
            read += min(nbytes, rows * nbytes // value.shape[0])
        else:
            read += nbytes
    return read, written


def groups(plan, program):
    """[[dispatch index]] of a program: the same pipeline on the same shapes, in program order."""
    found = {}
    for i, d in enumerate(plan.programs[program]):
        shapes = tuple(operand.value.shape for operand in d.operands)
        found.setdefault((d.pipeline, d.grid, shapes), []).append(i)
    return list(found.values())


def _shape(dispatch):
    weights = [o.value for o in dispatch.operands
               if o.value.role == "weight" and len(o.value.shape) == 2]
    value = weights[0] if weights else dispatch.operands[0].value
    return "x".join(map(str, value.shape)) + " " + value.dtype


async def _seconds(runner, program, indices, repeats, reset):
    """Seconds of the dispatches once: the median of `repeats` passes of them, each long enough to
    be measured."""
    times, wanted = 1, LONG_ENOUGH[runner.clocks]
    reset()
    await runner.clock(program, indices)  # the first run may pay for more
    while True:
        reset()
        took = await runner.clock(program, indices, times)
        if took >= wanted or times >= MOST_REPEATS:
            break
        times = min(MOST_REPEATS, max(2 * times, int(1.2 * times * wanted / took) if took else 0))
    samples = [took]
    for _ in range(repeats - 1):
        reset()
        samples.append(await runner.clock(program, indices, times))
    return median(samples) / times


async def profile(runner, plan, programs, *, pos, rows, repeats=3):
    """Times each kernel of `programs` (names) at position `pos` with `rows` rows.

    -> {clock: "gpu"|"wall", programs, position, rows, ms, pass_ms, kernels: [{kernel, op, shape,
    calls, us, ms, share, read_bytes, written_bytes, gb_s}]}, slowest first. `us` and the bytes are
    of one call; `ms` adds up the calls, then the kernels; `pass_ms` is the same work in one go.
    KV, tokens and state hold anything afterwards. Raises what the device raises."""
    state, tokens = plan.buffer("state"), plan.buffer("tokens")
    vocab = plan.buffers[plan.buffer("logits")].nbytes // 4
    ids = b"".join((7919 * i % vocab).to_bytes(4, "little") for i in range(rows))

    def reset():
        runner.write(state, 0, st.pack_state(pos, rows))
        runner.write(tokens, 0, ids)

    found, whole = [], 0.0
    for program in programs:
        whole += await _seconds(runner, program, None, repeats, reset)
        for indices in groups(plan, program):
            seconds = await _seconds(runner, program, indices, repeats, reset)
            found.append(_row(plan, plan.programs[program][indices[0]], len(indices), seconds,
                              pos, rows))
    total = sum(row["ms"] for row in found)
    for row in found:
        row["share"] = row["ms"] / total if total else 0.0
    return {"clock": runner.clocks, "programs": list(programs), "position": pos, "rows": rows,
            "ms": total, "pass_ms": 1e3 * whole,
            "kernels": sorted(found, key=lambda row: -row["ms"])}


def _row(plan, dispatch, calls, seconds, pos, rows):
    read, written = traffic(dispatch, pos, rows)
    one = seconds / calls
    return {
        "kernel": plan.pipelines[dispatch.pipeline].label.split("#")[0],
        "op": dispatch.node.op, "shape": _shape(dispatch), "calls": calls,
        "us": 1e6 * one, "ms": 1e3 * seconds, "read_bytes": read, "written_bytes": written,
        "gb_s": (read + written) / one / 1e9 if one else None,
    }


def table(report):
    """The report as text, a line a kernel."""
    lines = [f"{'op':<14} {'shape':<30} {'calls':>5} {'us':>9} {'ms':>9} {'share':>6} {'read':>11}"
             f" {'written':>9} {'GB/s':>7}"]
    for row in report["kernels"]:
        rate = "" if row["gb_s"] is None else f"{row['gb_s']:.1f}"
        lines.append(f"{row['op']:<14} {row['shape']:<30} {row['calls']:>5} {row['us']:>9.1f} "
                     f"{row['ms']:>9.3f} {row['share']:>6.1%} {row['read_bytes']:>11,} "
                     f"{row['written_bytes']:>9,} {rate:>7}")
    clock = "GPU timestamps" if report["clock"] == "gpu" else "wall time of whole submits"
    lines.append(f"{'+'.join(report['programs'])} at position {report['position']}, "
                 f"{report['rows']} rows: {report['ms']:.2f} ms in kernels timed alone, "
                 f"{report['pass_ms']:.2f} ms in one pass ({clock})")
    return "\n".join(lines) + "\n"
