"""The decode loop: ids in, ids out. Prefill in chunks, then bursts of K steps on the device."""
import struct
import time
from contextlib import aclosing
from dataclasses import dataclass

from pyengine.decode import logprobs
from pyengine.decode import state as st
from pyengine.decode.cache import PrefixCache
from pyengine.decode.grammar import Steps
from pyengine.decode.snapshots import StateCache
from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError

GUIDED_STEPS = 32  # ids that a device may choose under a grammar before Python hears of them
BURST_SECONDS = 0.05  # what one burst should take, so that text streams smoothly and stop is prompt


class CancelToken:
    """Asked between bursts; `cancel()` may be called from anywhere."""

    def __init__(self):
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


@dataclass
class Batch:
    """Ids that one burst produced; `finish_reason` is "stop", "length", "cancel" or None while it
    goes on. `logprobs`: a `Logprob` of each id where they were asked for."""
    ids: list
    finish_reason: str | None = None
    logprobs: list | None = None


@dataclass
class Timing:
    """Seconds and counts of one generation. `python` is what Python itself spent while
    decoding; `waited` went by in the device's calls."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    prefill: float = 0.0
    decode: float = 0.0
    decoded: int = 0
    submits: int = 0
    decode_submits: int = 0
    python: float = 0.0
    waited: float = 0.0


class Burst:
    """How many steps the next burst takes: a fixed K, or one that adapts to BURST_SECONDS."""

    def __init__(self, setting, most):
        if setting != "auto" and (type(setting) is not int or not 1 <= setting <= most):
            raise EngineError("E_BAD_REQUEST", param="burst", got=repr(setting),
                              wanted=f'"auto" or 1 to {most}')
        self._auto, self._most = setting == "auto", most
        self._steps = 1 if self._auto else setting

    def steps(self, left):
        return min(self._steps, left)

    def took(self, steps, seconds):
        if self._auto and seconds > 0:
            fitting = int(BURST_SECONDS * steps / seconds)
            self._steps = max(1, min(self._most, fitting, 2 * self._steps))


class Tail:
    """What follows the model in every step, and how its results are read back: `words` u32 a step
    from `buffer`."""

    def __init__(self, params, plan):
        self.top = params.top_logprobs
        sampling = "sample" if params.needs_sampler else "greedy"
        self.programs, self._buffer, self._words = (sampling,), plan.buffer("ring"), 1
        if "speech_mask" in plan.programs:  # a voice model's: whatever it is asked for
            self.programs = ("speech_mask", sampling)
        self.masked = ("mask", sampling)  # under a grammar
        if self.top is not None:
            self.programs = ("logprob_top", sampling, "logprob_take")
            self.masked = ("logprob_top", "mask", sampling, "logprob_take")
            self._buffer, self._words = plan.buffer("logprob_ring"), logprobs.ENTRY

    def read(self, steps):
        return self._buffer, 0, 4 * self._words * steps

    def batch(self, data, steps):
        """The `Batch` of a burst's bytes."""
        if self.top is None:
            return Batch(list(struct.unpack(f"<{steps}I", data)))
        found = logprobs.unpack(data, steps, self.top)
        return Batch([one.id for one in found], None, found)


