"""The start-up self-test: what the GPU device computes correctly, found by known answers.

WebKit has returned zeros for large command buffers, and a driver's f16 or subgroup arithmetic can
be wrong. So before a model is planned, chains of dependent dispatches run in command buffers of
several sizes, each optional feature computes something whose result is known, and so do the
kernels themselves (`selftest_kernels.py`; devices that are a CPU only when the whole test is asked
for). The device then gets the largest `Layout` that is right and keeps only the features that
are."""
import json
import struct
from dataclasses import asdict, dataclass, field, replace

from pyengine.device.api import Layout
from pyengine.errors import EngineError
from pyengine.laps import Laps
from pyengine.plan.plan import READBACKS, SLOTS, Buffer, Dispatch, Operand, Pipeline, Plan

VERSION = 5
LANES = 64
WHOLE = 2048           # dispatches of the largest submit that is tried, and then used
SIZES = (256, 128, 64, 32, 8, 1)
SECOND = 3             # a chain runs over this many submits where a layout cuts it
A, C, MASK = 1664525, 1013904223, 0xFFFFFFFF  # a linear congruential generator
NBYTES = 4 * LANES

CHAIN = """@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_id) id: vec3<u32>) {
  y[id.x] = x[(id.x + 1u) % 64u] * 1664525u + 1013904223u;
}
"""
# Halves of whole numbers up to 2048 are exact in f16: 0.5 * i + 1 for i below 64.
HALF = """enable f16;
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
var<workgroup> part: array<f16, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_id) id: vec3<u32>) {
  part[id.x] = f16(x[id.x] % 64u) * f16(0.5) + f16(1.0);
  workgroupBarrier();
  y[id.x] = bitcast<u32>(f32(part[63u - id.x]));
}
"""
# Each lane adds its own number over its subgroup, and how many lanes did; their means are whole
# workgroups' mean whatever the subgroups' size, if every lane is counted once. A lane that is not
# where consecutive threads would put it spoils its sum.
SUBGROUP = """enable subgroups;
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_id) id: vec3<u32>) {
  let total = subgroupAdd(x[id.x] % 64u);
  let first = subgroupAdd(select(0u, 1u, x[id.x] % 64u == 0u));
  let lanes = subgroupAdd(1u);
  let strayed = u32(subgroupExclusiveAdd(1u) != id.x % lanes);
  let other = subgroupShuffleXor(id.x, 1u);
  y[id.x] = lanes + (first << 8u) + (total << 16u) + ((strayed | u32(other != (id.x ^ 1u))) << 31u);
}
"""
PACK = """@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_id) id: vec3<u32>) {
  let v = f32(x[id.x] % 64u) * 0.375 - 7.5;
  let both = unpack2x16float(pack2x16float(vec2<f32>(v, -v)));
  y[id.x] = bitcast<u32>(both.x - 2.0 * both.y);
}
"""


@dataclass
class Report:
    """What was found. `layout` (passes, dispatches); `off`: what computes wrongly, of f16,
    subgroups, kv_f16 and fused (kernels); `rows`: every trial {what, dispatches, passes, submits,
    right}, of kernels also {apart}, the logits' largest error; `ms` that the chains and features
    took, `kernels_ms` what the kernels (0: not tested) took besides; `cached`."""
    layout: tuple = (1, WHOLE)
    off: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    ms: float = 0.0
    kernels_ms: float = 0.0
    cached: bool = False


def probe_plan(pipelines):
    """A plan over two buffers: program "pair" is two dispatches of the first pipeline, to and fro;
    each further pipeline has a program of its label."""
    names = [("a", NBYTES), ("b", NBYTES), ("state", NBYTES)]
    names += [(f"staging.{i}", 16) for i in range(SLOTS)]
    names += [(f"jobs.{i}", 256) for i in range(SLOTS)]
    names += [(f"readback.{i}", NBYTES) for i in range(READBACKS)]

    def dispatch(number, *order):
        operands = tuple(Operand(buffer, 0, NBYTES, None) for buffer in order)
        return Dispatch(number, operands, (1, 1, 1), None)

    programs = {"pair": [dispatch(0, 0, 1), dispatch(0, 1, 0)], "one": [dispatch(0, 0, 1)]}
    programs |= {label: [dispatch(i, 0, 1)] for i, (label, _) in enumerate(pipelines) if i}
    return Plan(
        buffers=[Buffer(name, nbytes, "staging") for name, nbytes in names],
        pipelines=[Pipeline(f"selftest.{label}", code, ("read_write", "read_write"))
                   for label, code in pipelines],
        programs=programs)


