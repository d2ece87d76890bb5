"""Speech to text with one engine: a recording is cut at pauses, each segment encoded and decoded
greedily, at most so many tokens a second, and ended where the text goes round in circles."""
from contextlib import aclosing
from dataclasses import dataclass

from pyengine.audio.segments import FRAME, consumed, cut, loudness, speaking
from pyengine.decode.loop import CancelToken
from pyengine.decode.sampling import SamplingParams
from pyengine.lazy import np
from pyengine.models.moonshine import RATE, frames

TOKENS_PER_SECOND = 6.5     # of audio; Jeffries et al. 2024
LEAST_TOKENS = 6
LEAST_SECONDS = 0.5         # shorter segments get silence behind them
# (shortest and longest period in tokens, how often it comes in a row): text in circles
LOOPS = ((1, 1, 6), (2, 4, 4), (5, 24, 3))


@dataclass(frozen=True)
class Word:
    """A word with its times in seconds from the recording's start, about right: they follow the
    length of the words and where in the segment speech is."""
    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Heard:
    """A segment's text, its times in seconds, its `Word`s; `closed`: it will not change.
    `finish_reason`: "stop", "length" (the limit of tokens), "repetition" or "cancel"."""
    start: float
    end: float
    text: str
    words: tuple
    closed: bool
    finish_reason: str


def circles(ids):
    """How many ids at the end repeat what came right before them; 0 where text goes on well."""
    for shortest, longest, times in LOOPS:
        for period in range(shortest, longest + 1):
            size = period * times
            tail = ids[-size:]
            if len(tail) == size and tail == tail[:period] * times:
                return size - period
    return 0


def extended(ids, new):
    """(`ids` with `new`, False), or what is left where they go round in circles, and True: id by
    id, so that it does not matter how many come at once."""
    for token in new:
        ids = [*ids, token]
        extra = circles(ids)
        if extra:
            return ids[:-extra], True
    return ids, False


def spread(text, samples, start, rate=RATE):
    """The `Word`s of a segment that begins `start` seconds into the recording."""
    found = text.split()
    speech = np.flatnonzero(speaking(loudness(samples, rate)))
    if not len(speech):
        speech = np.arange(max(1, int(len(samples) / rate / FRAME)))
    lengths = np.cumsum([0] + [len(word) + 1 for word in found])
    # the frame of speech in which each word begins, and behind the last
    places = lengths / max(lengths[-1], 1) * len(speech)
    begin = [start + FRAME * float(speech[min(int(p), len(speech) - 1)]) for p in places[:-1]]
    end = [start + FRAME * float(speech[min(max(int(np.ceil(p)) - 1, 0), len(speech) - 1)] + 1)
           for p in places[1:]]
    return tuple(Word(*one) for one in zip(found, begin, end))


class Transcriber:
    """`engine` is an `Engine` of a model that hears, with its tokenizer; `stop_ids` end a text."""

    def __init__(self, engine, stop_ids):
        self._engine, self._stop_ids = engine, tuple(stop_ids)
        self._start = engine.model.config.start
        self._heard = None  # (samples' bytes, what was heard in them): of an open segment

    async def transcribe(self, samples, *, live=False, cancel=None):
        """Yields text (str) as it comes and, behind the texts of each, its `Heard`. `samples`: mono
        f32 at RATE. `live`: the recording goes on, the last segment may be open. Raises what the
        engine raises."""
        cancel = cancel or CancelToken()
        for segment in cut(samples, RATE, live):
            if cancel.cancelled:
                return
            part = samples[segment.start:segment.end]
            async with aclosing(self._segment(part, segment, cancel)) as pieces:
                async for piece in pieces:
                    yield piece

    def consumed(self, samples):
        """How many of a live recording's samples need not come again."""
        return consumed(samples, RATE, cut(samples, RATE, True))

    async def _segment(self, samples, segment, cancel):
        ids, reason, start = [], "stop", segment.start / RATE
        least = round(LEAST_SECONDS * RATE)
        padded = np.pad(samples, (0, max(0, least - len(samples)))).astype("<f4")
        await self._engine.listen(padded.tobytes(), frames(len(padded)))
        most = max(LEAST_TOKENS, int(TOKENS_PER_SECOND * len(samples) / RATE))
        most = min(most, self._engine.context)
        pieces = self._engine.generate([self._start], SamplingParams(temperature=0),
                                       max_tokens=most, stop_ids=self._stop_ids, cancel=cancel)
        async with aclosing(pieces):
            async for piece in pieces:
                reason = piece.finish_reason or reason
                ids, looped = extended(ids, piece.ids)
                if looped:
                    reason = "repetition"
                    break
                if piece.text:
                    yield piece.text
        text = self._engine.tokenizer.decode([i for i in ids if i not in self._stop_ids]).strip()
        yield Heard(start, segment.end / RATE, text, spread(text, samples, start), segment.closed,
                    reason)
