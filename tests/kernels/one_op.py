"""One op on a device: a graph of one node is planned, its operands written, and what comes back
compared with the op's numpy reference, which is its definition."""

import zlib
from dataclasses import dataclass

import numpy as np

from pyengine.decode import state as st
from pyengine.device.numpy_ref import DTYPES
from pyengine.ir.graph import ELEMENT_BYTES, Graph, Node, Value
from pyengine.ir.ops import OPS
from pyengine.ir.split_ops import parts_of
from pyengine.ir.verify import verify
from pyengine.models.builder import Weights
from pyengine.plan.schedule import make_plan
from pyengine.quant import affine
from pyengine.quant.kinds import WeightKind

SENTINEL = np.float32(777.0)  # in outputs before the run
STATE_WORDS = st.WORDS


@dataclass(frozen=True)
class Case:
    """An op at one size. `inputs`: {operand: (shape, dtype)} in order, less the state; dtype of a
    weight is its kind's name, of a gain or table f32. `n` of T = `rows` rows are valid."""

    op: str
    attrs: tuple
    inputs: tuple
    rows: int = 1
    n: int = 1
    pos: int = 0
    source: int = 0  # positions of an encoder's output

    @property
    def name(self):
        shapes = " ".join(f"{k}:{d}{list(s)}" for k, s, d in self.inputs)
        where = f"pos={self.pos}" + (f" source={self.source}" if self.source else "")
        return f"{self.op} T={self.rows} n={self.n} {where} {shapes} {dict(self.attrs)}"

    def rng(self):
        return np.random.default_rng(zlib.crc32(self.name.encode()))


ROLES = {"weight": "weight", "table": "weight", "gain": "weight", "coarse": "const",
         "post_gain": "weight", "bias": "weight", "gains": "weight", "fine": "const", "k_cache": "state", "v_cache": "state",
         "taps": "weight", "a_log": "weight", "dt_bias": "weight", "beta": "weight", "ring": "state", "s": "state"}
VECTORS = ("gain", "post_gain", "taps", "a_log", "dt_bias", "beta")


def graph_of(case, graph_name="op"):
    """-> Graph, Weights: one node with every output in a buffer of its own."""
    weights = Weights(lambda tensor, columns, embedding: WeightKind.parse(kinds[tensor]))
    kinds = {name: dtype for name, _, dtype in case.inputs if dtype not in ELEMENT_BYTES}
    kinds.update(dict.fromkeys(VECTORS, "dense_f32"))
    graph = Graph(graph_name, case.rows)
    for name, shape, dtype in case.inputs:
        role, buffer = ROLES.get(name, "io"), ""
        if role == "weight":
            found = (weights.vector(name, shape[0]) if len(shape) == 1
                     else weights.matrix([(name, shape[0], 0)], shape[1])[0])
            buffer = found.name
        graph.add(Value(name, shape, dtype, role, buffer))
    graph.add(Value("state", (STATE_WORDS,), "u32", "io"))
    inputs = (*(name for name, _, _ in case.inputs), "state")
    attrs = dict(case.attrs)
    shapes = OPS[case.op].infer(attrs, *[graph.values[name] for name in inputs])
    outputs = tuple(graph.add(Value(f"out{i}", shape, dtype, "io")).name
                    for i, (shape, dtype) in enumerate(shapes))
    graph.nodes = [Node(case.op, inputs, outputs, tuple(sorted(case.attrs)))]
    graph.outputs = outputs
    return verify(graph), weights


def plan_of(case, caps):
    graph, weights = graph_of(case)
    return make_plan([graph], weights, {}, caps), graph


# ---- operands ----------------------------------------------------------------------------------


def packed_weight(kind, shape, rng):
    """u32 rows of a random matrix whose rows have about unit length."""
    size = np.float32(1 / np.sqrt(shape[1]))
    if kind.family == "dense":
        return affine.pack_dense((rng.normal(size=shape) * size).astype(np.float32), kind)
    groups = (shape[0], shape[1] // kind.group)
    steps = (1 << kind.bits) - 1
    scales = (rng.uniform(0.5, 2, groups) * rng.choice([-1, 1], groups) * size * 3 / steps)
    scales = np.where(np.abs(scales) < 2.0**-14, 2.0**-14, scales).astype(np.float32)
    biases = (-scales * rng.uniform(0.3, 0.7, groups) * steps).astype(np.float32)
    return affine.pack(rng.integers(0, steps + 1, shape).astype(np.uint8), scales, biases, kind)


def tables(name, shape, rng):
    """cos and sin pairs: what makes a rotation table is only that they are of unit length."""
    angles = rng.uniform(0, 2 * np.pi, shape[:2])
    return np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)


