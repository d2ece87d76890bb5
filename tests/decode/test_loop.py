"""The decode loop: what it asks of a device that only records, and what it makes of the answers."""
import asyncio
import struct

import pytest

from pyengine.compile import PREFILL_ROWS, RING, compile_model
from pyengine.decode import loop as loop_module
from pyengine.decode import state as st
from pyengine.decode.loop import Burst, CancelToken, DecodeLoop
from pyengine.decode.sampling import SamplingParams
from pyengine.device.null import NullDevice
from pyengine.errors import EngineError
from tests.checkpoints import (
    CONFIG,
    GREEDY,
    batches,
    generated,
    refused,
)

SMALL, MOST = PREFILL_ROWS[0], PREFILL_ROWS[-1]
CONTEXT = 2 * MOST
MODEL = compile_model({**CONFIG, "max_position_embeddings": CONTEXT})
VOCAB = CONFIG["vocab_size"]


class Script:
    """Answers reads of the ring with the ids of `script` in turn, then with 5s; `at_run` {run
    number: what to call then}."""

    def __init__(self, script=(), burst=4, at_run=None):
        self.script, self.at_run, self.count = list(script), at_run or {}, 0
        device = NullDevice(respond=self.respond)
        self.runner = asyncio.run(device.prepare(MODEL.plan))
        self.loop = DecodeLoop(self.runner, MODEL, burst)

    def respond(self, sequence, read):
        self.count += 1
        self.at_run.get(self.count, lambda: None)()
        name = MODEL.plan.buffers[read[0]].name
        if name != "ring":
            return bytes(read[2])
        n = read[2] // 4
        ids, self.script = self.script[:n], self.script[n:]
        return struct.pack(f"<{n}I", *ids, *[5] * (n - len(ids)))

    @property
    def programs(self):
        """Per run: (program names, repeats)."""
        return [group for run in self.runner.runs for group in run]

    def written(self, buffer):
        """[(offset, words)] written to a buffer."""
        return [(offset, struct.unpack(f"<{len(data) // 4}I", data))
                for name, offset, data in self.runner.writes if name == buffer]

    def chunks(self):
        """[(pos, n, ids)] of the prefill runs so far."""
        heads = [words for offset, words in self.written("state") if offset == 0]
        return [
            (pos, n, list(ids))
            for (pos, n, *_), (_, ids) in zip(heads, self.written("tokens"), strict=True)
        ]


PROMPT = [1, 2, 3]


# ---- prefill -------------------------------------------------------------------------------------


def program(rows):
    """The smallest program that holds `rows`."""
    return "decode" if rows == 1 else f"prefill{min(r for r in PREFILL_ROWS if r >= rows)}"


@pytest.mark.parametrize(
    "length",
    sorted(
        {
            1,
            2,
            7,
            83,
            *PREFILL_ROWS,
            *(r + 1 for r in PREFILL_ROWS),
            MOST + SMALL,
            MOST + SMALL + 1,
            2 * MOST,
        }
    ),
)
def test_chunks(length):
    script, ids = Script(), [i % VOCAB for i in range(length)]
    assert generated(script.loop, ids, max_tokens=1) == ([5], "length")
    chunks = [(pos, min(MOST, length - pos)) for pos in range(0, length, MOST)]
    tails = [()] * (len(chunks) - 1) + [("greedy",)]
    assert script.programs == [
        ((program(n), *tail), 1) for (_, n), tail in zip(chunks, tails, strict=True)
    ]
    assert script.chunks() == [(pos, n, ids[pos:pos + n]) for pos, n in chunks]
    assert script.loop.cache.ids == ids


def test_a_conversation_computes_only_what_is_new():
    script = Script([10, 11, 12, 13, 14, 15])
    first = generated(script.loop, PROMPT, max_tokens=6)[0]
    assert first == [10, 11, 12, 13, 14, 15]
    resident = PROMPT + first[:-1]
    assert script.loop.cache.ids == resident
    turn = PROMPT + first + [20, 21]
    generated(script.loop, turn, max_tokens=1)
    assert script.chunks()[-1] == (8, 3, [15, 20, 21])
    assert script.loop.timing.reused_tokens == 8 and script.loop.timing.prompt_tokens == 11


