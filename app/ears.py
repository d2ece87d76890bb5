"""The worker's ears: one model that hears, loaded when it is first asked for, on a device of its
own beside the chat's, with a turn of its own."""

import json
from contextlib import aclosing

from app import audio, settings, tuning
from app.devices import open_device
from app.held import Held
from app.session import Session, tokenizer_of
from pyengine.errors import EngineError

DEFAULT_MODEL = "moonshine-tiny"
LOADING = ("device", "quant", "kv", "hub")   # what shapes the model that is loaded


def check_hears(session):
    """Raises E_BAD_REQUEST for a session of a model that does not hear, E_NO_TOKENIZER."""
    if not session.hears:
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
            checkpoint, lambda: open_device(parts, params.get("device"), parts.new_binding),
            on_progress=progress, selftest_cache=tuning.BrowserCache(parts), **options)
        session.engine.tokenizer = tokenizer
    except BaseException:
        for source in files.values():
            source.close()
        raise
    progress("ready", 1, 1)
    return session


class Ears(Held):
    """`open_session(params, progress)` -> Session of the model that a request names."""

    def __init__(self, open_session):
        super().__init__(lambda held: held[0].close())
        self._open = open_session

    async def _opened(self, params, progress):
        session = await self._open(params, progress)
        return session, transcriber_of(session)

    async def transcribe(self, request, params, data, cancel, progress):
        """Yields (event, data) of one request, in the order of arrival; `data`: f32 bytes at the
        request's rate. Raises what loading and the engine raise."""
        async with self._turn:
            if cancel.cancelled:
                yield "result", {}
                return
            samples = audio.to_samples(data, request.sample_rate)
            key = params.get("model") or DEFAULT_MODEL, *(params.get(k) for k in LOADING)
            _, hears = await self._loaded(key, lambda: self._opened(params, progress))
            answer = self._answer(hears, request, samples, cancel)
            async with self._dropped_if_lost(), aclosing(answer) as events:
                async for event in events:
                    yield event

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

    @property
    def nbytes(self):
        """GPU memory that is taken."""
        return self._held[0].engine.stats()["bytes"]["total"] if self._held else 0
