"""Text to speech: sentences to tokens, tokens to frames, frames to samples, each as it comes."""
import struct
import time
from contextlib import aclosing
from dataclasses import dataclass, replace

from pyengine.audio.sentences import Sentences, speakable
from pyengine.decode.loop import CancelToken
from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError
from pyengine.models import kani_tts

PAUSE_SECONDS = 0.15       # of silence between sentences, which the model does not make
SECONDS_A_CHARACTER = 0.4  # of speech, at most: slow readers take a quarter of that
SECONDS_AT_LEAST = 3.0
SEEDS = 1 << 32


@dataclass
class Speech:
    """Samples f32 (little endian bytes, perhaps none) of sentence number `sentence`, which reads
    `text`. `complete`: False at the end of one that was broken off as the model did not end it."""
    samples: bytes
    sentence: int
    text: str
    complete: bool = True


@dataclass
class Timing:
    """Seconds until the first samples and in all; what was made until then."""
    first: float = 0.0
    total: float = 0.0
    frames: int = 0
    tokens: int = 0
    sentences: int = 0
    prompt_tokens: int = 0


class Speaker:
    """A loaded voice: an `Engine` that was loaded with `speech=layout.mask`, and a `Codec`. One
    text at a time; the device stays the caller's."""

    def __init__(self, engine, codec, layout, generation_config=None, clock=time.perf_counter):
        self.engine, self.codec, self.layout = engine, codec, layout
        self._generation_config, self._clock = generation_config, clock
        self.timing = Timing()
        self._speaker = None  # the vector that the engine has

    @property
    def sample_rate(self):
        """Samples of a second."""
        return self.codec.sample_rate

    @property
    def voices(self):
        """Names that may be asked for."""
        return self.layout.voices or (kani_tts.DEFAULT_VOICE,)

    def _params(self, given):
        return SamplingParams(**kani_tts.sampling(self._generation_config, given)).with_seed()

    async def speak(self, text, *, voice=None, speaker=None, sampling=None, cancel=None):
        """Yields `Speech` as it is made. `text`: a string, or an async iterable of its pieces, of
        which each sentence is spoken once it is whole. `voice`: one of `voices`; `speaker`: a
        vector of a model that takes one. `sampling`: fields of `SamplingParams`.

        Raises `E_BAD_REQUEST` for a voice or a vector that there is not and a text in which nothing
        can be said, `E_BAD_SPEECH`, `E_BUSY`, and what the device raises."""
        self.layout.voice(voice)
        self._turn_to(speaker)
        params, cancel = self._params(sampling), cancel or CancelToken()
        timing, began = Timing(), self._clock()
        self.timing = timing
        async with aclosing(_sentences(text)) as sentences:
            async for sentence in sentences:
                if cancel.cancelled:
                    break
                ids = self.layout.prompt(self.engine.tokenizer, sentence, voice,
                                         speaker is not None)
                one = self._sentence(sentence, ids, params, cancel, timing)
                async with aclosing(one) as found:
                    async for speech in found:
                        timing.total = self._clock() - began
                        timing.first = timing.first or timing.total
                        yield speech
        if not timing.sentences and not cancel.cancelled:
            raise EngineError("E_BAD_REQUEST", param="input", got="a text without words",
                              wanted="text that can be spoken")

    def _turn_to(self, speaker):
        """Gives the engine a speaker's vector, where it is another one."""
        self.layout.check_speaker(speaker)
        if speaker is not None and tuple(speaker) != self._speaker:
            self.engine.speak_as(struct.pack(f"<{len(speaker)}f", *speaker))
            self._speaker = tuple(speaker)

    async def _sentence(self, text, ids, params, cancel, timing):
        """Yields the `Speech` of one sentence, before it a pause where it is not the first."""
        number, timing.sentences = timing.sentences, timing.sentences + 1
        timing.prompt_tokens += len(ids)
        if number:
            silence = struct.pack("<f", 0.0) * int(PAUSE_SECONDS * self.sample_rate)
            yield Speech(silence, number, text)
        seeded = replace(params, seed=(params.seed + number) % SEEDS)
        frames = kani_tts.Frames(self.layout)
        self.codec.reset()
        batches = self.engine.generate_ids(ids, seeded, max_tokens=self._most(text),
                                           stop_ids=(self.layout.end,), cancel=cancel)
        async with aclosing(batches):
            async for batch in batches:
                timing.tokens += len(batch.ids)
                new = frames.push(batch.ids)
                broken = batch.finish_reason == "length" and not frames.ended
                if (new or broken) and not cancel.cancelled:
                    timing.frames += len(new)
                    yield Speech(await self.codec.decode(new), number, text, not broken)

    def _most(self, text):
        """Tokens that a sentence may take: a model that does not end it must not go on."""
        seconds = max(SECONDS_AT_LEAST, SECONDS_A_CHARACTER * len(text))
        rate = self.sample_rate / self.codec.config.frame * self.layout.groups
        return min(kani_tts.MOST_TOKENS, int(seconds * rate) + 2)

    def stats(self):
        """Figures of the last text: seconds of audio and of work, and how many times faster than
        real time it was made; the engine's own under "engine"."""
        timing = self.timing
        seconds = timing.frames * self.codec.config.frame / self.sample_rate
        return {
            "first_audio_ms": 1e3 * timing.first if timing.first else None,
            "seconds": timing.total, "audio_seconds": seconds, "frames": timing.frames,
            "tokens": timing.tokens, "sentences": timing.sentences,
            "prompt_tokens": timing.prompt_tokens,
            "times_real_time": seconds / timing.total if timing.total else None,
            "codec_bytes": self.codec.bytes_needed(), "engine": self.engine.stats(),
        }

    async def close(self):
        """Releases the memory of both models."""
        self.codec.close()
        await self.engine.close()


async def _sentences(text):
    """What can be said of each sentence of a text, or of its pieces."""
    stream = Sentences()
    if isinstance(text, str):
        found = stream.push(text) + stream.finish()
    else:
        found = []
        async for piece in text:
            for sentence in stream.push(piece):
                if said := speakable(sentence):
                    yield said
        found = stream.finish()
    for sentence in found:
        if said := speakable(sentence):
            yield said
