"""A voice opened as the worker opens it, on the references: two models' files, told bytes, speech,
and nothing left open."""
import asyncio

import pytest

from app import speech
from app.loader import BrowserLoader
from pyengine.errors import EngineError
from tests.app import test_loader as kit
from tests.audio.voice_kit import END, Bytes, write_codec, write_voice
from tests.checkpoints import refused

REQUEST = speech.parse({"input": "Hi.", "model": "org/voice", "codec": "org/codec"})
PARAMS = {"device": "reference", "quant": "keep", "context": 400}


class Parts(kit.Parts):
    """Of a page whose tokenizer knows bytes alone."""

    def __init__(self, models):
        super().__init__(models, index=[])
        self.needed, self.all_readers = [], []

    async def open_model(self, model, options):
        readers = await super().open_model(model, options)
        self.all_readers += readers
        return readers

    async def need(self, package):
        self.needed.append(package)

    def new_binding(self):
        raise AssertionError("the references need no GPU")


@pytest.fixture(scope="module")
def models(goldens, tmp_path_factory):
    root = tmp_path_factory.mktemp("voice")
    folders = {"org/voice": write_voice(goldens, root / "voice"),
               "org/codec": write_codec(goldens, root / "codec")}
    return {name: {file.name: file.read_bytes() for file in folder.iterdir()}
            for name, folder in folders.items()}


@pytest.fixture
def parts(models, monkeypatch):
    monkeypatch.setattr("app.voice_loader._tokenizer", lambda *_: Bytes())
    return Parts(models)


async def opened(parts, make_room, stages):
    loader = BrowserLoader(parts)
    return await loader.open_speaker(REQUEST, PARAMS, lambda stage, *_: stages.append(stage),
                                     make_room)


def test_a_voice_speaks_and_is_shut(parts):
    told, stages = [], []

    async def room(nbytes):
        told.append(nbytes)

    async def run():
        speaker, shut = await opened(parts, room, stages)
        sampling = {"seed": 3, "logit_bias": {END: 100.0}}
        pieces = [piece async for piece in speaker.speak("Hi.", sampling=sampling)]
        taken = speech.nbytes(speaker.stats())
        await speaker.close()
        shut()
        return b"".join(piece.samples for piece in pieces), taken

    samples, taken = asyncio.run(run())
    assert len(samples) == 4 * 1764 and any(samples) and told == [taken]
    assert parts.needed == ["numpy"] and (stages[0], stages[-1]) == ("read", "ready")
    assert [reader.closed > 0 for reader in parts.all_readers] == [True] * len(parts.all_readers)


def test_without_room_nothing_stays_open(parts):
    async def room(nbytes):
        raise EngineError("E_OUT_OF_MEMORY", what="the voice", needed=nbytes, available=1)

    refused("E_OUT_OF_MEMORY", lambda: asyncio.run(opened(parts, room, [])))
    assert parts.all_readers and all(reader.closed for reader in parts.all_readers)
    assert [name for name, _ in parts.asked] == ["org/voice", "org/codec"]
