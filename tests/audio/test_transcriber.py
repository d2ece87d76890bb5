"""The transcriber on a fake engine: limits, loops, times, cancels; then on the tiny checkpoint."""
import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from pyengine.audio import transcriber
from pyengine.audio.transcriber import RATE, Transcriber, circles, spread
from pyengine.decode.loop import CancelToken
from pyengine.engine import Piece
from tests.audio.test_segments import silence, speech

WORDS = dict(enumerate(["", "<s>", "</s>", "ever", "tried", "again", "fail"]))
WORDS |= {i: f"word{i}" for i in range(7, 300)}


class FakeEngine:
    """Says `ids` about any segment, one a piece; notes what it was asked."""

    def __init__(self, ids):
        self.ids, self.asked, self.context = ids, [], 194
        self.model = SimpleNamespace(config=SimpleNamespace(start=1))
        self.tokenizer = SimpleNamespace(decode=lambda found: " ".join(WORDS[i] for i in found))

    async def listen(self, data, rows):
        self.asked.append((len(data) // 4, rows))

    async def generate(self, ids, params, *, max_tokens, stop_ids, cancel):
        assert ids == [1] and params.temperature == 0
        for i, token in enumerate(self.ids[:max_tokens]):
            last = token in stop_ids
            end = "stop" if last else "length" if i + 1 == max_tokens else None
            yield Piece("" if last else " " + WORDS[token], [token], end)
            if last:
                return


def run(engine, samples, **options):
    async def collect():
        return [p async for p in Transcriber(engine, (2,)).transcribe(samples, **options)]
    pieces = asyncio.run(collect())
    return [p for p in pieces if isinstance(p, str)], [p for p in pieces if not isinstance(p, str)]


def test_segments_words_and_times():
    x = np.concatenate([silence(1), speech(2), silence(3), speech(2), silence(1)])
    texts, found = run(FakeEngine([3, 4, 2]), x)
    assert texts == [" ever", " tried"] * 2
    assert [one.text for one in found] == ["ever tried"] * 2
    assert all(one.closed and one.finish_reason == "stop" for one in found)
    for one in found:
        assert [w.word for w in one.words] == ["ever", "tried"]
        assert one.start <= one.words[0].start < one.words[0].end <= one.words[1].end <= one.end
    assert 5.5 < found[1].words[0].start < 6.5


def test_so_many_tokens_a_second_and_no_more():
    x = np.concatenate([silence(0.5), speech(4), silence(0.5)])
    _, (one,) = run(FakeEngine([3, 4, 5, 6] * 40), x)
    assert one.finish_reason in ("length", "repetition")
    engine = FakeEngine(list(range(3, 200)))
    _, (one,) = run(engine, x)
    length = engine.asked[0][0] / RATE
    assert len(one.words) <= 6.5 * length and one.finish_reason == "length"


def test_a_short_word_gets_silence_and_room():
    engine = FakeEngine([3, 2])
    _, (one,) = run(engine, np.concatenate([silence(0.01), speech(0.15)]))
    assert engine.asked[0][0] == RATE // 2 and one.text == "ever"


@pytest.mark.parametrize("ids, kept", [
    ([3] * 6, 1), ([3] * 5, 5), ([3, 4] * 4, 2), ([3, 4] * 3, 6), ([5, 6, 3, 4, 4] * 3, 5),
    ([3, 4, 5, 6] * 4, 4), ([3, 4, 5] * 2 + [6], 7)])
def test_circles(ids, kept):
    assert len(ids) - circles([9, 8, 7, *ids]) == kept


@pytest.mark.parametrize("burst", [1, 3, 64])
def test_circles_end_alike_however_many_ids_come_at_once(burst):
    ids, looped = [9, 8, *[3, 4] * 30], False
    found = []
    for at in range(0, len(ids), burst):
        if not looped:
            found, looped = transcriber.extended(found, ids[at:at + burst])
    assert looped and found == [9, 8, 3, 4]


def test_a_text_in_circles_ends():
    _, (one,) = run(FakeEngine([5, 6] * 60), np.concatenate([speech(20), silence(1)]))
    assert one.finish_reason == "repetition" and one.text == "again fail"


def test_an_open_segment_and_a_cancel():
    x = np.concatenate([silence(1), speech(2)])
    _, (one,) = run(FakeEngine([3, 2]), x, live=True)
    assert not one.closed
    cancel = CancelToken()
    cancel.cancel()
    assert run(FakeEngine([3, 2]), x, cancel=cancel) == ([], [])


def test_words_of_silence_have_times_too():
    words = spread("ever tried", np.zeros(RATE, np.float32), 5.0)
    assert [w.word for w in words] == ["ever", "tried"]
    assert 5 <= words[0].start < words[1].end <= 6.1
    assert spread("", speech(1), 0.0) == ()
    assert transcriber.LEAST_TOKENS > 1
