"""The worker's ears: one model that hears, loaded when it is first asked for, on a device of its
own beside the chat's, with a turn of its own."""

import asyncio
import json
from contextlib import aclosing

from app import audio, settings, tuning
from app.session import Session, tokenizer_of
from pyengine.errors import EngineError

DEFAULT_MODEL = "moonshine-tiny"
LOADING = ("device", "quant", "kv", "hub")   # what shapes the model that is loaded
LOST = ("E_DEVICE_LOST", "E_NO_ANSWER", "E_OUT_OF_MEMORY", "E_GPU")


def check_hears(session):
    """Raises E_BAD_REQUEST for a session of a model that does not hear, E_NO_TOKENIZER."""
    if session.checkpoint.config.get("model_type") != "moonshine":
        raise EngineError("E_BAD_REQUEST", param="model", got=repr(session.model),
                          wanted=f"a model that hears, such as {DEFAULT_MODEL}")
    if session.tokenizer is None:
        raise EngineError("E_NO_TOKENIZER", model=session.model, detail="it has no tokenizer.json")


def transcriber_of(session):
    """The Transcriber of a session. Raises as `check_hears`."""
    from pyengine.audio.transcriber import Transcriber

    check_hears(session)
    return Transcriber(session.engine, session.stop_ids())


async def open_ears(loader, parts, params, progress, make_room):
    """The Session of a `transcribe` call's model. `make_room(bytes)` is awaited before anything is
    put on the GPU. Raises what downloading, reading and loading raise; nothing stays open then."""
    from app.steady import load_steadily
    from pyengine.fit import UNLIMITED, fit
    from pyengine.formats.checkpoint import open_checkpoint
    from pyengine.text.tokenizer import JsBackend

    options = settings.load_options({k: params[k] for k in ("quant", "kv") if params.get(k)})
    progress("read")
    model, files = await loader.open_files(params.get("model") or DEFAULT_MODEL, params)
    try:
        checkpoint = await open_checkpoint(files)
        config = json.dumps(checkpoint.tokenizer_config)
        tokenizer = tokenizer_of(checkpoint, model,
                                 lambda text: JsBackend(parts.make_tokenizer(text, config)))
        session = Session(None, model, checkpoint, tokenizer, None)
        check_hears(session)
        needs = fit(checkpoint.config, budget=UNLIMITED, quant=options.get("quant"))
        await make_room(needs.bytes["total"])
        session.engine = await load_steadily(
            checkpoint, lambda: _device(parts, params.get("device")), on_progress=progress,
            selftest_cache=tuning.BrowserCache(parts), **options)
        session.engine.tokenizer = tokenizer
    except BaseException:
        for source in files.values():
            source.close()
        raise
    progress("ready", 1, 1)
    return session


async def _device(parts, name):
    """A device beside the chat's, or the ops' numpy references. Raises E_NO_WEBGPU."""
    if name == "reference":
        from pyengine.device.numpy_ref import NumpyDevice

        return NumpyDevice()
    from pyengine.device.web import WebDevice

    return await WebDevice.opened(parts.new_binding())


class Ears:
    """`open_session(params, progress)` -> Session of the model that a request names."""

    def __init__(self, open_session):
        self._open, self._turn = open_session, asyncio.Lock()
        self._session = self._hears = self._key = None

    @property
    def busy(self):
        return self._turn.locked()

    async def close(self):
        """Releases the model's memory; the next request loads it again."""
        async with self._turn:
            await self._close()

    async def _close(self):
        session, self._session, self._hears, self._key = self._session, None, None, None
        if session is not None:
            await session.close()

    async def _loaded(self, params, progress):
        key = params.get("model") or DEFAULT_MODEL, *(params.get(k) for k in LOADING)
        if key != self._key:
            await self._close()
            self._session = await self._open(params, progress)
            self._hears, self._key = transcriber_of(self._session), key
        return self._hears

    async def transcribe(self, request, params, data, cancel, progress):
        """Yields (event, data) of one request, in the order of arrival; `data`: f32 bytes at the
        request's rate. Raises what loading and the engine raise; a model whose device is gone is
        dropped, and the next request loads it anew."""
        async with self._turn:
            if cancel.cancelled:
                return
            samples = audio.to_samples(data, request.sample_rate)
            hears = await self._loaded(params, progress)
            try:
                answer = self._answer(hears, request, samples, cancel)
                async with aclosing(answer) as events:
                    async for event in events:
                        yield event
            except EngineError as error:
                if error.code in LOST:
                    await self._close()
                raise

    async def _answer(self, hears, request, samples, cancel):
        from pyengine.models.moonshine import RATE

        segments = []
        pieces = hears.transcribe(samples, live=request.live, cancel=cancel)
        async with aclosing(pieces):
            async for piece in pieces:
                if not isinstance(piece, str):
                    segments.append(piece)
                elif request.stream:
                    yield "chunk", audio.delta(piece)
        if request.stream:
            yield "chunk", audio.done(segments)
            yield "result", {}
        elif request.live:
            ratio = request.sample_rate / RATE
            yield "result", audio.live_answer(segments, hears.consumed(samples), ratio)
        else:
            yield "result", audio.answer(request, segments, len(samples) / RATE)

    def stats(self):
        """The engine's figures, None while no model is loaded."""
        if self._session is None:
            return None
        return {**self._session.engine.stats(), "model": self._session.model}

    @property
    def nbytes(self):
        """GPU memory that is taken."""
        return self._session.engine.stats()["bytes"]["total"] if self._session else 0
