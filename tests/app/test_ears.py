"""The worker's ears: requests in turn on a model of their own, and who makes room for whom."""
import asyncio

import numpy as np
import pytest

from app import openai_api
from app.ears import Ears, transcriber_of
from app.session import Session
from app.worker import Worker
from pyengine.budget import Resident, make_room
from pyengine.errors import EngineError
from tests.app.fakes import FakeEngine, FakeLoader, FakeParts, fake_checkpoint, settled
from tests.app.test_worker import CHAT, code, message
from tests.audio import test_transcriber as fake
from tests.audio.test_segments import silence, speech
from tests.checkpoints import refused

RATE = 16000
TWICE = np.concatenate([silence(0.5), speech(2), silence(3), speech(1), silence(0.5)])


class HearingEngine(fake.FakeEngine):
    closed, error = 0, None

    async def listen(self, data, rows):
        if self.error is not None:
            raise self.error
        await asyncio.sleep(0.001)
        await super().listen(data, rows)

    def stats(self):
        return {"bytes": {"total": 90_000_000}}

    async def close(self):
        self.closed += 1


def session_of(engine, **config):
    checkpoint = fake_checkpoint(config={"model_type": "moonshine", **config})
    engine.tokenizer.eos_ids = lambda generation_config: [2]
    return Session(engine, "moonshine-tiny", checkpoint, engine.tokenizer, None)


def test_a_model_that_hears_answers_no_prompt():
    """Its decoder would go on from a recording that is not there."""
    engine = HearingEngine([3, 4, 2])
    request = openai_api.parse_completion({"prompt": [1, 2]})
    error = refused("E_BAD_REQUEST", lambda: asyncio.run(session_of(engine).prompt_ids(request)))
    assert error.facts["param"] == "model" and "transcribes" in error.message


class HearingLoader(FakeLoader):
    """Opens HearingEngines that need `need` bytes."""
    need = 90_000_000

    def __init__(self, **options):
        super().__init__(**options)
        self.opened = []

    async def open_ears(self, params, progress, make_room):
        progress("read", 1, 2)
        await make_room(self.need)
        self.opened.append(HearingEngine([3, 4, 2]))
        return session_of(self.opened[-1])


def heard(samples=TWICE, id_="t", **params):
    data = samples.astype("<f4").tobytes()
    return {**message(id_, "transcribe", {"sample_rate": RATE, **params}), "audio": data}


def run(steps, **loader):
    """Runs `steps(worker, parts, loader)`."""
    parts, one = FakeParts(), HearingLoader(**loader)
    asyncio.run(steps(Worker(parts, one), parts, one))


def test_one_model_answers_in_every_form():
    async def steps(worker, parts, loader):
        await worker.handle(heard())
        assert parts.of("t", "result") == [{"text": "ever tried ever tried"}]
        assert parts.of("t", "progress")[0]["stage"] == "read" and parts.needed == "numpy"
        await worker.handle(heard(id_="v", response_format="srt"))
        (found,) = parts.of("v", "result")
        assert found["body"].startswith("1\n00:00:00,") and "ever tried" in found["body"]
        await worker.handle(heard(id_="s", stream=True))
        *deltas, done = parts.of("s", "chunk")
        assert [d["delta"] for d in deltas] == [" ever", " tried"] * 2
        assert done == {"type": "transcript.text.done", "text": "ever tried ever tried"}
        assert parts.of("s", "result") == [{}] and len(loader.opened) == 1
    run(steps)


def test_other_rates_and_what_is_still_said():
    async def steps(worker, parts, loader):
        await worker.handle(heard(np.repeat(TWICE[:3 * RATE], 3), live=True, sample_rate=48000))
        (found,) = parts.of("t", "result")
        (segment,) = found["segments"]
        assert not segment["closed"] and segment["text"] == "ever tried" == found["text"]
        assert found["consumed"] % 3 == 0 and found["consumed"] / 48000 <= segment["start"] + 0.01
    run(steps)


@pytest.mark.parametrize("broken, wanted", [
    ({"audio": None}, "E_BAD_REQUEST"), ({"audio": b""}, "E_BAD_AUDIO"),
    ({"audio": b"123"}, "E_BAD_AUDIO"), ({"params": {"language": "fr"}}, "E_BAD_REQUEST"),
    ({"params": {"file": 1}}, "E_BAD_REQUEST")])
def test_what_cannot_be_heard_is_refused_before_a_load(broken, wanted):
    async def steps(worker, parts, loader):
        await worker.handle({**heard(), **broken})
        assert code(parts, "t") == wanted and not loader.opened
    run(steps)


