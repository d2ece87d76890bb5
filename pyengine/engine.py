"""The engine, where both lines meet: `load` a checkpoint on a device, then generate.

Planner, tuner and profiler are imported where they are used: a start by a kept plan needs none, and
in the browser each module costs milliseconds."""
import time
from contextlib import aclosing
from dataclasses import dataclass, replace

from pyengine.caps import Caps
from pyengine.decode.loop import CancelToken, DecodeLoop
from pyengine.errors import EngineError
from pyengine.laps import Laps
from pyengine.plan.kept import is_kept
from pyengine.plan.plan import program_rows
from pyengine.text.stream import TextStream
from pyengine.warmup import rehearse, warm_up

PASSES_PER_SUBMIT = 1


@dataclass
class Piece:
    """Newly streamed text, the ids behind it, and why the generation ended (None while it goes
    on). `logprobs`: a `Logprob` of each id where they were asked for."""
    text: str
    ids: list
    finish_reason: str | None = None
    logprobs: list | None = None


def _report(on_progress, stage):
    return lambda done, total: on_progress and on_progress(stage, done, total)


async def _tuned(runner, model, caps, cache, identity):
    """The model with the measured choices; the runner has them too."""
    began = time.perf_counter()
    from pyengine.tune import remember, tune

    plan, measured = await tune(runner, model.plan, caps, began=began)
    if not measured:
        return model
    choices = {key: one["choice"] for key, one in measured.items()}
    await remember(cache, identity, caps.tuning | choices)
    return replace(model, plan=plan, tuned=measured)


async def load(checkpoint, device, *, tokenizer=None, quant=None, kv="f16", context=None,
               burst="auto", on_progress=None, warm=True, tuning_cache=None, laps=None,
               hybrid=None, budget=None, speech=None):
    """Plans the checkpoint for the device, compiles, uploads, tunes, warms up; -> Engine.

    `tuning_cache` (a `tune.TuningCache`) turns the autotuner on: its choices are followed, and what
    it has not yet is measured and kept. `hybrid`: see `flags.Hybrid`. `budget`: bytes of GPU
    memory; without a `quant`, what takes more is quantised further (`compile_within`). `speech`:
    see `compile_model`.

    `on_progress(stage, done, total)` with stages "compile" (pipelines), "upload" (bytes of the
    files) and "warmup" (dispatches, unless `warm` is False). `laps` (a `Laps`, begun by the caller)
    gets the stages' times: "compile" is the planning, the begin of the pipelines and the wait for
    those that the upload did not hide. Raises what `compile_model` raises, `E_TRUNCATED`, `E_GPU`,
    `E_OUT_OF_MEMORY`; memory is released then."""
    from pyengine.compile import compile_within
    from pyengine.tune import recall

    laps, caps = laps or Laps(), device.caps
    if tuning_cache is not None:
        caps = replace(caps, tuning=await recall(tuning_cache, device.identity))
    options = {"quant": quant, "context": context, "kv": kv, "caps": caps,
               "hybrid": hybrid, "speech": speech}
    model = compile_within(budget, checkpoint.config, checkpoint.tensors, **options)
    runner = await device.prepare(model.plan, _report(on_progress, "compile"))
    try:
        loop = DecodeLoop(runner, model, burst)
        laps.mark("compile")
        await _filled(runner, checkpoint.files, on_progress, laps)
        if tuning_cache is not None:
            model = await _tuned(runner, model, caps, tuning_cache, device.identity)
        laps.mark("tune")
        if warm:
            await _warmed(device, runner, model, loop, on_progress)
        laps.mark("warmup")
        runner.begin_late()
    except BaseException:
        runner.close()
        raise
    return Engine(device, runner, model, loop, tokenizer, laps)


async def _filled(runner, files, on_progress, laps):
    """The weights on the device and every pipeline compiled, which goes on meanwhile."""
    await runner.upload(files, _report(on_progress, "upload"))
    laps.mark("upload")
    await runner.ready()
    laps.mark("compile")


