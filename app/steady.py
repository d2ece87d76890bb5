"""An engine that stays up: it rebuilds itself from the model's files when its GPU device goes away,
continues the answer that was being written, and makes itself smaller where memory is short.

A lost device takes everything with it, so a new device gets the same plan and weights, and the ids
so far, prompt and answer, are computed again as one prefill. Sampling depends on seed, position and
id only, so the text goes on as it would have."""

import time
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace

from pyengine.device.api import Layout
from pyengine.engine import Engine, load
from pyengine.errors import RECOVERABLE, EngineError
from pyengine.selftest import selftest

WINDOW_SECONDS = 60
SILENT_WINDOW_SECONDS = 600  # a GPU that hangs twice in it is told: each time costs half a minute
MOST_LOSSES = 3        # within the window; then safe mode, in which one more ends it
SAFE_CONTEXT = 1024
SAFE_SUBMIT = 64       # dispatches in one submit
SMALLEST_CONTEXT = 128
ROOM = 256             # tokens that an answer of open length should still find

# What a person is told, by kind; the page has the same in its languages.
LOST_NOTICE = ("The GPU stopped {count} times within a minute, so Jird now works in safe mode: "
               "smaller steps and a context of {context} tokens. Answers are the same, but slower. "
               "Loading the model again ends safe mode.")
HUNG_NOTICE = ("The GPU stopped answering, so Jird now works in safe mode: smaller steps and a "
               "context of {context} tokens. Answers are the same, but slower. Loading the model "
               "again ends safe mode.")
MEMORY_NOTICE = ("The GPU ran out of memory, so the conversation now holds {context} tokens "
                 "instead of {before}. Close other tabs, or choose a smaller model.")
KILLED_NOTICE = ("The browser ended this page while the model was loading last time, most likely "
                 "for its memory, so Jird started in safe mode with a context of {context} tokens. "
                 "A smaller model would fit better.")

NOTICES = {"lost": LOST_NOTICE, "hung": HUNG_NOTICE, "memory": MEMORY_NOTICE,
           "killed": KILLED_NOTICE}


