"""What people really give to ears and voice: very long, very short, strange; and a voice model that
goes wrong. The engines are stubs, so that only the loops around them are judged."""
import asyncio
import gc
import time
import tracemalloc
from contextlib import aclosing
from types import SimpleNamespace

import numpy as np
import pytest

from pyengine.audio.sentences import MOST
from pyengine.audio.speaker import Speaker
from pyengine.audio.transcriber import RATE, Transcriber
from pyengine.decode.loop import Batch, CancelToken
from pyengine.models.kani_tts import Layout
from tests.audio.test_segments import silence, speech
from tests.audio.test_transcriber import FakeEngine
from tests.audio.voice_kit import Bytes
from tests.checkpoints import refused

LAYOUT = Layout.of({"vocab_size": 80539})
FRAME = [LAYOUT.audio + 4032 * group + 7 for group in range(4)]
WHOLE = [LAYOUT.start, *FRAME, LAYOUT.end]


class Codec:
    """Frames of 9 samples; 10 of them are a second."""
    sample_rate, config = 90, SimpleNamespace(frame=9)
    decoded = 0

    def reset(self):
        pass

    async def decode(self, frames):
        self.decoded += len(frames)
        return bytes(4 * 9 * len(frames))


class Engine:
    """Says `ids` of every sentence, in batches of `size`; `asked` counts them."""
    tokenizer = Bytes()

    def __init__(self, ids, size=4, reason="stop"):
        self.ids, self.size, self.reason, self.asked = ids, size, reason, 0

    async def generate_ids(self, prompt, params, *, max_tokens, stop_ids, cancel):
        self.asked += 1
        for at in range(0, len(self.ids), self.size):
            if cancel.cancelled:
                yield Batch([], "cancel")
                return
            last = at + self.size >= len(self.ids)
            yield Batch(self.ids[at:at + self.size], self.reason if last else None)


def speaker(ids=WHOLE, **options):
    return Speaker(Engine(ids, **options), Codec(), LAYOUT)


def said(one, text, **options):
    async def collect():
        return [piece async for piece in one.speak(text, **options)]
    return asyncio.run(collect())


# ---- speaking ----------------------------------------------------------------------------------

WORDS = " ".join(f"word{i}" + ("." if i % 17 == 16 else "") for i in range(5000))


async def pieces_of(text, size=83):
    """A text as it is written."""
    for at in range(0, len(text), size):
        yield text[at:at + size]


