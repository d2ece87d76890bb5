"""The autotuner: measures, on the loaded model's own buffers, the choices that kernels declare as
`Tunable`, and puts the fastest into the plan.

A candidate is first run on data made for it and compared with the default: one that computes
something else is never chosen, however fast. The whole takes at most SECONDS, compiling and
checking included: nothing is begun that, by what the like of it took, would end later. What there
was no time for keeps its default, for good. A cache keeps the outcome per device, browser and
version of the kernels, so that a later load measures nothing and always gets the same kernels."""
import json
import random
import struct
import time
from array import array
from dataclasses import dataclass, replace
from typing import Protocol

from pyengine import kernels
from pyengine.decode import state as st
from pyengine.errors import EngineError
from pyengine.ir.ops import HALVES, OPS
from pyengine.kernels import source
from pyengine.plan.schedule import bindings_of
from pyengine.tune_time import Allowance
from pyengine.plan.plan import Pipeline, program_rows

VERSION = 2             # of what the cache holds, and of how candidates are measured
SECONDS = 1.7           # of tuning in all
LAST_SHARE = 0.1        # of it, for moving to the best choices
ROUNDS = 3              # passes of each candidate, in turn; the best counts
MOST_PLACES = 32        # nodes that one pass goes through
PASS_SECONDS = {"gpu": 0.003, "wall": 0.01}
MOST_REPEATS = 64
GAIN = 0.97             # a candidate must take less than this share of the default's time
SLICE = 1 << 20
SAMPLE = 4096           # values of an outcome that are compared: a browser's Python takes 1 us each
NAN = struct.pack("<I", 0x7FC00000)


class TuningCache(Protocol):
    """Keeps one text per key, for as long as it likes."""

    async def get(self, key):
        """The text, or None."""

    async def put(self, key, text):
        """Keeps the text."""


@dataclass(frozen=True)
class Site:
    """A `Tunable` and the dispatches [(program, index)] that share its choice."""
    tunable: object
    spec: object
    places: list


def sites(plan, caps):
    """{key: Site} of the plan: decoding before prefill, then those that move most bytes first."""
    found, known = {}, {}
    for program, dispatches in plan.programs.items():
        for index, dispatch in enumerate(dispatches):
            like = (dispatch.node.op, dispatch.node.attrs,
                    tuple((o.value.shape, o.value.dtype) for o in dispatch.operands))
            if like not in known:
                spec, _ = kernels.choose(dispatch.node, _values(dispatch), caps)
                known[like] = spec, spec.tunable(dispatch.node, _values(dispatch), caps)
            spec, tunable = known[like]
            if tunable is not None and len(tunable.candidates) > 1:
                site = found.setdefault(tunable.key, Site(tunable, spec, []))
                site.places.append((program, index))

    def order(item):
        places = item[1].places
        nbytes = sum(o.nbytes for p, i in places for o in plan.programs[p][i].operands)
        return min(program_rows(p) for p, _ in places) > 1, -nbytes

    return dict(sorted(found.items(), key=order))


def _values(dispatch):
    return {operand.value.name: operand.value for operand in dispatch.operands}


# ---- the plan with other choices -----------------------------------------------------------------


class _Growing:
    """A plan to which pipelines and programs are added; buffers and operands stay."""

    def __init__(self, plan, caps):
        self.plan = replace(plan, pipelines=list(plan.pipelines), programs=dict(plan.programs))
        self._caps = caps
        self._numbers = {p.code: i for i, p in enumerate(self.plan.pipelines)}

    def dispatch(self, program, index, tuning):
        """The dispatch of a place under `tuning`, its pipeline added where it is new."""
        old = self.plan.programs[program][index]
        caps = replace(self._caps, tuning={**self._caps.tuning, **tuning})
        spec, launch = kernels.choose(old.node, _values(old), caps)
        code = source.wgsl(spec.stem, launch)
        if code not in self._numbers:
            self._numbers[code] = len(self.plan.pipelines)
            label = source.variant_key(spec.stem, launch.variant)
            self.plan.pipelines.append(Pipeline(label, code, bindings_of(code)))
        return replace(old, pipeline=self._numbers[code], grid=launch.grid)

    def tuned(self, places):
        """(plan, names of the programs that changed) with the choice of each of `places`
        [(Site, candidate)]."""
        changed = {}
        for site, candidate in places:
            for name, index in site.places:
                new = self.dispatch(name, index, {site.tunable.key: candidate})
                old = self.plan.programs[name][index]
                if (new.pipeline, new.grid) != (old.pipeline, old.grid):
                    changed.setdefault(name, list(self.plan.programs[name]))[index] = new
        return replace(self.plan, programs=self.plan.programs | changed), list(changed)


# ---- data and judgement --------------------------------------------------------------------------


