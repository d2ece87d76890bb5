"""Joins the engine with the browser's JavaScript parts and speaks the page's protocol.

`parts` is one object of JavaScript (in tests, of Python) with
    post(json_text[, f32 samples as bytes]), log(text), now() -> ms since the worker began,
    site_url,
    read_index() -> Promise<json_text>,
    open_model(model, json of {hub, token}) -> Promise<[reader]>, stop_opening(),
    need(package) -> Promise, make_tokenizer(json_text, config_text) -> object,
    open_grammar() -> Promise<js/grammar.js's object>,
    binding() -> Promise<GPU binding>, new_binding() -> Promise<another one beside it>,
    gpu_facts() -> Promise<json_text of its facts or null>,
    counts() -> json_text,
    code() -> text that changes with our code,
    started(json of the load's params) -> Promise<what warm_start.js began for them, or undefined>,
    keep_plan(json of the params, json of its texts, programs, constants) -> Promise,
    tuning_get(key) -> Promise<text | undefined>, tuning_put(key, text) -> Promise,
    storage_notice() -> json_text of {code, message} where the model is not kept, or null
"""

import asyncio
import json
import sys
import traceback
from contextlib import aclosing, contextmanager
from functools import partial

from app import audio, catalog, catalog_voices, openai_api, protocol, responses, settings, speech
from app.ears import Ears
from app.loader import BrowserLoader, Progress
from app.residents import Residents, Role
from app.session import Outcome
from app.voices import Voices
from pyengine.budget import budget_of
from pyengine.decode.loop import CancelToken
from pyengine.errors import EngineError


def create(parts):
    """The worker of this page's engine, for `engine_worker.js`."""
    return Worker(parts, BrowserLoader(parts))