def test_a_changed_middle_is_computed_again():
    script = Script()
    generated(script.loop, list(range(20)), max_tokens=1)
    changed = [*range(7), 80, *range(8, 20)]
    generated(script.loop, changed, max_tokens=1)
    assert script.chunks()[-1] == (7, 13, changed[7:])
    assert script.loop.cache.ids == changed


def test_the_same_prompt_again_computes_its_last_id():
    script = Script()
    for _ in range(2):
        generated(script.loop, PROMPT, max_tokens=1)
    assert script.chunks()[-1] == (2, 1, [3]) and script.programs[-1] == (("decode", "greedy"), 1)


def test_logits_leave_what_they_computed_resident():
    script = Script()
    assert asyncio.run(script.loop.logits(PROMPT)) == bytes(4 * VOCAB)
    assert script.programs == [((program(3),), 1)] and script.loop.cache.ids == PROMPT


# ---- bursts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("burst,want", [(1, [1] * 9), (4, [4, 4, 1]), (16, [9]), (64, [9])])
def test_fixed_bursts(burst, want):
    script = Script(range(10, 20), burst)
    found = asyncio.run(batches(script.loop, PROMPT, max_tokens=10))
    assert [len(b.ids) for b in found] == [1, *want]
    assert [b.finish_reason for b in found] == [None] * len(want) + ["length"]
    assert script.programs[1:] == [(("decode", "greedy"), n) for n in want]
    assert [i for b in found for i in b.ids] == list(range(10, 20))
    timing = script.loop.timing
    assert (timing.decoded, timing.decode_submits, timing.submits) == (9, len(want), 1 + len(want))


