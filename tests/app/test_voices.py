"""The worker's voice: what is posted for a `speak`, its own turn, cancelling, loading once."""
import asyncio
import json
import struct

import pytest

from app import catalog_voices
from app.worker import Worker
from pyengine.audio.speaker import Speech, Timing
from pyengine.errors import EngineError
from tests.app.fakes import FakeLoader, FakeParts, settled
from tests.app.test_worker import message
from tests.checkpoints import refused

ONE = struct.pack("<2f", 0.5, -0.5)


class FakeSpeaker:
    """Says each word of a text as two samples; `gate` holds it before each."""
    sample_rate = 22050

    def __init__(self, gate=None, error=None):
        self.gate, self.error, self.said, self.closed = gate, error, [], 0
        self.timing = Timing(tokens=9, prompt_tokens=3)

    async def speak(self, text, *, voice=None, speaker=None, sampling=None, cancel=None):
        self.said.append((text, voice, sampling) if speaker is None else (text, voice, speaker))
        for i, word in enumerate(text.split()):
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            if cancel.cancelled:
                return
            if self.error is not None:
                raise self.error
            yield Speech(ONE, i, word)

    def stats(self):
        return {}

    async def close(self):
        self.closed += 1


class Parts(FakeParts):
    def post(self, text, audio=None):
        self.events.append({**json.loads(text), **({} if audio is None else {"audio": audio})})


class Loader(FakeLoader):
    """Opens a speaker that needs `need` bytes."""
    need = 90_000_000

    def __init__(self, speaker):
        super().__init__()
        self.speaker, self.opened, self.shut = speaker, [], 0

    async def open_speaker(self, request, params, progress, make_room):
        await make_room(self.need)
        self.opened.append((request.model, request.codec))
        progress("ready", 1, 1)
        return self.speaker, self._shut

    def _shut(self):
        self.shut += 1


def worker_of(speaker):
    parts, loader = Parts(), Loader(speaker)
    return Worker(parts, loader), parts, loader


def speak(id_="s", **params):
    return {"v": 1, "id": id_, "method": "speak", "params": {"input": "one two", **params}}


def events(parts, id_="s"):
    return [(e["event"], e["data"], e.get("audio")) for e in parts.events
            if e["id"] == id_ and e["event"] != "progress"]


USAGE = {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12}


def test_a_whole_answer():
    worker, parts, loader = worker_of(FakeSpeaker())
    asyncio.run(worker.handle(speak(voice="ada", seed=7)))
    assert events(parts) == [("result", {"sample_rate": 22050, "content_type": "audio/wav",
                                         "usage": USAGE}, 2 * ONE)]
    assert loader.speaker.said == [("one two", "ada", {"seed": 7})]
    assert parts.of("s", "progress")[-1]["stage"] == "ready"


@pytest.mark.parametrize("voice, said", [
    ([1, -0.5], (None, (1.0, -0.5))), ({"id": "ada", "embedding": [2.5]}, ("ada", (2.5,)))])
def test_a_speakers_vector(voice, said):
    worker, parts, loader = worker_of(FakeSpeaker())
    asyncio.run(worker.handle(speak(voice=voice)))
    assert events(parts)[0][0] == "result" and loader.speaker.said == [("one two", *said)]


def test_a_stream():
    worker, parts, _ = worker_of(FakeSpeaker())
    asyncio.run(worker.handle(speak(stream=True, response_format="pcm")))
    first = {"type": "speech.audio.delta", "sample_rate": 22050, "sentence": 0, "text": "one"}
    assert events(parts) == [
        ("chunk", first, ONE), ("chunk", first | {"sentence": 1, "text": "two"}, ONE),
        ("chunk", {"type": "speech.audio.done", "usage": USAGE}, None), ("result", {}, None)]


def test_a_voice_is_loaded_once_and_another_takes_its_place():
    async def calls():
        worker, parts, loader = worker_of(FakeSpeaker())
        for i, model in enumerate((None, None, "org/other")):
            await worker.handle(speak(str(i), model=model, codec=model and "org/codec"))
        await worker.handle({"v": 1, "id": "u", "method": "unload", "params": {}})
        return loader

    loader = asyncio.run(calls())
    assert loader.opened == [(None, None), ("org/other", "org/codec")]
    assert loader.speaker.closed == loader.shut == 2


