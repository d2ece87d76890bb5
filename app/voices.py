"""The worker's voice: one Speaker, loaded when it is first asked for, with a turn of its own."""

import asyncio
from contextlib import aclosing

from app import speech


class Voices:
    """`open_speaker(request, params, progress)` -> (Speaker, close): what the loader gives."""

    def __init__(self, open_speaker):
        self._open, self._turn = open_speaker, asyncio.Lock()
        self._speaker, self._shut, self._key = None, None, None

    @property
    def busy(self):
        return self._turn.locked()

    async def close(self):
        """Releases the voice's memory; the next request loads it again."""
        async with self._turn:
            await self._close()

    async def _close(self):
        speaker, shut = self._speaker, self._shut
        self._speaker = self._shut = self._key = None
        if speaker is not None:
            await speaker.close()
            shut()

    async def _loaded(self, request, params, progress):
        key = request.model, request.codec, *(params.get(k) for k in speech.LOADING)
        if key != self._key:
            await self._close()
            self._speaker, self._shut = await self._open(request, params, progress)
            self._key = key
        return self._speaker

    async def speak(self, request, params, cancel, progress):
        """Yields (event, data, f32 samples as bytes or None) of one request, one after the other
        in the order of arrival. Raises what loading and speaking raise; a voice whose device is
        gone is dropped, and the next request loads it anew."""
        async with self._turn:
            if cancel.cancelled:
                yield "result", {}, None
                return
            speaker = await self._loaded(request, params, progress)
            try:
                answer = self._answer(speaker, request, cancel)
                async with aclosing(answer) as events:
                    async for event in events:
                        yield event
            except Exception as error:
                if getattr(error, "code", None) in speech.LOST:
                    await self._close()
                raise

    async def _answer(self, speaker, request, cancel):
        rate, parts = speaker.sample_rate, []
        found = speaker.speak(request.input, voice=request.voice, sampling=request.sampling,
                              cancel=cancel)
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

    def stats(self):
        """Figures of the last text, None without a voice."""
        return self._speaker and self._speaker.stats()