@dataclass
class Policy:
    """What happens after a failure. `changes` are what a rebuild does otherwise than asked for:
    {context, fused, submit}; `notice` is what the person is told, `told` its kind and
    facts."""

    clock: object = time.monotonic
    safe: bool = False
    shrunk: bool = False
    rebuilds: int = 0
    losses: list = field(default_factory=list)
    silent: float | None = None  # when the GPU last did not answer
    changes: dict = field(default_factory=dict)
    notice: str | None = None
    told: dict | None = None

    def failed(self, error, context, need):
        """Takes note of `error` at a context of `context` tokens, of which `need` are in use.
        Raises it, where building once more would not help, as `E_DEVICE_LOST` if it is a loss."""
        if error.code not in RECOVERABLE:
            raise error
        if error.code == "E_OUT_OF_MEMORY":
            self._short(error, context, need)
        elif error.code == "E_NO_ANSWER":
            self._hung(error, context, need)
        else:
            self._lost(error, context, need)
        self.rebuilds += 1

    def _hung(self, error, context, need):
        now, before = self.clock(), self.silent
        self.silent = now
        if before is not None and now - before < SILENT_WINDOW_SECONDS:
            raise error
        if not self.safe:
            self.be_safe(context, need)
            self.tell("hung", context=self.changes["context"])

    def _short(self, error, context, need):
        if self.shrunk:
            raise error
        self.shrunk = True
        self.changes["context"] = min(context, max(need, context // 2, SMALLEST_CONTEXT))
        self.tell("memory", context=self.changes["context"], before=context)

    def _lost(self, error, context, need):
        now = self.clock()
        self.losses = [t for t in self.losses if now - t < WINDOW_SECONDS] + [now]
        if self.safe and len(self.losses) > MOST_LOSSES:
            raise error
        if not self.safe and len(self.losses) >= MOST_LOSSES:
            self.be_safe(context, need)
            self.tell("lost", count=len(self.losses), context=self.changes["context"])

    def tell(self, kind, **facts):
        """Sets `notice` to NOTICES[kind], and `told` to what another language says it with."""
        self.notice, self.told = NOTICES[kind].format(**facts), {"kind": kind, **facts}

    def be_safe(self, context, need=0):
        """Safe mode from the next build on."""
        self.safe = True
        self.changes = {"context": min(context, max(need, SAFE_CONTEXT)), "fused": False,
                        "submit": SAFE_SUBMIT}

    def report(self):
        """For `stats()`."""
        return {"mode": "safe" if self.safe else "normal", "rebuilds": self.rebuilds,
                "notice": self.notice, "told": self.told}


def policy_after(killed, checkpoint, context):
    """The Policy of a load; `killed`: the page ended during the last one, so this is in safe
    mode."""
    policy = Policy()
    if killed:
        policy.be_safe(context or _most(checkpoint))
        policy.tell("killed", context=policy.changes["context"])
    return policy


async def load_steadily(checkpoint, open_device, *, device=None, policy=None, **options):
    """As `engine.load`, on a device of `open_device()` (awaitable; `device`: one that is open);
    -> SteadyEngine, which owns its device. What fails is tried again as `Policy` says, and raised
    when that gives up: one of `RECOVERABLE`; anything else at once."""
    policy = policy or Policy()
    while True:
        try:
            device, engine, report = await _built(
                checkpoint, open_device, policy.changes, options, device)
        except EngineError as error:
            device = None
            wanted = policy.changes.get("context") or options.get("context")
            policy.failed(error, wanted or _most(checkpoint), 0)
            continue
        return SteadyEngine(engine, device, policy, checkpoint, open_device, options, report)


def _most(checkpoint):
    """The context that a model gets when none is asked for, as far as its config tells."""
    from pyengine.compile import DEFAULT_CONTEXT  # late: a start by a kept plan needs no planner
    from pyengine.formats import hf_config

    most = hf_config.text_config(checkpoint.config).get("max_position_embeddings")
    return min(most, DEFAULT_CONTEXT) if isinstance(most, int) and most > 0 else DEFAULT_CONTEXT


async def tested(device, config, options):
    """Tests a device for a model of this config, with the "selftest_cache" of `options`, if it is
    there; -> (Report, the other options without what the device computes wrongly)."""
    from pyengine.selftest_kernels import like  # late: a start by a kept plan needs no planner

    given = dict(options)
    report = await selftest(device, given.pop("selftest_cache", None), kernels=like(config))
    if "kv_f16" in report.off:
        given["kv"] = "f32"
    return report, given


async def build(checkpoint, device, changes, options):
    """One engine on one device that is tested first, with the changes of a `Policy`; -> (Engine,
    `selftest.Report`)."""
    if hasattr(checkpoint, "whole"):
        checkpoint = await checkpoint.whole()  # it began with a kept plan: no header was read
    report, given = await tested(device, checkpoint.config, options)
    if changes.get("context"):
        given["context"] = changes["context"]
    if not changes.get("fused", True):
        device.caps = replace(device.caps, fused=False)
    most = changes.get("submit", 0)
    if most and not 0 < device.layout.dispatches <= most:
        device.layout = Layout(device.layout.passes, most)
    return await load(checkpoint, device, **given), report


async def _built(checkpoint, open_device, changes, options, device=None):
    """(device, Engine, Report) on `device`, else a new one; it is closed where that fails."""
    try:
        device = device or await open_device()
        return device, *await build(checkpoint, device, changes, options)
    except BaseException:
        if device is not None:
            device.close()
        raise


class SteadyEngine(Engine):
    """An `Engine` that outlives its device."""

    def __init__(self, engine, device, policy, checkpoint, open_device, options, report):
        super().__init__(device, engine._runner, engine.model, engine._loop, engine.tokenizer,
                         engine._laps, engine._replan)
        self._policy, self._checkpoint = policy, checkpoint
        self._open_device, self._down, self._report = open_device, None, report
        self._heard = None  # what was encoded last: a new device hears it again
        # laps and progress are of the first load
        self._options = {k: v for k, v in options.items() if k not in ("laps", "on_progress")}

    def _adopt(self, engine, device):
        self._device, self._runner, self._loop = device, engine._runner, engine._loop
        self.model, self._replan, self._down = engine.model, engine._replan, None

    @property
    def as_asked(self):
        """Whether it is built as it was asked for, on its first device or a later one."""
        return not self._policy.changes

    def _fall(self, error):
        """Gives everything on the device back; the next call builds anew."""
        self._down = error
        self._runner.close()
        self._device.close()

    async def _rise(self, need=0):
        """Builds anew while it is down. Raises what the policy gives up with."""
        while self._down is not None:
            self._policy.failed(self._down, self.context, need)
            try:
                device, engine, self._report = await _built(
                    self._checkpoint, self._open_device, self._policy.changes, self._options)
            except EngineError as error:
                self._down = error
                continue
            self._adopt(engine, device)
            if self._heard is not None:
                await self._loop.listen(*self._heard)

    async def generate_ids(self, ids, params, *, max_tokens=None, stop_ids=(), cancel=None,
                           guide=None):
        """As `Engine.generate_ids`; what the device loses meanwhile is computed again and the
        answer goes on."""
        self._claim()
        try:
            answer = _Answer(self, list(ids), params.with_seed(), max_tokens, guide)
            async with aclosing(answer.batches(stop_ids, cancel)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._busy = False

    async def listen(self, samples, rows):
        """As `Engine.listen`, once more on a new device where the first is lost."""
        self._heard = None
        await self._twice(lambda: super(SteadyEngine, self).listen(samples, rows), 0)
        self._heard = samples, rows

    async def first_logits(self, ids):
        """As `Engine.first_logits`, once more on a new device where the first is lost."""
        return await self._twice(lambda: super(SteadyEngine, self).first_logits(ids), len(ids))

    async def profile(self, program="decode", position=64, repeats=3):
        """As `Engine.profile`."""
        return await self._twice(
            lambda: super(SteadyEngine, self).profile(program, position, repeats), position)

    async def _twice(self, action, need):
        while True:
            await self._rise(need)
            try:
                return await action()
            except EngineError as error:
                if error.code not in RECOVERABLE:
                    raise
                self._fall(error)

    def stats(self):
        """As `Engine.stats`, and how the device fared."""
        stats = super().stats()
        report = self._report
        tested = {"off": report.off, "ms": report.ms, "kernels_ms": report.kernels_ms,
                  "cached": report.cached}
        return {**stats, "device": {**stats["device"], **self._policy.report(),
                                    "selftest": tested}}

    async def selftest(self):
        """The whole self-test on this device, beside the loaded model; -> its report as a dict.
        What it finds holds from the next load on. Raises `E_BUSY`, and what the device raises."""
        from pyengine.selftest_kernels import like

        await self._rise()
        self._claim()
        layout = self._device.layout
        try:
            report = await selftest(self._device, self._options.get("selftest_cache"), full=True,
                                    kernels=like(self._checkpoint.config))
            return asdict(report)
        finally:
            self._device.layout = layout
            self._busy = False

    async def close(self):
        """Releases the model's memory and the device."""
        if self._down is None:
            await super().close()
            self._device.close()


class _Answer:
    """One generation over as many devices as it takes."""

    def __init__(self, engine, ids, params, max_tokens, guide=None):
        self._engine, self._ids, self._params = engine, ids, params
        self._max_tokens, self._written = max_tokens, []
        self._guide = guide  # it is where the written ids end, whatever the device does
        self._over = False  # its end was told, or nobody reads on

    @property
    def _left(self):
        return None if self._max_tokens is None else self._max_tokens - len(self._written)

    @property
    def _need(self):
        """Tokens of context that the answer may take."""
        wanted = self._max_tokens or len(self._written) + ROOM
        return min(len(self._ids) + wanted, self._engine.context)

    async def batches(self, stop_ids, cancel):
        engine = self._engine
        while not self._over:
            await engine._rise(self._need)
            stream = engine._loop.generate(
                self._ids + self._written, self._params, max_tokens=self._left, cancel=cancel,
                stop_ids=stop_ids, written=len(self._written), guide=self._guide)
            try:
                async with aclosing(stream):
                    async for batch in stream:
                        self._written += batch.ids
                        self._over = bool(batch.finish_reason)
                        try:
                            yield batch
                        except GeneratorExit:
                            self._over = True
                            raise
            except EngineError as error:
                if error.code not in RECOVERABLE:
                    raise
                engine._fall(error)