def chunks(case, shape):
    """What delta_chunks makes of the case's first operand and of gates as they may be."""
    rng = case.rng()
    given = {name: operand(case, name, size, dtype, rng)[1] for name, size, dtype in case.inputs[:1]}
    attrs = dict(case.attrs)
    bias = np.linspace(-1, 1, attrs["value_heads"], dtype=np.float32)
    gates = (-np.exp(bias) if attrs.get("ggml") else bias, bias)
    state = np.frombuffer(state_bytes(case), np.uint32)
    return OPS["delta_chunks"].reference(dict(case.attrs), *given.values(), *gates, state)[0]


def stats(case):
    """The statistics of the case's first operand."""
    _, x = operand(case, *case.inputs[0], case.rng())
    return OPS["group_stats"].reference({}, x, np.frombuffer(state_bytes(case), np.uint32))[0]


def operand(case, name, shape, dtype, rng):
    """-> (bytes for the device, array for the reference)."""
    if name in ("weight", "table", "bias", "gains") and dtype != "f32":
        kind = WeightKind.parse(dtype)
        packed = packed_weight(kind, shape, rng)
        return packed.tobytes(), affine.unpack(packed, kind, shape[1])
    if name in ("coarse", "fine"):
        array = tables(name, shape, rng)
    elif name == "ids":  # only the last valid one matters: the case's pos says which it is
        array = np.full(shape, 48)
        array[case.n - 1] = case.pos
    elif name == "codes":
        array = rng.integers(0, np.prod(dict(case.attrs)["levels"]), shape)
    elif dtype == "u32":
        array = rng.integers(0, next(s for k, s, _ in case.inputs if k == "table")[0], shape)
    else:
        array = 2 * rng.normal(size=shape)
    if name == "a_log" and dict(case.attrs).get("ggml"):
        array = -np.abs(array)  # rates of decay already
    if name in ("chunks", "stats"):
        array = chunks(case, shape) if name == "chunks" else stats(case)
    elif name == "kernel":
        array /= np.sqrt(np.prod(shape[:-1]))
    array = array.astype(DTYPES[dtype])
    return _poison(case, name, array), array


def rows_of(case):
    """Rows of an input: T, or those of T frames."""
    return case.rows * dict(case.attrs).get("rate", 1)


def active_parts(case):
    words = np.frombuffer(state_bytes(case), np.uint32)
    return parts_of(dict(case.attrs), words)


def seen_slots(case, length):
    """Where the positions lie that some row of the case may see, in caches of `length`."""
    if case.source:
        return np.arange(case.source)
    window = dict(case.attrs).get("window", case.pos + 1)
    return np.arange(max(0, case.pos + 1 - window), case.pos + case.n) % length