def test_5000_words_take_no_more_memory_than_50():
    """Nothing of what was said is kept: half way through, and at the end, as little is in use."""
    async def listen(one):
        used, count = [], 0
        async with aclosing(one.speak(pieces_of(WORDS))) as stream:
            async for _ in stream:
                count += 1
                if count in (30, 500):
                    gc.collect()
                    used.append(tracemalloc.get_traced_memory()[0])
        return used, count

    one = speaker()
    tracemalloc.start()
    try:
        (early, late), count = asyncio.run(listen(one))
    finally:
        tracemalloc.stop()
    assert one.timing.sentences == -(-5000 // 17) and count > 500
    assert late - early < 20_000, "bytes"


@pytest.mark.parametrize("text", [WORDS, WORDS.replace(".", ""), WORDS.replace(" ", "").replace(".", "")])
def test_5000_words_are_begun_early_and_can_be_stopped(text):
    """Also where no sentence ever ends, and where nothing parts the words."""
    given = 0

    async def pieces():
        nonlocal given
        async for piece in pieces_of(text):
            given += len(piece)
            yield piece

    async def listen():
        cancel, found = CancelToken(), []
        async for piece in one.speak(pieces(), cancel=cancel):
            found.append(piece.text)
            if len(found) == 5:
                cancel.cancel()
        return found

    one = speaker()
    found = asyncio.run(asyncio.wait_for(listen(), 10))
    assert all(len(text) <= MOST for text in found) and len(found) == 5
    assert one.engine.asked <= 4 and given < len(text) / 10


@pytest.mark.parametrize("text, heard", [
    ("\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467! Yes. \U0001f389\U0001f389", ["Yes."]),
    ("See https://example.com/a?b=1#c. \u203c\ufe0f", ["See example.com."]),
    ("\u4f60\u597d\u3002\u4e16\u754c\uff01", ["\u4f60\u597d\u3002", "\u4e16\u754c\uff01"]),
    ("\u0645\u0631\u062d\u0628\u0627! \u0928\u092e\u0938\u094d\u0924\u0947\u0964", ["\u0645\u0631\u062d\u0628\u0627!", "\u0928\u092e\u0938\u094d\u0924\u0947\u0964"]),
    ("\ud800 \x00\x07 Hm.", ["Hm."])])
def test_emoji_addresses_and_other_scripts(text, heard):
    assert list(dict.fromkeys(piece.text for piece in said(speaker(), text))) == heard


def test_5000_signs_of_a_script_without_spaces():
    one = speaker()
    texts = {piece.text for piece in said(one, "\u8a9e" * 5000)}
    assert sorted(map(len, texts)) == [5000 % MOST, MOST]
    assert one.timing.sentences == -(-5000 // MOST)


@pytest.mark.parametrize("ids, what", [
    ([LAYOUT.start, FRAME[0], FRAME[0]], "group 1"),                            # of another group
    ([LAYOUT.start, LAYOUT.audio + 4 * 4032], "group 0"),                       # beyond the last code
    ([LAYOUT.start, *FRAME[:3], FRAME[3] + 4032], "group 3"), ([LAYOUT.start, 17], "group 0")])
@pytest.mark.parametrize("size", [1, 64])
def test_a_model_that_says_no_speech_is_told_and_the_next_text_is_spoken(ids, what, size):
    one = speaker(ids, size=size)
    assert what in refused("E_BAD_SPEECH", lambda: said(one, "Hm. Yes.")).message
    one.engine.ids = WHOLE
    assert [piece.complete for piece in said(one, "Hm.") if piece.samples] == [True]


@pytest.mark.parametrize("end", [[], [LAYOUT.end]])
@pytest.mark.parametrize("rest", [1, 2, 3])
def test_an_odd_number_of_codes_is_spoken_without_the_rest(rest, end):
    """The model breaks a frame off, as its length ends or by its own end of speech."""
    one = speaker([LAYOUT.start, *FRAME, *FRAME[:rest], *end], size=64, reason="stop" if end else "length")
    (piece,) = said(one, "Hm.")
    assert len(piece.samples) == 4 * 9 and one.codec.decoded == 1
    assert piece.complete == bool(end)


# ---- hearing -----------------------------------------------------------------------------------


def heard(samples, most=None):
    """(segments, the engine) of a recording; cancelled after `most` of them."""
    async def collect():
        cancel, found = CancelToken(), []
        async for piece in Transcriber(engine, (2,)).transcribe(samples, cancel=cancel):
            if not isinstance(piece, str):
                found.append(piece)
            if len(found) == most:
                cancel.cancel()
        return found

    engine = FakeEngine([3, 4, 2])
    return asyncio.run(collect()), engine


@pytest.fixture(scope="module")
def half_an_hour():
    """Eight seconds of speech and three of silence, and so on."""
    x = np.concatenate([speech(8), silence(3)]).astype(np.float32)
    return np.tile(x, 30 * 60 * RATE // len(x) + 1)[:30 * 60 * RATE]


def test_thirty_minutes_are_heard_to_their_end(half_an_hour):
    began = time.process_time()
    found, engine = heard(half_an_hour)
    assert time.process_time() - began < 20, "seconds beside the model's own"
    assert len(found) == 164 and found[-1].end > 1790
    assert max(samples for samples, _ in engine.asked) <= 26 * RATE
    assert all(a.end <= b.start for a, b in zip(found, found[1:]))
    assert sum(one.end - one.start for one in found) > 0.7 * 1800


def test_thirty_minutes_can_be_stopped(half_an_hour):
    found, engine = heard(half_an_hour, most=2)
    assert len(found) == 2 and len(engine.asked) == 2


@pytest.mark.parametrize("samples", [[], [0.0], [1.0], [-1.0, 1.0], np.ones(319)])
def test_one_sample_is_nobody_s_word(samples):
    found, engine = heard(np.array(samples, np.float32))
    assert found == [] and engine.asked == []


def test_clipped_speech_is_heard():
    found, _ = heard(np.clip(40 * np.concatenate([silence(1), speech(2), silence(1)]), -1, 1))
    assert [one.text for one in found] == ["ever tried"]