def test_samples_beside_anything_else_are_refused():
    async def steps(worker, parts, loader):
        await worker.handle({**message("c", "chat", CHAT), "audio": b"1234"})
        assert code(parts, "c") == "E_BAD_REQUEST"
    run(steps)


def test_a_cancel_before_its_turn_and_an_unload():
    async def steps(worker, parts, loader):
        first = asyncio.ensure_future(worker.handle(heard(id_="a")))
        second = asyncio.ensure_future(worker.handle(heard(id_="b")))
        await asyncio.sleep(0)
        await worker.handle(message("x", "cancel", {"target": "b"}))
        assert parts.of("x", "result") == [{"found": True}]
        await asyncio.gather(first, second)
        assert parts.of("a", "result")[0]["text"] and parts.of("b", "result") == [{}]
        await worker.handle(message("u", "unload"))
        assert loader.opened[0].closed == 1
        await worker.handle(heard(id_="c"))
        assert len(loader.opened) == 2
    run(steps)


def test_a_lost_device_is_told_and_the_next_request_loads_anew():
    async def steps(worker, parts, loader):
        await worker.handle(heard())
        loader.opened[0].error = EngineError("E_DEVICE_LOST", reason="test")
        await worker.handle(heard(id_="b"))
        assert code(parts, "b") == "E_DEVICE_LOST" and loader.opened[0].closed == 1
        await worker.handle(heard(id_="c"))
        assert parts.of("c", "result") and len(loader.opened) == 2
    run(steps)


def test_it_hears_while_an_answer_is_written():
    async def steps(worker, parts, loader):
        gate = asyncio.Event()
        loader.make = lambda: FakeEngine(gate=gate)
        await worker.handle(message("l", "load"))
        answer = asyncio.ensure_future(worker.handle(message("a", "chat", CHAT)))
        await settled()
        await worker.handle(heard())
        assert parts.of("t", "result") and not parts.of("a", "result")
        gate.set()
        await answer
        await worker.handle(message("s", "stats"))
        residents = parts.of("s", "result")[0]["residents"]
        assert residents == {"chat": 600_000_000, "ears": 90_000_000}
    run(steps)


def test_the_chat_model_makes_room_and_says_so():
    async def steps(worker, parts, loader):
        loader.need = 500_000_000  # an iPad gives 1 GB
        await worker.handle(message("l", "load", {"platform": "ipad"}))
        await worker.handle(heard(platform="ipad"))
        assert parts.of("t", "result")
        await worker.handle(message("m", "load", {"platform": "ipad"}))
        stats = parts.of("m", "result")[0]["stats"]
        assert len(loader.loads) == 2 and "make room" in stats["memory_notice"]
        loader.need = 2_000_000_000
        await worker.handle(heard(id_="b", platform="ipad", model="other"))
        assert code(parts, "b") == "E_OUT_OF_MEMORY"
    run(steps)


def test_the_ears_make_room_for_a_chat_model():
    async def steps(worker, parts, loader):
        await worker.handle(heard(platform="ipad"))
        loader.opened[0].stats = lambda: {"bytes": {"total": 500_000_000}}
        await worker.handle(message("l", "load", {"platform": "ipad"}))
        stats = parts.of("l", "result")[0]["stats"]
        assert loader.opened[0].closed == 1 and stats["residents"] == {"chat": 600_000_000}
        assert "The ears model was taken off" in stats["memory_notice"]
    run(steps)


def test_who_has_to_go():
    voice, ears, chat = Resident("voice", 30), Resident("ears", 20), Resident("chat", 40)
    assert make_room([voice, ears, chat], 10, 100) == []
    assert make_room([voice, ears, chat], 11, 100) == ["voice"]
    assert make_room([voice, ears, chat], 60, 100) == ["voice", "ears"]
    assert make_room([Resident("voice", 30, True), ears, chat], 30, 100) == ["ears"]
    error = refused("E_OUT_OF_MEMORY",
                    lambda: make_room([Resident("chat", 90, True)], 20, 100))
    assert error.facts["available"] == 10


def test_a_model_that_does_not_hear():
    engine = HearingEngine([2])
    with pytest.raises(EngineError, match="hears"):
        transcriber_of(session_of(engine, model_type="llama"))
    mute = session_of(engine)
    mute.tokenizer = None
    with pytest.raises(EngineError, match="E_NO_TOKENIZER"):
        transcriber_of(mute)
    assert Ears(None).nbytes == 0