class Clock:
    """perf_counter that a step of the device moves."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("seconds,want", [
    (0.005, [1, 2, 4, 8, 10, 10]),       # 50 ms at most
    (0.2, [1, 1, 1, 1]), (0.05, [1, 1]), (0.024, [1, 2, 2]),
    (1e-5, [1, 2, 4, 8, 16, 32, 64, 64]),  # never more than the ring holds
])
def test_auto_bursts_take_50_ms(monkeypatch, seconds, want):
    clock, script = Clock(seconds), Script(burst="auto")
    monkeypatch.setattr(loop_module, "time", clock)
    answer = script.respond

    def respond(sequence, read):
        clock.now += seconds * sequence[0][1]
        return answer(sequence, read)

    script.runner._respond = respond
    found = asyncio.run(batches(script.loop, PROMPT, max_tokens=1 + sum(want)))
    assert [len(b.ids) for b in found] == [1, *want] and want[-1] <= RING


def test_auto_bursts_shrink_when_the_device_slows():
    burst = Burst("auto", 64)
    for _ in range(9):
        burst.took(burst.steps(64), 0.0001)
    assert burst.steps(64) == 64 and burst.steps(7) == 7
    burst.took(64, 0.64)
    assert burst.steps(64) == 5
    burst.took(5, 0.0)  # a clock that stood still says nothing
    assert burst.steps(64) == 5
    burst.took(1, 7.0)
    assert burst.steps(64) == 1


@pytest.mark.parametrize("setting", [0, -1, 65, True, 1.0, "4", "AUTO", None])
def test_bad_bursts(setting):
    error = refused("E_BAD_REQUEST", lambda: Script(burst=setting))
    assert error.facts["param"] == "burst" and error.facts["got"] == repr(setting)


# ---- ends ----------------------------------------------------------------------------------------


def test_a_stop_id_in_a_burst_ends_the_text():
    script = Script([10, 11, 12, 2, 13, 14, 15])
    ids, reason = generated(script.loop, PROMPT, stop_ids=(2, 77))
    assert (ids, reason) == ([10, 11, 12, 2], "stop")
    assert script.loop.cache.ids == PROMPT + [10, 11, 12]
    assert script.programs[1:] == [(("decode", "greedy"), 4)]
    offset, words = next(w for w in script.written("state") if w[0] == 4 * st.SEED)
    assert words[st.STOP_IDS - st.SEED:][:3] == (2, 77, st.NO_ID)


def test_a_stop_id_first_of_all():
    script = Script([2])
    assert generated(script.loop, PROMPT, stop_ids=(2,)) == ([2], "stop")
    assert len(script.programs) == 1 and script.loop.cache.ids == PROMPT


def test_stop_ids_beyond_what_the_gpu_knows():
    script = Script([10, 11, 40, 12])
    assert generated(script.loop, PROMPT, stop_ids=range(20, 41)) == ([10, 11, 40], "stop")


@pytest.mark.parametrize("n", [1, 2, 5, 6, 83])
def test_max_tokens(n):
    ids, reason = generated(Script(range(10, 10 + n)).loop, PROMPT, max_tokens=n)
    assert len(ids) == n and reason == "length"


@pytest.mark.parametrize("length", [1, 83, CONTEXT - 1, CONTEXT])
@pytest.mark.parametrize("max_tokens", [None, 10_000])
def test_a_full_context_ends_the_text(length, max_tokens):
    script = Script(burst=7)
    ids, reason = generated(script.loop, [1] * length, max_tokens=max_tokens)
    assert len(ids) == CONTEXT - length + 1 and reason == "length"
    assert len(script.loop.cache.ids) == CONTEXT  # the last id needs no place


def test_a_prompt_longer_than_the_context():
    script = Script()
    error = refused("E_CONTEXT_FULL", lambda: generated(script.loop, [1] * (CONTEXT + 1)))
    assert error.facts == {"tokens": CONTEXT + 1, "context": CONTEXT} and not script.runner.runs
    refused("E_CONTEXT_FULL", lambda: asyncio.run(script.loop.logits([1] * (CONTEXT + 1))))


# ---- cancel and failure --------------------------------------------------------------------------


def test_cancelled_before_the_start():
    script, token = Script(), CancelToken()
    token.cancel()
    assert generated(script.loop, PROMPT, cancel=token) == ([], "cancel")
    assert not script.runner.runs and script.loop.cache.ids == []


def test_cancelled_during_prefill():
    token = CancelToken()
    script, ids = Script(at_run={1: token.cancel}), [1] * (MOST + 72)
    assert generated(script.loop, ids, cancel=token) == ([], "cancel")
    assert [names for names, _ in script.programs] == [(program(MOST),)]
    assert script.loop.cache.ids == ids[:MOST]
    assert generated(script.loop, ids, max_tokens=1) == ([5], "length")
    assert script.chunks()[-1][:2] == (MOST, 72)


def test_cancelled_between_bursts():
    token = CancelToken()
    script = Script(range(10, 30), at_run={3: token.cancel})
    ids, reason = generated(script.loop, PROMPT, cancel=token)
    assert (ids, reason) == (list(range(10, 19)), "cancel")  # the burst that ran is delivered
    assert script.loop.cache.ids == PROMPT + ids[:-1]


def test_any_object_with_cancelled_will_do():
    class Flag:
        cancelled = True

    assert generated(Script().loop, PROMPT, cancel=Flag())[1] == "cancel"


def test_a_reader_that_leaves_early_loses_nothing():
    script = Script(range(10, 40))

    async def read_two():
        stream = script.loop.generate(PROMPT, GREEDY)
        found = [await anext(stream), await anext(stream)]
        await stream.aclose()
        return [i for batch in found for i in batch.ids]

    assert asyncio.run(read_two()) == [10, 11, 12, 13, 14]
    assert script.loop.cache.ids == PROMPT + [10, 11, 12, 13]
    generated(script.loop, PROMPT + [10, 11, 12, 13, 14, 60], max_tokens=1)
    assert script.chunks()[-1] == (7, 2, [14, 60])


def lost():
    raise EngineError("E_DEVICE_LOST", reason="test")


@pytest.mark.parametrize("run", [1, 2, 3, 4])
def test_a_device_error_empties_the_cache(run):
    script, ids = Script(at_run={run: lost}), [1] * (MOST + 72)
    refused("E_DEVICE_LOST", lambda: generated(script.loop, ids, max_tokens=20))
    assert script.loop.cache.ids == []
    assert generated(script.loop, ids, max_tokens=2)[1] == "length"
    assert script.chunks()[-2][:2] == (0, MOST)


def test_a_device_error_in_logits_empties_the_cache():
    script = Script(at_run={2: lost})
    generated(script.loop, PROMPT, max_tokens=1)
    refused("E_DEVICE_LOST", lambda: asyncio.run(script.loop.logits(PROMPT)))
    assert script.loop.cache.ids == []


def test_a_cancelled_task_empties_the_cache():
    script = Script(at_run={2: lambda: (_ for _ in ()).throw(asyncio.CancelledError())})
    with pytest.raises(asyncio.CancelledError):
        generated(script.loop, PROMPT)
    assert script.loop.cache.ids == []


# ---- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids,got",
    [
        ([], "no tokens"),
        ([1, -1], "-1"),
        ([1, VOCAB], str(VOCAB)),
        ([1, 2.0], "2.0"),
        (["1"], "'1'"),
        ([2**63], str(2**63)),
        ([None], "None"),
        ([True], "True"),
    ],
)
def test_bad_prompts(ids, got):
    script = Script()

    async def generate():
        return [b async for b in script.loop.generate(ids, GREEDY)]

    for action in (generate, lambda: script.loop.logits(ids)):
        error = refused("E_BAD_REQUEST", lambda: asyncio.run(action()))
        assert error.facts["param"] == "prompt" and error.facts["got"] == got
    assert not script.runner.runs and not script.runner.writes


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "7"])
def test_bad_max_tokens(value):
    script = Script()
    error = refused("E_BAD_REQUEST", lambda: generated(script.loop, PROMPT, max_tokens=value))
    assert error.facts["param"] == "max_tokens" and error.facts["got"] == repr(value)


def test_a_bias_outside_the_vocabulary():
    params = SamplingParams(logit_bias={VOCAB: 1.0})
    error = refused("E_BAD_REQUEST", lambda: generated(Script().loop, PROMPT, params))
    assert error.facts["param"] == "logit_bias"


def test_only_what_the_request_needs_is_written():
    script = Script()
    generated(script.loop, PROMPT, SamplingParams(temperature=0.5, seed=9), max_tokens=1)
    assert {name for name, _, _ in script.runner.writes} == {"state", "tokens"}
    assert script.programs == [((program(3), "sample"), 1)]
    offset, words = script.written("state")[0]
    assert offset == 4 * st.SEED and words[0] == 9 and len(words) == st.WORDS - st.SEED
    script = Script()
    params = SamplingParams(temperature=0, presence_penalty=1.0, logit_bias={4: -100.0})
    generated(script.loop, [1, 1, 3], params, max_tokens=2)
    assert script.written("counts") == [
        (0, tuple(st.IN_PROMPT if i in (1, 3) else 0 for i in range(VOCAB)))
    ]
    assert [offset for offset, _ in script.written("bias")] == [0]
    assert [names for names, _ in script.programs] == [(program(3), "sample"), ("decode", "sample")]


def test_no_seed_means_another_one_each_time():
    script = Script()
    for _ in range(2):
        generated(script.loop, PROMPT, SamplingParams(temperature=1), max_tokens=1)
    seeds = [words[0] for offset, words in script.written("state") if offset == 4 * st.SEED]
    assert seeds[0] != seeds[1]