def _pattern(dtype):
    """4099 deterministic values (a prime, so that no row of a matrix meets the same ones) as
    bytes."""
    if dtype == "u32":
        return bytes(4 * 4099)
    rng = random.Random(4099)
    values = [rng.uniform(-1, 1) for _ in range(4100 if dtype == "f16x2" else 4099)]
    return struct.pack(f"<{len(values)}{'e' if dtype == 'f16x2' else 'f'}", *values)


def _fill(runner, operand, pattern):
    """Repeats `pattern` over the operand, a slice at a time: a browser's Python heap never
    shrinks."""
    whole = pattern * max(1, SLICE // len(pattern))
    for at in range(0, operand.nbytes, len(whole)):
        runner.write(operand.buffer, operand.offset + at, whole[:operand.nbytes - at])


def _written(dispatch):
    """Operands that the op writes: those it mutates, then its outputs."""
    node = dispatch.node
    mutated = [dispatch.operands[i] for i in OPS[node.op].mutates]
    return mutated, list(dispatch.operands[len(node.inputs):])


def prepare(runner, dispatch, pos, rows, again=False):
    """Writes an op's inputs (`again`: only those that it changes), and NaN where it has to
    write."""
    mutated, outputs = _written(dispatch)
    for operand in mutated if again else dispatch.operands[:len(dispatch.node.inputs)]:
        if operand.value.role in ("io", "temp", "state"):
            _fill(runner, operand, _pattern(operand.value.dtype))
    for operand in outputs:
        _fill(runner, operand, NAN)
    for operand in dispatch.operands:
        if operand.value.name == "state":
            runner.write(operand.buffer, operand.offset, st.pack_state(pos, rows))


async def outcome(runner, dispatch):
    """[(dtype, bytes)] of what the op has written."""
    mutated, outputs = _written(dispatch)
    found = []
    for operand in mutated + outputs:
        data = await runner.read(operand.buffer, operand.offset, operand.value.nbytes // 4 * 4)
        found.append((operand.value.dtype, data))
    return found


def agree(got, want, tolerance):
    """Whether two outcomes are equal up to the op's tolerance; NaN equals NaN: neither wrote."""
    for (dtype, a), (_, b) in zip(got, want, strict=True):
        if a == b:
            continue
        if dtype == "u32":
            return False
        if not _close(_floats(dtype, a), _floats(dtype, b), tolerance):
            return False
    return True


def _says_something(outcome):
    """Whether each float output has numbers, without which a comparison means nothing."""
    return all(dtype == "u32" or any(x == x for x in _floats(dtype, data))
               for dtype, data in outcome)


def _floats(dtype, data):
    """About SAMPLE of the values, evenly spread."""
    half = dtype == "f16x2"
    values = struct.unpack(f"<{len(data) // 2}e", data) if half else array("f", data)
    return values[::len(values) // SAMPLE | 1]


def _close(got, want, tolerance):
    finite = [x for x in want if x == x]
    size = (sum(x * x for x in finite) / max(1, len(finite))) ** 0.5
    atol, rtol = tolerance.atol * max(1.0, size), tolerance.rtol
    for a, b in zip(got, want, strict=True):
        if a != b and not abs(a - b) <= atol + rtol * abs(b) and (a == a or b == b):
            return False
    return True


# ---- measuring -----------------------------------------------------------------------------------


class _Bench:
    """One tuning of one runner."""

    def __init__(self, runner, plan, caps, time_left):
        self.runner, self.caps, self.time_left = runner, caps, time_left
        self.growing = _Growing(plan, caps)

    async def measure(self, site):
        """{choice, us: [of each candidate, None where it was refused]}, or None without time."""
        names, sound, want = None, [], None
        if self.time_left.has("compile"):
            names = await self._add(site)
        if names is None:
            return None
        for name, choice in zip(names, site.tunable.candidates, strict=True):
            if not self.time_left.has("check", self._megabytes(site)):
                return None
            got = await self._run_once(site, name, want is not None) if name else None
            want = want or got
            tolerance = HALVES if choice.get("f16") else OPS[site.spec.op].tolerance
            sound.append(name if got and agree(got, want, tolerance) else None)
        if sound[0] is None or not _says_something(want):
            return None
        best = await self._times(site, sound)
        if best is None:
            return None
        chosen = min((t, i) for i, t in enumerate(best) if t is not None)[1]
        usual = site.tunable.default if best[site.tunable.default] is not None else 0
        if best[chosen] > GAIN * best[usual]:
            chosen = usual
        return {"choice": site.tunable.candidates[chosen],
                "us": [None if t is None else round(1e6 * t, 2) for t in best]}

    async def _add(self, site):
        """Names of a program for each candidate, None for one that does not compile; None in all
        without time. The first of all is compiled by itself: it tells how long that takes."""
        names = [f"tune.{number}" for number in range(len(site.tunable.candidates))]
        parts = [names] if self.time_left.knows("compile") else [names[:2], names[2:]]
        found = {}
        for part in filter(None, parts):
            sound = await self._try(site, part)
            found |= dict.fromkeys(part, sound)
            for name in part if sound is False else ():
                found[name] = await self._try(site, [name])
        if None in found.values():
            return None
        return [name if found[name] else None for name in names]

    async def _try(self, site, names):
        """Adds the programs of some candidates, all or none of them; None without time."""
        plan, kept = self.growing.plan, list(self.growing.plan.pipelines)
        for name in names:
            candidate = site.tunable.candidates[int(name.split(".")[1])]
            plan.programs[name] = [
                self.growing.dispatch(program, index, {site.tunable.key: candidate})
                for program, index in site.places[:MOST_PLACES]]
        new = len(plan.pipelines) - len(kept)
        try:
            if self.time_left.has("compile", new):
                with self.time_left.spent("compile", new):
                    await self.runner.extend(plan, names)
                return True
        except EngineError:
            self.growing = _Growing(replace(plan, pipelines=kept), self.caps)
            return False
        self.growing = _Growing(replace(plan, pipelines=kept), self.caps)
        return None

    def _megabytes(self, site):
        """What a check of one candidate writes and reads, at most, and one."""
        program, index = site.places[0]
        operands = self.growing.plan.programs[program][index].operands
        return 1 + sum(o.nbytes for o in operands if o.value.role != "weight") / 2**20

    async def _run_once(self, site, name, again):
        (program, _), dispatch = site.places[0], self.growing.plan.programs[name][0]
        with self.time_left.spent("check", self._megabytes(site)):
            prepare(self.runner, dispatch, site.tunable.pos, program_rows(program), again)
            await self.runner.clock(name, [0])
            return await outcome(self.runner, dispatch)

    async def _times(self, site, names):
        """Best seconds of each candidate, None for those refused; None in all when time ran out
        before each had a turn."""
        repeats, best = await self._repeats(site, names[0]), [None] * len(names)
        for _ in range(ROUNDS):
            turn = list(best)
            for i, name in enumerate(names):
                if name is None:
                    continue
                if not self.time_left.has("pass"):
                    return best if best[0] is not None else None
                took = await self._pass(site, name, repeats)
                turn[i] = took if turn[i] is None else min(took, turn[i])
            best = turn
        return best

    async def _repeats(self, site, name):
        wanted, repeats = PASS_SECONDS[self.runner.clocks], 1
        while repeats < MOST_REPEATS and self.time_left.has("pass"):
            if await self._pass(site, name, repeats) * repeats >= wanted:
                break
            repeats *= 4
        return min(repeats, MOST_REPEATS)

    async def _pass(self, site, name, repeats):
        """Seconds of the candidate's places once."""
        program = site.places[0][0]
        state = self.growing.plan.buffer("state")
        self.runner.write(state, 0, st.pack_state(site.tunable.pos, program_rows(program)))
        with self.time_left.spent("pass"):
            return await self.runner.clock(name, None, repeats) / repeats


async def tune(runner, plan, caps, *, seconds=SECONDS, clock=time.perf_counter, began=None):
    """Measures what `caps.tuning` does not know yet and moves the runner to the plan with the best,
    within `seconds` from `began` by the clock (None: from now).

    -> (plan, {key: {choice, us}} of what was measured). Buffers keep no meaning but weights and
    constants."""
    end = (clock() if began is None else began) + (1 - LAST_SHARE) * seconds
    todo = {key: site for key, site in sites(plan, caps).items() if key not in caps.tuning}
    if not todo:
        return plan, {}
    bench, found = _Bench(runner, plan, caps, Allowance(end, clock)), {}
    for key, site in todo.items():
        measured = await bench.measure(site)
        # Without a measure the default is the choice for good: a later load has its plan at hand
        # only where nothing is left to find out.
        found[key] = measured or {"choice": site.tunable.candidates[site.tunable.default], "us": []}
    for name in [n for n in bench.growing.plan.programs if n.startswith("tune.")]:
        del bench.growing.plan.programs[name]
    better, changed = bench.growing.tuned(
        [(todo[key], measured["choice"]) for key, measured in found.items()])
    await runner.extend(better, changed)
    runner.write(plan.buffer("state"), 0, bytes(st.NBYTES))
    return better, found


# ---- the cache -----------------------------------------------------------------------------------


def cache_key(identity):
    """The key of a device's choices: they hold for one browser and one text of the kernels."""
    return f"{VERSION}|{source.version()}|{identity}"


async def recall(cache, identity):
    """{key: choice} kept for the device; empty where there is none or it cannot be read."""
    try:
        kept = json.loads(await cache.get(cache_key(identity)) or "{}")
        return {str(key): dict(choice) for key, choice in kept.items()}
    except (ValueError, TypeError, AttributeError, OSError):
        return {}  # damaged: measured anew


async def remember(cache, identity, tuning):
    """Keeps {key: choice}; a cache that refuses costs the next load its time, no more."""
    try:
        await cache.put(cache_key(identity), json.dumps(tuning, sort_keys=True))
    except OSError:
        return