def chained(count):
    """What the chain gives after `count` dispatches from the numbers 0 to 63."""
    a, c = 1, 0
    for _ in range(count):
        a, c = a * A & MASK, (c * A + C) & MASK
    return [(a * ((i + count) % LANES) + c) & MASK for i in range(LANES)]


def _bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _whole_subgroups(words):
    """Whether the lanes' sums are those of subgroups that share the workgroup among them."""
    lanes = [word & 0xFF for word in words]
    totals = [word >> 16 for word in words]
    if not all(0 < n <= LANES for n in lanes):
        return False
    near = 1e-9
    count = sum(1 / n for n in lanes)                         # subgroups
    total = sum(t / n for t, n in zip(totals, lanes))         # each subgroup's sum, once
    first = sum((word >> 8 & 0xFF) / n for word, n in zip(words, lanes))
    return (abs(count - round(count)) < near and abs(first - 1) < near
            and abs(total - LANES * (LANES - 1) // 2) < 1e-6)


# feature: (WGSL, whether the 64 words are right)
FEATURES = {
    "f16": (HALF, lambda words: words == [_bits(0.5 * (63 - i) + 1) for i in range(LANES)]),
    "subgroups": (SUBGROUP, _whole_subgroups),
    "kv_f16": (PACK, lambda words: words == [_bits(3 * (0.375 * i - 7.5)) for i in range(LANES)]),
}


class _Bench:
    def __init__(self, device, runner, report):
        self._device, self._runner, self._report = device, runner, report

    async def _words(self, sequence, buffer):
        self._runner.write(0, 0, struct.pack(f"<{LANES}I", *range(LANES)))
        self._runner.write(1, 0, bytes(NBYTES))
        data = await self._runner.run(sequence, read=(buffer, 0, NBYTES))
        return list(struct.unpack(f"<{LANES}I", data))

    async def chain(self, layout, count):
        """Whether `count` dispatches are right in `layout`."""
        self._device.layout = layout
        sequence = [(("pair",), count // 2)] if count > 1 else [(("one",), 1)]
        right = await self._words(sequence, int(count == 1)) == chained(count)
        passes = [len(submit) for submit in layout.submits([0] * count)]
        self._report.rows.append({"what": "chain", "dispatches": count, "passes": sum(passes),
                                  "submits": len(passes), "right": right})
        return right

    async def feature(self, name):
        self._device.layout = Layout(1, 1)
        words = await self._words([((name,), 1)], 1)
        right = FEATURES[name][1](words)
        if name == "subgroups":  # none is smaller than the adapter says
            right = right and min(word & 0xFF for word in words) >= self._device.caps.subgroup
        self._report.rows.append({"what": name, "dispatches": 1, "passes": 1, "submits": 1,
                                  "right": right})
        return right

    async def layout(self):
        """The largest layout that is right. Raises `E_GPU` where not even single dispatches are."""
        whole = Layout(1, WHOLE)
        if await self.chain(whole, WHOLE):
            return whole
        for passes in (False, True):
            for size in SIZES:
                layout = Layout(size if passes else 1, size)
                if await self.chain(layout, max(2, SECOND * size // 2 * 2)):
                    return layout
        raise EngineError("E_GPU", what="the self-test",
                          detail="not even single dispatches give the right numbers")

    async def everything(self):
        """Every size in one pass and in many, in one submit and in several, for the report."""
        for size in (*SIZES[::-1], WHOLE):
            for passes in sorted({1, size}):
                await self.chain(Layout(passes, size), max(size, 1))
                if size < WHOLE:
                    await self.chain(Layout(passes, size), max(2, SECOND * size // 2 * 2))


def pipelines(caps):
    """[(label, WGSL)] of what chains and features run on a device with these caps."""
    wanted = ["f16"] * caps.f16 + ["subgroups"] * caps.subgroups + ["kv_f16"]
    return [("chain", CHAIN)] + [(name, FEATURES[name][0]) for name in wanted]


async def _chains(device, runner, report, full):
    """The features and the layout; fills the report."""
    try:
        await runner.ready()
        bench = _Bench(device, runner, report)
        for name, _ in pipelines(device.caps)[1:]:
            if not await bench.feature(name):
                report.off.append(name)
        layout = await bench.layout()
        if full:
            await bench.everything()
        report.layout = (layout.passes, layout.dispatches)
    finally:
        device.layout = Layout()


async def _kernels(device, report, full, name, first):
    """The kernels' known answers, on what the chains and features left, noted in the report: by the
    model `name` and in a `full` test of a GPU by the others; -> {model: what is off for it, None
    where it is right in no way}. `first`: a Trial of `name` on all that the device offers, or
    None."""
    from pyengine.selftest_kernels import MODELS, choose

    caps, info = device.caps, device.info
    apply(device, report)

    def note(what, right, apart):
        passes, dispatches = report.layout
        report.rows.append({"what": what, "dispatches": dispatches, "passes": passes, "submits": 1,
                            "right": right, "apart": apart})

    others = [model for model in MODELS if model != name] if full and not caps.software else []
    try:
        kv = "f32" if "kv_f16" in report.off else "f16"
        found = {}
        for model in (name, *others):
            usable = first if model == name and not report.off else None
            found[model] = await choose(device, note, model, full=full, kv=kv, first=usable,
                                        every=full and model == name)
        return found
    finally:
        device.caps, device.info = caps, info
        device.layout = Layout()


async def _measure(device, full, kernels):
    """(Report, {model: its Report, None where it is right in no way}) of one test; the kernels'
    first pipelines are compiled while chains and features run."""
    if kernels:
        from pyengine import selftest_kernels  # late: it plans models
        selftest_kernels.at_hand()
    report, laps, trial, found = Report(), Laps(), None, {None: ()}
    runner = await device.prepare(probe_plan(pipelines(device.caps)))
    try:
        laps.mark("chains")
        if kernels and not full:
            trial = await selftest_kernels.begun(device, kernels)
        laps.mark("kernels")
        await _chains(device, runner, report, full)
        laps.mark("chains")
        if kernels:
            found = await _kernels(device, report, full, kernels, trial)
        laps.mark("kernels")
    finally:
        if trial is not None:
            trial.close()
        runner.close()
    if kernels and not full and found[kernels] is None:
        raise EngineError("E_GPU", what="the self-test",
                          detail="even the plainest kernels give wrong numbers")
    report.ms, report.kernels_ms = laps.ms["chains"], laps.ms["kernels"] if kernels else 0.0
    reports = {model: None if off is None else replace(report, off=[*report.off, *off])
               for model, off in found.items()}
    return reports[kernels] or report, reports


def cache_key(device, kernels=None):
    """One browser, adapter, text of the kernels, list of what they are to use, and the model that
    tests them; on a CPU that pretends to be a GPU none does."""
    from pyengine.kernels import source  # late: a start by a kept plan imports no kernels

    wanted = ",".join(device.caps.wanted)
    model = "" if device.caps.software else kernels or ""
    return f"{key_start(source.version())}|{wanted}|{model}|{device.identity}"


def key_start(version):
    """What a `cache_key` begins with where the kernels' texts have this version."""
    return f"selftest{VERSION}|{version}"


async def _recall(cache, device, kernels):
    """The Report that is kept, None where there is none."""
    try:
        kept = Report(**json.loads(await cache.get(cache_key(device, kernels)) or ""))
        Layout(*map(int, kept.layout))
    except (ValueError, TypeError, OSError):
        return None
    return replace(kept, cached=True)


async def _keep(cache, device, reports):
    """Puts {model: Report} where later tests look; a None takes the place of what was right once,
    so that the next start tests again."""
    try:
        for model, report in reports.items():
            text = json.dumps(asdict(report)) if report else ""
            await cache.put(cache_key(device, model), text)
    except OSError:
        pass  # measured again next time


async def selftest(device, cache=None, full=False, kernels=None):
    """Tests the device, or recalls what `cache` (a `tune.TuningCache`) knows of it, and sets its
    layout and caps; -> Report. `full` runs every size and recalls nothing; `kernels`: those of this
    one of `selftest_kernels.MODELS` too, and of all the others if `full`. A CPU that pretends to be
    a GPU tests kernels only if `full`, and by that one. Devices that are no GPU's are right by
    definition. Raises what the device raises, and `E_GPU` where nothing is right; a `full` test
    says in its rows which kernels are not."""
    if device.caps.backend not in ("webgpu", "native"):
        return Report(layout=(1, 0))
    device.caps = replace(device.caps, **dict.fromkeys(getattr(device, "switched_off", ()), True))
    if device.caps.software and not full:
        kernels = None
    report = None if cache is None or full else await _recall(cache, device, kernels)
    if report is None:
        report, reports = await _measure(device, full, kernels)
        if cache is not None:
            await _keep(cache, device, reports)
    apply(device, report)
    return report


def apply(device, report):
    """Makes the device what the report found; `switched_off`: what a later test tries again."""
    names = ("f16", "subgroups", "fused")
    device.switched_off = [n for n in names if n in report.off and getattr(device.caps, n)]
    device.caps = replace(device.caps, **dict.fromkeys(device.switched_off, False))
    device.info = device.info | {name: getattr(device.caps, name) for name in ("f16", "subgroups")}
    device.layout = Layout(*report.layout)
