"""The worker's voice: one Speaker, loaded when it is first asked for, with a turn of its own."""

from contextlib import aclosing

from app import speech
from app.held import Held


async def _release(held):
    speaker, shut = held
    await speaker.close()
    shut()


class Voices(Held):
    """`open_speaker(request, params, progress)` -> (Speaker, close): what the loader gives."""

    def __init__(self, open_speaker):
        super().__init__(_release)
        self._open = open_speaker

    async def speak(self, request, params, cancel, progress):
        """Yields (event, data, f32 samples as bytes or None) of one request, one after the other
        in the order of arrival. Raises what loading and speaking raise."""
        async with self._turn:
            if cancel.cancelled:
                yield "result", {}, None
                return
            key = request.model, request.codec, *(params.get(k) for k in speech.LOADING)
            speaker, _ = await self._loaded(key, lambda: self._open(request, params, progress))
            answer = self._answer(speaker, request, cancel)
            async with self._dropped_if_lost(), aclosing(answer) as events:
                async for event in events:
                    yield event

    async def _answer(self, speaker, request, cancel):
        rate, parts = speaker.sample_rate, []
        found = speaker.speak(request.input, voice=request.voice, speaker=request.speaker,
                              sampling=request.sampling, cancel=cancel)
        async with aclosing(found) as pieces:
            async for piece in pieces:
                if not request.stream:
                    parts.append(piece.samples)
                elif piece.samples:
                    yield "chunk", {"type": "speech.audio.delta", "sample_rate": rate,
                                    "sentence": piece.sentence, "text": piece.text}, piece.samples
        usage = speech.usage(speaker.timing)
        if request.stream:
            yield "chunk", {"type": "speech.audio.done", "usage": usage}, None
            yield "result", {}, None
            return
        form = speech.FORMATS[request.response_format]
        yield "result", {"sample_rate": rate, "content_type": form, "usage": usage}, b"".join(parts)

    @property
    def nbytes(self):
        """GPU memory that is taken."""
        return speech.nbytes(self._held[0].stats()) if self._held else 0