def test_speaking_waits_for_no_answer_and_is_cancelled():
    async def calls():
        gate = asyncio.Event()
        worker, parts, loader = worker_of(FakeSpeaker(gate))
        spoken = asyncio.create_task(worker.handle(speak(stream=True)))
        queued = asyncio.create_task(worker.handle(speak("q")))
        await settled()
        await worker.handle({"v": 1, "id": "l", "method": "load", "params": {"model": "m"}})
        assert parts.of("l", "result"), "a chat model loads meanwhile"
        for target in ("s", "q", "nobody"):
            cancel = {"v": 1, "id": f"c{target}", "method": "cancel", "params": {"target": target}}
            await worker.handle(cancel)
        gate.set()
        await asyncio.gather(spoken, queued)
        return parts, loader

    parts, loader = asyncio.run(calls())
    assert [parts.of(f"c{t}", "result")[0]["found"] for t in ("s", "q", "nobody")] == [True, True, False]
    assert [e[0] for e in events(parts)] == ["chunk", "result"] and events(parts, "q")[0][:2] == ("result", {})
    assert len(loader.speaker.said) == 1


def test_room_is_made_or_refused_before_a_voice_is_loaded():
    async def calls():
        worker, parts, loader = worker_of(FakeSpeaker())
        await worker.handle(message("l", "load", {"platform": "ipad"}))  # 600 MB of 1 GB
        loader.need = 1_100_000_000
        await worker.handle(speak("a", platform="ipad"))
        refused_at = parts.of("a", "error")[0]["code"], list(loader.opened)
        loader.need = 500_000_000
        await worker.handle(speak("b", platform="ipad"))
        await worker.handle(message("m", "load", {"platform": "ipad"}))
        return parts, loader, refused_at

    parts, loader, refused_at = asyncio.run(calls())
    assert refused_at == ("E_OUT_OF_MEMORY", [])
    assert events(parts, "b")[0][0] == "result" and len(loader.opened) == 1
    assert "The chat model was taken off" in parts.of("m", "result")[0]["stats"]["memory_notice"]


def test_a_lost_device_lets_the_voice_go():
    async def calls():
        error = EngineError("E_DEVICE_LOST", reason="gone")
        worker, parts, loader = worker_of(FakeSpeaker(error=error))
        await worker.handle(speak("a"))
        loader.speaker.error = None
        await worker.handle(speak("b"))
        return parts, loader

    parts, loader = asyncio.run(calls())
    assert parts.of("a", "error")[0]["code"] == "E_DEVICE_LOST" and events(parts, "b")[0][0] == "result"
    assert len(loader.opened) == 2 and loader.shut == 1


def test_a_wrong_request_is_answered():
    worker, parts, loader = worker_of(FakeSpeaker())
    asyncio.run(worker.handle(speak(input="")))
    assert parts.of("s", "error")[0]["code"] == "E_BAD_REQUEST" and not loader.opened


def test_what_the_storage_takes_for_a_voice():
    voice, codec = catalog_voices.DEFAULT, catalog_voices.NANOCODEC
    assert catalog_voices.sources(None, None) == (voice.repo, codec.repo)
    assert catalog_voices.sources(voice.id, codec.id) == (voice.repo, codec.repo)
    assert catalog_voices.sources("org/v", "org/c") == ("org/v", "org/c")
    assert catalog_voices.sources(None, "https://a.b/c/") == (voice.repo, "https://a.b/c/")
    refused("E_BAD_REQUEST", lambda: catalog_voices.sources("org/v", None))
    assert catalog_voices.sources("kani-tts-2-en", None) == ("nineninesix/kani-tts-2-en", codec.repo)


def test_voices_name_their_licences_and_their_codecs():
    rows = {row["id"]: row for row in catalog_voices.rows()}
    assert rows["kani-tts-450m"]["license"] == "Apache-2.0"
    own = catalog_voices.OWN_TERMS
    assert rows["kani-tts-2-en"]["license"] == own
    assert all(row["codec"]["license"] == own for row in rows.values())
    json.dumps(list(rows.values()), allow_nan=False)