def _poison(case, name, array):
    """The device's copy: NaN where a kernel must not look, that is in rows that are not valid, in
    cache entries to come and in the slack after the last element."""
    array = array.copy()
    bad = 0xFFFFFFFF if array.dtype.kind == "u" else np.nan
    if name.endswith("_cache"):
        array[:, ~np.isin(np.arange(array.shape[1]), seen_slots(case, array.shape[1]))] = bad
    elif name == "parts":
        array[active_parts(case):] = bad
    elif name == "past":  # the half to read, from position 0 on
        rate, kept = dict(case.attrs)["rate"], array.shape[1]
        array[1 - case.pos % 2] = bad
        array[case.pos % 2][np.arange(kept) < kept - case.pos * rate] = bad
    elif name in ("kernel", "alpha", "offsets"):
        pass
    elif case.op == "unfold":
        array[(case.n - 1) * dict(case.attrs)["stride"] + dict(case.attrs)["kernel"]:] = bad
    elif name in ("ring", "s"):  # nothing comes before position 0
        if case.pos == 0:
            array[:] = bad
        elif name == "ring":
            array[case.pos % len(array)] = bad
    elif name not in (*VECTORS, "coarse", "fine", "y") and len(array) == rows_of(case) > case.n:
        array[case.n * (rows_of(case) // case.rows):] = bad
    slack = -array.nbytes % 16 // array.itemsize
    return array.tobytes() + np.full(slack, bad, array.dtype).tobytes()


def state_bytes(case, stopped=False):
    words = np.zeros(STATE_WORDS, np.uint32)
    words[[st.POS, st.N, st.STOPPED, st.STEP]] = case.pos, case.n, stopped, case.pos
    words[st.SOURCE] = case.source
    return words.tobytes()


# ---- running -----------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What the device and the reference made of each written operand, by name, with what the
    device's held before."""

    got: dict
    want: dict
    before: dict


async def run(case, device, caps, stopped=False):
    """The case on a device -> Outcome."""
    plan, graph = plan_of(case, caps)
    rng, node = case.rng(), graph.nodes[0]
    given = {name: operand(case, name, shape, dtype, rng) for name, shape, dtype in case.inputs}
    written = [case.inputs[i][0] for i in OPS[case.op].mutates] + list(node.outputs)
    runner = await device.prepare(plan)
    try:
        for name, (data, _) in given.items():
            runner.write(plan.buffer(name), 0, data)
        for name in node.outputs:
            values = np.full(np.prod(graph.values[name].shape), SENTINEL)
            runner.write(plan.buffer(name), 0, values.tobytes())
        runner.write(plan.buffer("state"), 0, state_bytes(case, stopped))
        before, got = {}, {}
        for into in (before, got):
            for name in written:
                value = graph.values[name]
                data = await runner.read(plan.buffer(name), 0, value.nbytes // 4 * 4)
                into[name] = np.frombuffer(data, DTYPES[value.dtype]).reshape(value.shape)
            if into is before:
                await runner.run([(("op",), 1)])
    finally:
        runner.close()
    return Outcome(got, reference(case, given, node.outputs), before)


def reference(case, given, outputs):
    """{written operand: array} by the op's reference."""
    arrays = {name: array.copy() for name, (_, array) in given.items()}
    state = np.frombuffer(state_bytes(case), np.uint32)
    results = OPS[case.op].reference(dict(case.attrs), *arrays.values(), state)
    mutated = {case.inputs[i][0]: arrays[case.inputs[i][0]] for i in OPS[case.op].mutates}
    return {**mutated, **dict(zip(outputs, results, strict=True))}


# ---- judging -----------------------------------------------------------------------------------


def _chunk_part(case, mask):
    """What delta_chunks writes: the valid rows of each chunk's two squares and four vectors."""
    size = min(64, case.rows)
    for c in range(-(-case.n // size)):
        m = min(size, case.n - c * size)
        mask[c, :, :2 * size * size].reshape(-1, 2, size, size)[:, :, :m, :m] = True
        mask[c, :, 2 * size * size:].reshape(-1, 4, size)[:, :, :m] = True


def written_part(case, name, array):
    """The elements that the op defines, and a mask of them over `array`."""
    mask = np.zeros(array.shape, bool)
    attrs = dict(case.attrs)
    if name.endswith("_cache"):  # what rope writes
        mask[:, np.arange(case.pos, case.pos + case.n) % array.shape[1]] = True
    elif name == "past":  # the other half, from position 0 on
        rate, kept = attrs["rate"], array.shape[1]
        after = np.arange(kept) >= kept - (case.pos + case.n) * rate
        mask[1 - case.pos % 2][after] = True
    elif case.op == "weight_norm":
        units = case.inputs[1][1][0]
        mask[(slice(units),) if attrs["by"] == "rows" else (..., slice(units))] = True
    elif name == "s":
        mask[:] = True
    elif name == "ring":
        mask[np.arange(case.pos, case.pos + case.n)[-len(array):] % len(array)] = True
    elif name == "chunks" or case.op == "delta_chunks":
        _chunk_part(case, mask)
    elif case.op == "short_conv":
        mask[:case.n, :attrs["channels"]] = True
    elif case.op in ("linear", "linear_into"):
        rows = next(shape for key, shape, _ in case.inputs if key == "weight")[0]
        col = attrs.get("col", 0)
        mask[:case.n, col:col + rows] = True
    elif case.op.endswith("attention_parts"):  # outputs and a sum for each head of those in use
        d = next(shape for key, shape, _ in case.inputs if key == "k_cache")[2]
        heads = attrs.get("heads") or case.inputs[0][1][1] // d
        mask[:active_parts(case), :heads * (d + 1)] = True
    elif case.op in ("take_last", "group_stats", "speech_mask"):
        mask[:] = True
    else:
        mask[:case.n * (len(array) // case.rows)] = True
    return mask


def faults(case, outcome, tolerance=None):
    """[what is wrong]: values beyond the tolerance (the op's), and elements changed that are not its."""
    found = []
    for name, got in outcome.got.items():
        want, mask = outcome.want[name], written_part(case, name, got)
        untouched = got[~mask].tobytes() == outcome.before[name][~mask].tobytes()
        if not untouched:
            found.append(f"{case.name}: {name} changed outside its part")
        tolerance = tolerance or OPS[case.op].tolerance
        # one rounding to f16 in the cache; the op's own error can push a value over its edge
        rtol = tolerance.rtol + (2.0**-10 if got.dtype == np.float16 else 0)
        a, b = got.astype(np.float64), want.astype(np.float64)
        diff = np.where(mask, np.abs(a - b), 0)
        limit = tolerance.atol + rtol * np.abs(b)
        if not (diff <= limit).all():
            worst = np.unravel_index(np.argmax(np.nan_to_num(diff - limit, nan=np.inf)), a.shape)
            found.append(f"{case.name}: {name} max {np.nanmax(diff):.3g} mean {diff[mask].mean():.3g},"
                         f" worst at {tuple(map(int, worst))}: {a[worst]!r}, wanted {b[worst]!r},"
                         f" tolerance {tolerance.atol} + {rtol} |x|")
    return found