async def _warmed(device, runner, model, loop, on_progress, todo=None):
    """A software device has no clocks to raise, and every prompt costs it seconds."""
    await warm_up(runner, model.plan, _report(on_progress, "warmup"), todo=todo)
    if device.caps.backend in ("webgpu", "native") and not device.caps.software:
        await rehearse(loop)


async def attach(kept, runner, device, files, replan, *, burst="auto", on_progress=None, laps=None):
    """The Engine of a kept plan (`plan.kept.restore`'s pair) whose `runner` exists already and may
    be uploading; `async replan() -> CompiledModel` plans the same anew, for `profile`. Raises what
    the device raises; memory is released then."""
    (model, steps), laps = kept, laps or Laps()
    try:
        loop = DecodeLoop(runner, model, burst)
        laps.mark("compile")
        await _filled(runner, files, on_progress, laps)
        await _warmed(device, runner, model, loop, on_progress, steps)
        laps.mark("warmup")
        runner.begin_late()
    except BaseException:
        runner.close()
        raise
    return Engine(device, runner, model, loop, None, laps, replan)


def inspect(config, tensors=None, *, quant=None, context=None, kv="f16", caps=None):
    """What a model would need, from its config alone or with its {name: TensorRef}.

    -> {dispatches_per_token (greedy path), passes_per_token, bytes: {part: bytes, total},
    plan_text}."""
    from pyengine.compile import compile_model

    model = compile_model(config, tensors, quant=quant, context=context, kv=kv, caps=caps or Caps())
    return {
        "dispatches_per_token": model.plan.dispatches("decode", "greedy"),
        "passes_per_token": PASSES_PER_SUBMIT,
        "bytes": model.plan.bytes_needed(),
        "context": model.context,
        "quant": model.quant,
        "kv": model.kv,
        "plan_text": model.plan.text(),
    }