class DecodeLoop:
    """Drives one runner, one generation at a time. After a failure nothing counts as resident."""

    def __init__(self, runner, model, burst="auto"):
        self._runner, self._model, self._burst_setting = runner, model, burst
        plan = model.plan
        names = ("state", "tokens", "ring", "logits", "counts", "bias", "mask")
        (self._state, self._tokens, self._ring, self._logits, self._counts, self._bias,
         self._mask) = map(plan.buffer, names)
        self._ring_size = plan.buffers[self._ring].nbytes // 4
        self.prefill_sizes = plan.sizes("prefill")
        self.source = 0  # rows of the encoder's output that the next generation attends to
        recurrent = any(plan.saved)
        self.cache = StateCache(len(plan.saved)) if recurrent else PrefixCache(model.ring)
        self.timing = Timing()
        Burst(burst, self._ring_size)  # a wrong setting is refused at load

    # ---- device steps ----------------------------------------------------------------------------

    async def _run(self, sequence, read):
        started = time.perf_counter()
        self.timing.submits += 1
        result = await self._runner.run(sequence, read=read)
        self.timing.waited += time.perf_counter() - started
        return result

    def _write_sampling(self, params, stop_ids, ids, written):
        """The state from the seed on; and the penalty and bias buffers where they are used. The
        last `written` of `ids` count as generated."""
        words = st.pack_state(params=params, stop_ids=stop_ids, source=self.source)
        self._runner.write(self._state, 4 * st.SEED, words[4 * st.SEED:])
        if params.has_penalties:
            prompt = len(ids) - written
            counts = st.pack_counts(self._model.vocab, ids[:prompt], ids[prompt:])
            self._runner.write(self._counts, 0, counts)
        if params.logit_bias:
            self._runner.write(self._bias, 0, st.pack_bias(self._model.vocab, params.logit_bias))

    def _program_for(self, rows):
        if rows == 1:
            return "decode"
        return f"prefill{next(r for r in self.prefill_sizes if r >= rows)}"

    def _resume(self, ids):
        """Goes back to the longest prefix of `ids` whose state is at hand.

        -> (its length, {position: slot to save there})."""
        start = self.cache.reusable(ids)
        slot, saves = self.cache.slot_at(start), self.cache.to_save(ids, start)
        self.cache.trim(start)
        if slot is not None:
            self._runner.copy([(copy, live) for live, copy in self._model.plan.saved[slot]])
        return start, saves

    def _chunks(self, start, end, saves):
        """(first, behind the last) of each run of prefill rows; saves fall between two."""
        most = max(self.prefill_sizes, default=1)
        stops = sorted({*saves, end} - {start})
        for begin, stop in zip([start, *stops], stops):
            for pos in range(begin, stop, most):
                yield pos, min(pos + most, stop)

    async def _prefill(self, ids, cancel, tail=(), read=None):
        """Computes what of `ids` is not resident, a chunk a submit; the last submit ends with
        `tail` and `read`.

        -> the read bytes, or None when cancelled between chunks."""
        start, saves = self._resume(ids)
        self.timing.reused_tokens, data = start, None
        for pos, end in self._chunks(start, len(ids), saves):
            if cancel.cancelled:
                return None
            if pos in saves:
                self._runner.copy(self._model.plan.saved[saves[pos]])
                self.cache.saved(saves[pos])
            chunk, last = ids[pos:end], end == len(ids)
            self._runner.write(self._state, 0, struct.pack("<4I", pos, len(chunk), 0, 0))
            self._runner.write(self._tokens, 0, struct.pack(f"<{len(chunk)}I", *chunk))
            program = self._program_for(len(chunk))
            data = await self._run(
                [((program, *(tail if last else ())), 1)], read if last else (self._state, 0, 16)
            )
            self.cache.extend(chunk)
        return data

    def _launch(self, steps, tail):
        """Begins one burst after whatever is under way; -> (steps, awaitable of its ring)."""
        self._runner.write(self._state, 4 * st.STEP, bytes(4))
        self.cache.begin(steps)
        self.timing.submits += 1
        sequence = [(("decode", *tail.programs), steps)]
        return steps, self._runner.submit(sequence, tail.read(steps))

    async def _land(self, flight, last, tail, stop_ids):
        """Waits for a burst that followed id `last`; -> its Batch, up to and with a stop id."""
        steps, landing = flight
        started = time.perf_counter()
        data = await landing
        self.timing.waited += time.perf_counter() - started
        batch = tail.batch(data, steps)
        end = next((i + 1 for i, token in enumerate(batch.ids) if token in stop_ids), steps)
        self.cache.extend([last, *batch.ids][:end])
        return Batch(batch.ids[:end], None, batch.logprobs and batch.logprobs[:end])

    # ---- generation ------------------------------------------------------------------------------

    def _check_prompt(self, ids):
        if not ids:
            raise EngineError("E_BAD_REQUEST", param="prompt", got="no tokens",
                              wanted="at least one token")
        for token in ids:
            if type(token) is not int or not 0 <= token < self._model.vocab:
                raise EngineError("E_BAD_REQUEST", param="prompt", got=repr(token)[:80],
                                  wanted=f"ids from 0 to {self._model.vocab - 1}")
        if len(ids) > self._model.context:
            raise EngineError("E_CONTEXT_FULL", tokens=len(ids), context=self._model.context)

    async def listen(self, samples, rows):
        """Runs the smallest encoder program that takes `samples` (f32 bytes); see `Engine.listen`.
        Nothing counts as heard where it fails."""
        sizes, count = self._model.plan.sizes("encode"), len(samples) // 4
        size = next((s for s in sizes if s >= count), None)
        if size is None or rows < 1:
            most = f"up to {sizes[-1]} samples" if sizes else "none: this model has no encoder"
            raise EngineError("E_BAD_REQUEST", param="samples", got=count, wanted=most)
        self.cache.trim(0)
        self.source = 0
        self._runner.write(self._model.plan.buffer("audio"), 0, samples)
        self._runner.write(self._state, 0, st.pack_state(n=count, source=rows))
        await self._run([((f"encode{size}",), 1)], (self._state, 0, 16))
        self.source = rows

    def speak_as(self, vector):
        """See `Engine.speak_as`."""
        self.cache.trim(0)
        self._runner.write(self._model.plan.buffer("speaker"), 0, vector)

    async def logits(self, ids):
        """f32 (vocab) as bytes: what chooses the token after `ids`, before penalties and bias."""
        self._check_prompt(ids)
        self.timing = Timing(prompt_tokens=len(ids))
        try:
            read = (self._logits, 0, 4 * self._model.vocab)
            return await self._prefill(ids, CancelToken(), read=read)
        except BaseException:
            self.cache.trim(0)
            raise

    async def rehearse(self, rows):
        """A prompt of `rows` ids and the start of an answer, of which nothing stays but what lies
        in buffers that the next prompt overwrites. Raises what the device raises."""
        async for _ in self.generate([0] * rows, SamplingParams(temperature=0), max_tokens=3):
            pass
        self.cache.trim(0)
        self.timing = Timing()

    async def generate(self, ids, params, *, max_tokens=None, stop_ids=(), cancel=None, written=0,
                       guide=None):
        """Yields `Batch`es after prompt `ids`; a stop id is the last of its batch. The last
        `written` of `ids` are an answer that goes on: penalties count them as generated. `guide`:
        a `grammar.Guide` that says which ids may follow; its bursts are short.

        Ends with "stop" at a stop id, "length" at `max_tokens` (None: all that fits) or a full
        context, "cancel". Raises `E_BAD_REQUEST`, `E_CONTEXT_FULL`, and what the device raises."""
        self._check_prompt(ids)
        if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
            raise EngineError("E_BAD_REQUEST", param="max_tokens", got=repr(max_tokens),
                              wanted="a whole number over 0")
        params = params.with_seed().check_vocab(self._model.vocab)
        room = self._model.context - len(ids) + 1  # the last id needs no place of its own
        left = room if max_tokens is None else min(room, max_tokens)
        stop_ids, cancel = frozenset(stop_ids), cancel or CancelToken()
        batches = self._batches(ids, params, left, stop_ids, cancel, written, guide)
        try:
            async with aclosing(batches):
                async for batch in batches:
                    yield batch
        except GeneratorExit:  # the reader left between bursts: what is resident stays
            raise
        except BaseException:
            self.cache.trim(0)
            raise

    async def _batches(self, ids, params, left, stop_ids, cancel, written, guide):
        tail = Tail(params, self._model.plan)
        burst = Burst(self._burst_setting, self._ring_size)
        timing = self.timing = Timing(prompt_tokens=len(ids))
        started = time.perf_counter()
        self._write_sampling(params, sorted(stop_ids), ids, written)
        if guide is None:
            data = await self._prefill(ids, cancel, tail.programs, tail.read(1))
            new = Batch([]) if data is None else tail.batch(data, 1)
            bursts = self._bursts(new, burst, left - 1, tail, stop_ids)
        else:
            await self._prefill(ids, cancel)
            new = Batch([]) if cancel.cancelled else await self._choose(tail, guide)
            bursts = self._guided(new, left - 1, tail, guide, stop_ids)
        timing.prefill = time.perf_counter() - started
        async with aclosing(bursts):
            while True:
                left -= len(new.ids)
                stopped = bool(new.ids) and new.ids[-1] in stop_ids or guide and guide.finished
                new.finish_reason = ("cancel" if cancel.cancelled else "stop" if stopped
                                     else "length" if left <= 0 else None)
                yield new
                if new.finish_reason:
                    return
                new = await anext(bursts)

    async def _bursts(self, new, burst, left, tail, stop_ids):
        """Yields the `Batch` of burst after burst, `left` ids in all.

        While bursts are quick, the next is begun before one is read: the device computes while the
        host encodes. What a stop, a cancel or a stop string leaves under way is waited for and
        forgotten; its positions never count as resident."""
        timing, flights, ahead = self.timing, [], 1
        try:
            while left > 0 or flights:
                began, waited = time.perf_counter(), timing.waited
                while left > 0 and len(flights) < ahead:
                    flights.append(self._launch(burst.steps(left), tail))
                    left -= flights[-1][0]
                steps = flights[0][0]
                new = await self._land(flights.pop(0), new.ids[-1], tail, stop_ids)
                seconds = time.perf_counter() - began
                burst.took(steps, seconds)
                ahead = self._runner.ahead if seconds < 2 * BURST_SECONDS else 1
                timing.decode += seconds
                timing.decoded += len(new.ids)
                timing.decode_submits += 1
                timing.python += seconds - (timing.waited - waited)
                yield new
        finally:
            for _, landing in flights:
                await landing
            if self.cache.unsettled:
                word = await self._runner.read(self._state, 4 * st.POS, 4)
                self.cache.settle(*struct.unpack("<I", word))

    async def _choose(self, tail, guide):
        """The `Batch` of one id that the guide allows, from the logits that were begun."""
        mask, programs = await guide.mask(), tail.programs
        if guide.finished:
            return Batch([])
        if mask is not None:
            self._runner.write(self._mask, 0, mask)
            programs = tail.masked
        batch = tail.batch(await self._run([(programs, 1)], tail.read(1)), 1)
        guide.follow(batch.ids[0])
        return batch

    async def _forward(self, last, tail, guide, steps, stop_ids):
        """The `Batch` of up to `steps` ids behind id `last`. A forward does not depend on its mask,
        so it is under way while the grammar works the mask out: a second submit, but no waiting."""
        self._runner.write(self._state, 4 * st.STEP, bytes(4))
        asked = guide.asked()
        if asked is None:
            self.cache.begin(1)
            await self._run([(("decode",), 1)], None)
            batch = await self._choose(tail, guide)
            self.cache.extend([last])
            return batch
        started, read = time.perf_counter(), tail.read(1)
        several = Steps(steps, guide.stops | stop_ids, (self._state, 4 * st.STEP))
        reply, data, forwards = await self._runner.run_masked(
            [(("decode",), 1)], asked, self._mask, [(tail.masked, 1)], read, several)
        self.timing.waited += time.perf_counter() - started
        count = len(data) // read[2]
        batch = tail.batch(data, count)
        await guide.answered(reply, batch.ids)
        self.timing.submits += count + forwards
        stopped = bool(batch.ids) and batch.ids[-1] in st.kept_stops(sorted(stop_ids))
        done = count if stopped or "later" in reply else forwards
        self.cache.begin(done)
        self.cache.extend([last, *batch.ids][:done])
        return batch

    async def _guided(self, new, left, tail, guide, stop_ids):
        """Yields `Batch` after `Batch`, of one id each where Python has the masks."""
        timing, burst = self.timing, Burst("auto", 1 if tail.top is not None else GUIDED_STEPS)
        while True:
            began, waited = time.perf_counter(), timing.waited
            steps = burst.steps(max(1, left))
            new = await self._forward(new.ids[-1], tail, guide, steps, stop_ids)
            left -= len(new.ids)
            seconds = time.perf_counter() - began
            burst.took(len(new.ids), seconds)
            timing.decode += seconds
            timing.decoded += len(new.ids)
            timing.decode_submits += 2 * max(1, len(new.ids))
            timing.python += seconds - (timing.waited - waited)
            yield new