class Worker:
    """Handles messages: one generation at a time in the order of arrival, loads shared by key."""

    def __init__(self, parts, loader):
        self._parts, self._loader = parts, loader
        self._session = None  # the loaded model, with
        self._key = None  # what `load` was asked for
        self._loading = None  # (key, future, [ids that wait for it]); None once all gave it up
        self._cancels = {}  # request id -> CancelToken, queued and running alike
        self._voices = Voices(self._open_voice)
        self._asides = {}  # the same of what is spoken and heard, beside answers and loads
        self._ears = Ears(self._open_ears)
        self._turn = asyncio.Lock()  # FIFO: asyncio wakes waiters in order
        self._changing = asyncio.Lock()  # one load or unload at a time
        self._residents = Residents(self._roles(), self._budget)
        self._tasks = set()  # strong references, as the loop keeps weak ones

    def receive(self, text, samples=None):
        """A message as JSON text, and the Float32Array beside it. Returns nothing: a coroutine
        would be a proxy in JavaScript."""
        message = json.loads(text)
        if samples is not None:
            message["audio"] = samples.to_bytes()
        task = asyncio.ensure_future(self.handle(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def handle(self, message):
        """Answers one message by posting events; never raises."""
        id_ = message.get("id") if isinstance(message, dict) else None
        try:
            call = protocol.parse(message)
            await getattr(self, "_do_" + call.method)(call)
        except Exception as error:  # the seam: whatever it is, the page hears of it
            self._post(id_ if isinstance(id_, str) else "", "error", self._describe(error))

    def _post(self, id_, event, data, audio=None):
        text = json.dumps(protocol.event(id_, event, data), allow_nan=False)
        self._parts.post(*((text,) if audio is None else (text, audio)))

    def _describe(self, error):
        known = self._loader.translate(error)
        if known is None:
            self._parts.log("".join(traceback.format_exception(error)))
            last = traceback.format_exception_only(error)[-1].strip()
            known = EngineError("E_INTERNAL", detail=last)
        return known.to_dict()

    # load and unload

    async def _do_load(self, call):
        key = _key(call.params)
        if self._loading and self._loading[0] == key:
            self._loading[2].append(call.id)
            await asyncio.shield(self._loading[1])
        elif self._session is None or self._key != key:
            if self._loading or any(not token.cancelled for token in self._cancels.values()):
                owner = "the model " + (self._session.model if self._session else "being loaded")
                raise EngineError("E_BUSY", what="The engine", owner=owner)
            await self._load(key, call)
        self._post(call.id, "result", self._loaded())

    async def _load(self, key, call):
        watchers = [call.id]
        future = asyncio.get_running_loop().create_future()
        mine = self._loading = (key, future, watchers)
        progress = Progress(
            self._parts.now, lambda data: [self._post(i, "progress", data) for i in watchers]
        )
        try:
            # a cancelled request, or a load that was given up, may still be ending
            async with self._turn, self._changing:
                if not watchers:
                    raise openai_api.bad("signal", "aborted", "a load that someone waits for")
                await self._close()
                self._session = await self._loader.load(call.params, progress)
                self._key = key
                await self._residents.after("chat", call.params)
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # read once, or asyncio warns when nobody else waited
            raise
        finally:
            if self._loading is mine:
                self._loading = None

    def _give_up(self, id_):
        """`id_` no longer waits for the load under way, which ends with its last waiter, so that
        another can begin. -> whether it waited."""
        watchers = self._loading[2] if self._loading else []
        if id_ not in watchers:
            return False
        watchers.remove(id_)
        if not watchers:
            self._loading = None
            self._loader.give_up()
        return True

    def _loaded(self):
        session = self._session
        return {
            "model": session.model,
            "context": session.engine.context,
            "settings": settings.as_json(),
            "defaults": settings.defaults(session.generation_config),
            "chat": session.can_chat,
            "catalog": catalog.as_json(self._loader.entries),
            "stats": self._stats(),
        }

    async def _close(self):
        session, self._session, self._key = self._session, None, None
        if session is not None:
            await self._loader.settled()  # it keeps the plan, and the page may end this worker
            await session.close()

    async def _do_unload(self, call):
        for token in (*self._cancels.values(), *self._asides.values()):
            token.cancel()
        await self._voices.close()
        await self._ears.close()
        async with self._turn, self._changing:
            await self._close()
        self._post(call.id, "result", {})

    # requests

    async def _do_cancel(self, call):
        target = call.params["target"]
        token = self._cancels.get(target) or self._asides.get(target)
        if token is not None:
            token.cancel()
        found = self._give_up(target) or token is not None
        self._post(call.id, "result", {"found": found})

    async def _do_stats(self, call):
        self._post(call.id, "result", self._stats())

    def _loaded_session(self):
        if self._session is None:
            raise EngineError(
                "E_BAD_REQUEST", param="model", got="none loaded", wanted="a loaded model"
            )
        return self._session

    def _stats(self):
        stats = dict(self._loaded_session().engine.stats())
        stats["model"] = self._session.model
        stats["residents"] = self._residents.used()
        stats["memory_notice"] = self._residents.notice
        stats["storage_notice"] = json.loads(self._parts.storage_notice())
        stats["live"] = {
            "requests": len(self._cancels),
            "tasks": len(self._tasks),
            "modules": len(sys.modules),
            **json.loads(self._parts.counts()),
        }
        return stats

    async def _do_catalog(self, call):
        context = call.params.get("context")
        context = None if context is None else settings.CONTEXT.check(context)
        caps, budget = await self._room(call.params)
        rows = []
        for offer in catalog.offered():
            rows.append(catalog.row(offer, caps, budget, context=context))
            await asyncio.sleep(0)  # a generation goes on meanwhile
        self._post(call.id, "result",
                   {"rows": rows, "budget": budget, "voices": catalog_voices.rows()})

    async def _room(self, params):
        """(Caps or None, bytes of GPU memory) of this device."""
        from pyengine.kernels.spec import Caps  # late: a load need not wait for it

        facts = json.loads(await self._parts.gpu_facts())
        caps = facts and Caps(
            max_binding=facts["maxBinding"],
            max_buffer=facts["maxBuffer"],
            max_storage_buffers=facts["maxStorageBuffers"],
        )
        platform, memory, chosen = settings.load_room(params)
        return caps, budget_of(platform, memory, facts and facts["maxBuffer"], chosen)

    async def _do_profile(self, call):
        given = {name: value for name, value in call.params.items() if value is not None}
        async with self._turn:
            session = self._loaded_session()
            self._post(call.id, "result", await session.engine.profile(**given))

    async def _do_selftest(self, call):
        async with self._turn:
            self._post(call.id, "result", await self._loaded_session().engine.selftest())

    @contextmanager
    def _aside(self, call):
        """(its CancelToken, its Progress) of a call that is spoken or heard, while it runs."""
        token = self._asides[call.id] = CancelToken()
        try:
            yield token, Progress(self._parts.now, partial(self._post, call.id, "progress"))
        finally:
            del self._asides[call.id]

    async def _do_transcribe(self, call):
        request = audio.parse(call.params)
        with self._aside(call) as (token, progress):
            await self._parts.need("numpy")
            answer = self._ears.transcribe(request, call.params, call.audio, token, progress)
            async with aclosing(answer) as events:
                async for event, data in events:
                    self._post(call.id, event, data)

    # memory that the models share

    def _roles(self):
        def chat_bytes():
            return self._session.engine.stats()["bytes"]["total"] if self._session else 0

        async def drop_chat():
            async with self._turn:
                await self._close()

        voices, ears = self._voices, self._ears
        return {
            "voice": Role(lambda: voices.nbytes, lambda: voices.busy, voices.close),
            "ears": Role(lambda: ears.nbytes, lambda: ears.busy, ears.close),
            "chat": Role(chat_bytes, self._turn.locked, drop_chat),
        }

    async def _budget(self, params):
        platform, *_ = settings.load_room(params)
        return None if platform is None else (await self._room(params))[1]

    def _room_for(self, role, params):
        """What a loader awaits with the bytes that a model for `role` will take."""
        return lambda need: self._residents.make_room(role, need, params)

    async def _open_ears(self, params, progress):
        async with self._changing:  # two loads at once would end each other's download
            room = self._room_for("ears", params)
            return await self._loader.open_ears(params, progress, room)

    async def _open_voice(self, request, params, progress):
        room = self._room_for("voice", params)
        return await self._loader.open_speaker(request, params, progress, room)

    async def _do_chat(self, call):
        await self._respond(call, openai_api.parse_chat)

    async def _do_complete(self, call):
        await self._respond(call, openai_api.parse_completion)

    async def _do_speak(self, call):
        request = speech.parse(call.params)
        with self._aside(call) as (token, progress):
            answer = self._voices.speak(request, call.params, token, progress)
            async with aclosing(answer) as events:
                async for event, data, samples in events:
                    self._post(call.id, event, data, samples)

    async def _respond(self, call, parse):
        request = parse(call.params, self._session.generation_config if self._session else None)
        token = self._cancels[call.id] = CancelToken()
        try:
            async with self._turn:
                session = self._session_for(request)
                await self._generate(call, session, request, token)
        finally:
            del self._cancels[call.id]

    def _session_for(self, request):
        session = self._loaded_session()
        if request.model in (None, session.model):
            return session
        if request.model in self._loader.entries or not catalog.is_plain(request.model):
            raise EngineError("E_BUSY", what="The engine", owner=f"the model {session.model}")
        raise EngineError("E_UNKNOWN_MODEL", model=settings.shown(request.model),
                          loaded=repr(session.model))

    async def _generate(self, call, session, request, token):
        token_bytes = session.tokenizer.token_bytes if session.tokenizer else None
        respond = responses.Responder(request, session.model, token_bytes=token_bytes)
        outcomes = []
        for index, choice in enumerate(request.choices()):
            outcomes.append(Outcome(finish_reason="cancel" if token.cancelled else None))
            try:
                await self._choose(call, session, choice, token, respond, index, outcomes)
            except EngineError as error:
                if error.code in ("E_DEVICE_LOST", "E_NO_ANSWER", "E_OUT_OF_MEMORY"):
                    # its buffers are gone or must go: the next load starts afresh
                    await self._close()
                raise
            if token.cancelled:
                break
        if not request.stream:
            self._post(call.id, "result", respond.whole(outcomes))
            return
        for chunk in respond.ending(responses.total(outcomes)):
            self._post(call.id, "chunk", chunk)
        self._post(call.id, "result", {})

    async def _choose(self, call, session, request, token, respond, index, outcomes):
        """Generates one choice into the last of `outcomes`, posting its chunks where it streams."""
        outcome, opened = outcomes[-1], False
        if not token.cancelled:
            async for piece in session.generate(request, token, outcome):
                if request.stream and (piece.text or request.tells_ids and piece.ids):
                    opened = opened or self._open(call, respond, index)
                    self._post(call.id, "chunk", respond.chunk(
                        piece.text, responses.total(outcomes), piece.ids, piece.logprobs))
                calls = piece.calls if request.stream and request.tools else ()
                for chunk in respond.calls(calls, responses.total(outcomes)):
                    opened = opened or self._open(call, respond, index)
                    self._post(call.id, "chunk", chunk)
        if request.stream:
            opened = opened or self._open(call, respond, index)
            so_far = responses.total(outcomes)
            last = respond.closing(outcome.finish_reason, so_far, outcome.timings)
            self._post(call.id, "chunk", last)

    def _open(self, call, respond, index):
        opening = respond.opening(index)
        if opening is not None:
            self._post(call.id, "chunk", opening)
        return True


def _key(params):
    """What makes two loads the same: the model, its default filled in, and the options given."""
    given = {k: value for k, value in params.items() if value is not None and k != "token"}
    return json.dumps({"model": catalog.DEFAULT_MODEL, **given}, sort_keys=True)
