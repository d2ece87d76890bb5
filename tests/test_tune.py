"""The autotuner: the fastest candidate that computes the same is chosen, never another; a kept
choice is not measured again; the time limit holds."""
import asyncio
from dataclasses import replace

import pytest

from pyengine import kernels, tune
from pyengine.compile import compile_model
from pyengine.ir.ops import OPS
from pyengine.kernels.spec import Caps
from tests.checkpoints import CONFIG, checkpoint, close, device, engine, generated

IDS = [5, 17, 82, 3, 42, 7, 8]
SOFTWARE = Caps(software=True)


class Memory:
    """A cache in a dict that counts its uses."""

    def __init__(self):
        self.kept, self.gets, self.puts = {}, 0, 0

    async def get(self, key):
        self.gets += 1
        return self.kept.get(key)

    async def put(self, key, text):
        self.puts += 1
        self.kept[key] = text


class Fake:
    """A candidate list whose times are made up: `times[candidate's mark]` seconds a dispatch; the
    launches themselves are real."""

    def __init__(self, monkeypatch, candidates, times, breaks=()):
        self.clocked = 0

        def spec_of(spec):
            if spec.op != "linear_add":
                return replace(spec, tunable=lambda node, values, caps: None)
            plain = spec.tunable

            def tunable(node, values, caps):
                found = plain(node, values, caps)
                return found and replace(found, candidates=candidates)

            def launch(node, values, caps):
                if plain(node, values, caps) is None:
                    return None
                choice = caps.choice(tunable(node, values, caps))
                real = {k: choice[k] for k in ("groups", "lanes", "rows")}
                key = plain(node, values, caps).key
                found = spec.launch(node, values, replace(caps, tuning={key: real}))
                broken = {"N": found.constants["N"] // 2} if choice.get("wrong") else {}
                if choice["mark"] in breaks:
                    broken = {"K": -1}
                return replace(found, constants=found.constants | broken | {"MARK": choice["mark"]})

            return replace(spec, launch=launch, tunable=tunable)

        monkeypatch.setattr(kernels, "SPECS", tuple(map(spec_of, kernels.SPECS)))
        self.times = times

    def watch(self, runner):
        """Makes the runner's clock answer the made-up times, and count."""
        original = runner.clock

        async def clock(program, indices=None, repeats=1):
            self.clocked += 1
            await original(program, indices, 1)
            first = runner.plan.programs[program][0]
            code = runner.plan.pipelines[first.pipeline].code
            mark = int(code.split("const MARK: u32 = ")[1].split("u;")[0])
            return self.times[mark] * repeats * len(runner.plan.programs[program])

        runner.clock = clock
        return runner


TRUE = ({"groups": 16, "lanes": 1, "rows": 4, "mark": 1},
        {"groups": 64, "lanes": 1, "rows": 1, "mark": 2},
        {"groups": 16, "lanes": 1, "rows": 1, "mark": 3})
WRONG = {"groups": 16, "lanes": 1, "rows": 1, "mark": 4, "wrong": True}


def tuned(fake, seconds=60.0, clock=None):
    """-> (plan, better plan, what was measured)."""
    return asyncio.run(_tuned(device("native"), fake, seconds, clock))


async def _tuned(target, fake, seconds, clock, caps=SOFTWARE):
    plan = compile_model(CONFIG, context=64, caps=caps).plan
    runner = await target.prepare(plan)
    try:
        await runner.ready()
        fake.watch(runner)
        options = {} if clock is None else {"clock": clock}
        found = await tune.tune(runner, plan, caps, seconds=seconds, **options)
        return plan, *found
    finally:
        runner.close()


def marks(plan):
    """The marks of the plan's residual matrices."""
    return {plan.pipelines[d.pipeline].code.split("const MARK: u32 = ")[1].split("u;")[0]
            for d in plan.programs["decode"] if d.node.op == "linear_add"}


def test_the_fastest_is_chosen(monkeypatch):
    fake = Fake(monkeypatch, TRUE, {1: 3e-3, 2: 1e-3, 3: 2e-3})
    plan, better, found = tuned(fake)
    assert {key.split()[0] for key in found} == {"linear_add"} and len(found) == 2
    assert all(one["choice"] == TRUE[1] for one in found.values())
    assert marks(plan) == {"1"} and marks(better) == {"2"}
    assert [d.operands for d in better.programs["decode"]] == [
        d.operands for d in plan.programs["decode"]]
    assert better.buffers == plan.buffers and list(better.programs) == list(plan.programs)


def test_a_fast_but_wrong_candidate_is_never_chosen(monkeypatch):
    """It computes half of the outputs; were it right, it would be chosen."""
    times = {1: 3e-3, 4: 1e-6, 3: 2e-3}
    fake = Fake(monkeypatch, (TRUE[0], WRONG, TRUE[2]), times)
    _, better, found = tuned(fake)
    assert all(one["choice"] == TRUE[2] and one["us"][1] is None for one in found.values())
    assert marks(better) == {"3"}
    fake = Fake(monkeypatch, (TRUE[0], {**WRONG, "wrong": False}, TRUE[2]), times)
    assert marks(tuned(fake)[1]) == {"4"}


def test_a_candidate_that_does_not_compile_is_left_out(monkeypatch):
    fake = Fake(monkeypatch, TRUE, {1: 3e-3, 2: 1e-6, 3: 2e-3}, breaks=(2,))
    _, better, found = tuned(fake)
    assert marks(better) == {"3"}
    assert all(one["us"][1] is None and one["us"][2] for one in found.values())


def test_a_small_gain_is_no_reason(monkeypatch):
    fake = Fake(monkeypatch, TRUE, {1: 1e-3, 2: 0.98e-3, 3: 0.99e-3})
    assert marks(tuned(fake)[1]) == {"1"}


@pytest.mark.parametrize("seconds, most", [(0.0, 0), (0.018, 1), (9.0, 2)])
def test_the_time_limit_is_obeyed(monkeypatch, seconds, most):
    """On a clock that each pass moves by a millisecond."""
    fake = Fake(monkeypatch, TRUE, {1: 3e-3, 2: 1e-3, 3: 2e-3})
    plan, better, found = tuned(
        fake, seconds=seconds, clock=lambda: 1e-3 * fake.clocked)
    measured = [one for one in found.values() if one["us"]]
    assert len(measured) == most and 1e-3 * fake.clocked <= seconds + 1e-3
    assert len(found) == 2  # the others keep their default, and later loads measure nothing
    if not most:
        assert marks(better) == marks(plan)


class Costs:
    """A clock that a runner's calls move, and nothing else: seconds a pipeline compiled, a megabyte
    written or read, a pass, and a dispatch bound; after `slower` compilations each takes three
    times as long."""

    def __init__(self, pipeline=0.0, megabyte=0.0, run=0.0, bound=0.0, slower=10**6):
        self.now, self._slower, self._compiled = 100.0, slower, 0
        self._pipeline, self._megabyte, self._run, self._bound = pipeline, megabyte, run, bound

    def watch(self, runner):
        extend, write, read, clock = runner.extend, runner.write, runner.read, runner.clock

        async def slow_extend(plan, programs):
            for _ in range(len(plan.pipelines) - len(runner.plan.pipelines)):
                self._compiled += 1
                self.now += self._pipeline * (3 if self._compiled > self._slower else 1)
            self.now += self._bound * sum(len(plan.programs[name]) for name in programs)
            await extend(plan, programs)

        def slow_write(buffer, offset, data):
            self.now += self._megabyte * len(data) / 2**20
            write(buffer, offset, data)

        async def slow_read(buffer, offset, nbytes):
            self.now += self._megabyte * nbytes / 2**20
            return await read(buffer, offset, nbytes)

        async def slow_clock(program, indices=None, repeats=1):
            self.now += self._run * repeats
            await clock(program, indices, repeats)
            return self._run * repeats

        runner.extend, runner.write = slow_extend, slow_write
        runner.read, runner.clock = slow_read, slow_clock
        return runner


@pytest.mark.parametrize("costs, measured", [
    (dict(pipeline=0.001, megabyte=0.001, run=0.0001, bound=1e-5), 14),
    (dict(pipeline=0.03, megabyte=0.05, run=0.002, bound=5e-5), 14),
    (dict(pipeline=0.12, run=0.001, bound=1e-4), 12),
    (dict(pipeline=0.02, run=0.001, slower=12), 12),
    (dict(pipeline=0.005, megabyte=9.0, run=0.001), 4),
    (dict(pipeline=0.9, run=0.001), 0),
    (dict(pipeline=0.002, run=0.05), 1)],
    ids=["a quick device", "the like of an H100", "slow compiling", "slower and slower",
         "slow copies", "one compilation", "slow passes"])
def test_compiling_checking_and_moving_count_too(costs, measured):
    """A whole tuning ends by its limit, whatever is slow, on the clock of `Costs`."""
    costs = Costs(**costs)

    async def run():
        caps, target = Caps(), device("native")
        plan = compile_model(CONFIG, context=64, caps=caps).plan
        runner = await target.prepare(plan)
        await runner.ready()
        costs.watch(runner)
        began = costs.now - 0.05  # of the engine's own
        better, found = await tune.tune(runner, plan, caps, clock=lambda: costs.now, began=began)
        runner.close()
        return costs.now - began, found, len(tune.sites(plan, caps))

    seconds, found, known = asyncio.run(run())
    assert seconds <= tune.SECONDS < 2 and len(found) == known
    assert sum(bool(one["us"]) for one in found.values()) >= measured


@pytest.mark.parametrize("text", ["no json", "[1]", '{"k": 3}', ""])
def test_a_damaged_cache_is_measured_anew(text):
    cache = Memory()
    cache.kept[tune.cache_key("x")] = text
    assert asyncio.run(tune.recall(cache, "x")) == {}


def test_a_cache_hit_measures_nothing_and_gives_the_same_kernels(monkeypatch):
    cache, source = Memory(), checkpoint()
    one = engine(source, "native", burst=4, tuning_cache=cache)
    first = one.stats()["tuned"]
    assert first and cache.puts == 1 and {"choice", "us"} == set(next(iter(first.values())))
    texts, labels = [generated(one, IDS, max_tokens=9)], [launches(one)]
    close(one)
    monkeypatch.setattr(tune._Bench, "measure", None)  # a call would fail
    one = engine(source, "native", burst=4, tuning_cache=cache)
    assert one.stats()["tuned"] == {} and (cache.gets, cache.puts) == (2, 1)
    texts.append(generated(one, IDS, max_tokens=9))
    labels.append(launches(one))
    close(one)
    assert texts[0] == texts[1] and labels[0] == labels[1]


def launches(one):
    """The shader and grid of each dispatch."""
    plan = one.model.plan
    return [(plan.pipelines[d.pipeline].code, d.grid)
            for dispatches in plan.programs.values() for d in dispatches]


def test_the_key_follows_the_kernels_and_the_device(monkeypatch):
    keys = {tune.cache_key("a"), tune.cache_key("b")}
    monkeypatch.setattr(tune.source, "version", lambda: "other")
    assert len(keys | {tune.cache_key("a")}) == 3


def test_without_a_cache_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(tune._Bench, "measure", None)
    one = engine(checkpoint(), "native")
    assert one.stats()["tuned"] == {}
    close(one)


def test_decoding_is_measured_before_prefill():
    """Time may not suffice for all."""
    plan = compile_model(CONFIG, context=256, caps=Caps()).plan
    many = [" rows " in key for key in tune.sites(plan, Caps())]
    assert many == sorted(many) and 0 < sum(many) < len(many)


@pytest.mark.parametrize("dtype, size", [("f32", 4), ("f16x2", 2)])
def test_large_outcomes_are_compared_by_a_sample(dtype, size):
    """Enough of it to see a tile that is wrong: 16 rows of 1,000 in 1,000."""
    row, tolerance = 1000, OPS["linear"].tolerance
    good = bytes(size * row * 1000)
    wrong = bytearray(good)
    for at in range(32, 48):
        begin = size * (at * row + 64)
        wrong[begin:begin + 16 * size] = b"\x3c" * 16 * size
    assert tune.agree([(dtype, good)], [(dtype, good)], tolerance)
    assert not tune.agree([(dtype, bytes(wrong))], [(dtype, good)], tolerance)
    assert len(tune._floats(dtype, good)) <= 2 * tune.SAMPLE