class Engine:
    """A loaded model. One generation at a time; `close()` releases the device's memory."""

    def __init__(self, device, runner, model, loop, tokenizer, laps, replan=None):
        self._device, self._runner, self._loop = device, runner, loop
        self.model, self.tokenizer, self._laps = model, tokenizer, laps
        self._replan, self._busy = replan, False

    @property
    def context(self):
        return self.model.context

    @property
    def busy(self):
        """Whether a generation or a measurement runs."""
        return self._busy

    def _claim(self):
        if self._busy:
            raise EngineError("E_BUSY", what="This engine", owner="another generation")
        self._busy = True

    async def generate_ids(self, ids, params, *, max_tokens=None, stop_ids=(), cancel=None,
                           written=0, guide=None):
        """Yields `decode.loop.Batch`es. The last `written` of `ids` are an answer that goes on.
        `guide`: a `decode.grammar.Guide`, the caller's to close; its ids are chosen one by one
        among those that its grammar allows. Raises `E_BUSY` while another generation runs on this
        engine."""
        self._claim()
        try:
            batches = self._loop.generate(ids, params, max_tokens=max_tokens, stop_ids=stop_ids,
                                          cancel=cancel, written=written, guide=guide)
            async with aclosing(batches):
                async for batch in batches:
                    yield batch
        finally:
            self._busy = False

    async def generate(self, ids, params, *, max_tokens=None, stop=(), stop_ids=(), cancel=None,
                       continues=False, visible=frozenset(), guide=None):
        """Yields `Piece`s of text after prompt `ids`, none of which splits a code point or a stop
        string. `continues`: the text goes on from the prompt's (a completion), rather than
        beginning anew (a chat's answer). `visible`: ids of special tokens that the text shows.

        Text ends before the first of `stop` (finish_reason "stop"), at a stop id ("stop"), or as
        `generate_ids` says."""
        # what a grammar matched is the tokens' text in the middle of one, no first space dropped
        stream = TextStream(self.tokenizer, stop, continues or guide is not None, visible)
        cancel = cancel or CancelToken()
        hidden = frozenset(stop_ids)
        batches = self.generate_ids(ids, params, max_tokens=max_tokens, stop_ids=stop_ids,
                                    cancel=cancel, guide=guide)
        async with aclosing(batches):
            async for batch in batches:
                ended = bool(batch.ids) and batch.ids[-1] in hidden
                text = stream.push(batch.ids[:-1] if ended else batch.ids).text
                if batch.finish_reason:
                    text += stream.finish()
                reason = "stop" if stream.stopped else batch.finish_reason
                yield Piece(text, batch.ids, reason, batch.logprobs)
                if stream.stopped:
                    return

    async def listen(self, samples, rows):
        """Encodes `samples` (bytes of f32, mono, at the model's rate), of which the encoder makes
        `rows` rows: what generations attend to from now on. Forgets the resident prefix, which
        was about other samples. Raises `E_BAD_REQUEST` for more than the model takes at once and
        for a model without an encoder, `E_BUSY`, and what the device raises."""
        self._claim()
        try:
            await self._loop.listen(samples, rows)
        finally:
            self._busy = False

    def speak_as(self, vector):
        """What a prompt's speaker token stands for from now on: f32 bytes. Forgets the resident
        prefix, which was another's. Raises `E_BUSY`, and what the device raises."""
        self._claim()
        try:
            self._loop.speak_as(vector)
        finally:
            self._busy = False

    async def first_logits(self, ids):
        """f32 logits (vocab), little endian bytes, that choose the token after `ids`. Raises as
        `generate_ids`."""
        self._claim()
        try:
            return await self._loop.logits(ids)
        finally:
            self._busy = False

    async def profile(self, program="decode", position=64, repeats=3):
        """Times every kernel of a program ("decode", or "prefill<T>" for T rows) at `position`;
        -> the report of `profiler.profile`. Forgets the resident prefix. Raises `E_BAD_REQUEST` for
        what cannot be run, `E_BUSY`, and what the device raises."""
        programs = self.model.plan.programs
        known = [name for name in programs if name == "decode" or name.startswith("prefill")]
        if program not in known:
            raise EngineError("E_BAD_REQUEST", param="program", got=repr(program)[:80],
                              wanted=", ".join(known))
        rows = program_rows(program)
        for name, value, most in (("position", position, self.context - rows),
                                  ("repeats", repeats, 100)):
            if type(value) is not int or not (name == "repeats") <= value <= most:
                raise EngineError("E_BAD_REQUEST", param=name, got=repr(value)[:80],
                                  wanted=f"a whole number up to {most}")
        self._claim()
        try:
            from pyengine.profiler import profile

            if is_kept(self.model.plan):
                self.model = replace(self.model, plan=(await self._replan()).plan)
            self._loop.cache.trim(0)
            tail = ("greedy",) if program == "decode" else ()
            return await profile(self._runner, self.model.plan, (program, *tail), pos=position,
                                 rows=rows, repeats=repeats)
        finally:
            self._busy = False

    def stats(self):
        """Figures of the load and of the last generation; None for what did not happen yet."""
        t = self._loop.timing
        fresh = t.prompt_tokens - t.reused_tokens
        tokens = t.decoded + (1 if t.prefill else 0)
        return {
            "device": {**self._device.info, "passes_per_submit": self._device.layout.passes,
                       "dispatches_per_submit": self._device.layout.dispatches or None},
            "dispatches_per_token": self.model.plan.dispatches("decode", "greedy"),
            "submits_per_token": t.decode_submits / t.decoded if t.decoded else None,
            "ttft_ms": 1e3 * t.prefill if t.prefill else None,
            "prefill_tps": fresh / t.prefill if t.prefill else None,
            "decode_tps": t.decoded / t.decode if t.decode else None,
            "python_ms_per_token": 1e3 * t.python / t.decoded if t.decoded else None,
            "prompt_tokens": t.prompt_tokens, "reused_tokens": t.reused_tokens, "tokens": tokens,
            "load_ms": self._laps.report(),
            "bytes": self.model.plan.bytes_needed(),
            "context": self.model.context,
            "tuned": dict(self.model.tuned),
            "kept_plan": self._replan is not None,
            "objects": dict(self._runner.live()),
        }

    def live(self):
        """Live device objects by kind, for leak tests."""
        return self._runner.live()

    async def close(self):
        """Releases the model's memory; the device stays the caller's."""
        self._runner.close()
