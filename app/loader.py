"""Loads a model in the browser: catalogue, readers, checkpoint, then tokenizer and engine."""

import asyncio
import json
from dataclasses import dataclass

from app import catalog, kept, settings, tuning
from app.devices import open_device
from app.session import Session, template_of, tokenizer_of
from pyengine.budget import budget_of
from pyengine.errors import MESSAGES, RECOVERABLE, EngineError
from pyengine.laps import Laps

LABELS = {
    "boot": "Starting Python",
    "download": "Downloading the model",
    "read": "Reading the model",
    "upload": "Uploading to the GPU",
    "compile": "Compiling kernels",
    "warmup": "Warming up",
    "ready": "Ready",
}
REPORT_EVERY_MS = 50
QUIET_SECONDS = 0.5


class Progress:
    """Engine progress -> protocol data `{stage, label, bytes_done, bytes_total, rate, ms}`; rate in
    bytes per second.

    At most one event per 50 ms, but each stage's first and last always pass.
    """

    def __init__(self, now, post):
        self._now, self._post = now, post
        self._stage, self._since, self._last = None, 0.0, float("-inf")

    def __call__(self, stage, done=0, total=0):
        now = self._now()
        first = stage != self._stage
        if first:
            self._stage, self._since = stage, now
        if not first and done != total and now - self._last < REPORT_EVERY_MS:
            return
        self._last = now
        elapsed = now - self._since
        rate = done * 1000 / elapsed if done and elapsed > 0 else 0
        self._post(
            {
                "stage": stage,
                "label": LABELS.get(stage, stage),
                "bytes_done": int(done),
                "bytes_total": int(total),
                "rate": rate,
                "ms": now,
            }
        )


class JsSource:
    """A ByteSource over `http_source.js`; `reader` goes to the GPU binding, which uploads weights
    past Python."""

    def __init__(self, reader):
        self.reader, self.name, self.size = reader, reader.name, int(reader.size)
        # of a stored file: changes with any byte
        self.identity = getattr(reader, "identity", None) or None

    async def read(self, offset, length):
        """Exactly `length` bytes at `offset`, copied into Python. Raises E_TRUNCATED, E_NETWORK."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise EngineError(
                "E_TRUNCATED", file=self.name, start=offset, end=offset + length, size=self.size
            )
        data = await self.reader.read(offset, length)
        return data.to_bytes()

    def drop_head(self):
        """Lets go of the bytes that the reader kept for the header."""
        self.reader.dropHead()

    def close(self):
        """Ends requests in flight; a later read fails."""
        self.reader.close()


@dataclass
class Load:
    """One load: what was asked for and what it runs on; `cache` is the tuner's, None without it."""

    model: str
    params: dict
    options: dict
    device: object
    cache: object
    marks: object  # the cache of the self-test and of the mark that a load is under way
    laps: object
    progress: object
    files: list  # its JsSources
    open_device: object  # () -> awaitable of another such device
    tokenizer: object = None  # of JavaScript

    @property
    def engine_options(self):
        """What the engine is loaded with, then and after its device was lost."""
        tuned = {"tuning_cache": self.cache} if self.cache else {}
        return {**self.options, **tuned, "selftest_cache": self.marks, "budget": self.budget}

    @property
    def budget(self):
        """Bytes of GPU memory of a page here; None where the page does not say what it runs on."""
        platform, memory, chosen = settings.load_room(self.params)
        if platform is None and chosen is None:
            return None
        return budget_of(platform, memory, self.device.caps.max_buffer, chosen)


class BrowserLoader:
    """`load(params, progress)` with the JavaScript `parts` of `app/worker.py`; keeps the
    catalogue."""

    def __init__(self, parts):
        self._parts = parts
        self.entries = {}
        self._boots = 0  # loads that Python's start belongs to
        self._reading = []  # sources of the load under way
        self._given_up = False
        self._keeping = None  # the task that keeps the last load's plan
        self._preparing = None  # and the one that fetches what a chat needs
        self._hurried = asyncio.Event()  # neither waits for a quiet moment any longer

    def give_up(self):
        """Makes the load under way fail at its next read, its download at once. What reads nothing
        runs to its end."""
        self._given_up = True
        self._parts.stop_opening()
        for source in self._reading:
            source.close()

    async def load(self, params, progress):
        """The Session of the `load` call's params. Raises every E_ code that loading can meet."""
        options = settings.load_options(params)
        self._given_up = False
        name, tune = settings.load_device(params), settings.load_tune(params)
        variants = settings.load_variants(params)

        def open_gpu():
            return open_device(self._parts, name, self._parts.binding, variants=variants)

        laps = Laps({} if self._boots else {"boot": self._parts.now()})
        self._boots += 1
        progress("read")
        model, files = await self.open_files(params.get("model"), params)
        laps.mark("download")
        self._reading = list(files.values())
        try:
            if self._given_up:
                self.give_up()  # it came while the files were opened
            started = await self._parts.started(json.dumps(params))
            checkpoint = None if started is not None else await self._checkpoint(laps)
            device = await open_gpu()
            laps.mark("boot")
            cache = kept.cache_of(self._parts, tuning.wanted(tune, device.caps))
            load = Load(model, params, options, device, cache, tuning.BrowserCache(self._parts),
                        laps, progress, self._reading, open_gpu)
            if started is not None:
                session = await self._taken(load, started)
                if session is not None:
                    return session
            return await self._planned(load, checkpoint or await self._checkpoint(laps))
        except BaseException:
            self.give_up()
            raise
        finally:
            self._reading = []

    async def open_speaker(self, request, params, progress, make_room):
        """As `voice_loader.open_speaker`."""
        from app.voice_loader import open_speaker

        return await open_speaker(self, self._parts, request, params, progress, make_room)

    async def open_ears(self, params, progress, make_room):
        """As `ears.open_ears`."""
        from app.ears import open_ears

        return await open_ears(self, self._parts, params, progress, make_room)

    async def open_files(self, model, params):
        """(the model's id, {name: JsSource}); what is not stored is downloaded now. `params`: the
        call's `hub` and `token`."""
        if not self.entries:
            self.entries = await self._index()
        model = model or catalog.DEFAULT_MODEL
        source = catalog.source_of(model, self.entries)
        options = json.dumps({"hub": params.get("hub"), "token": params.get("token")})
        try:
            readers = await self._parts.open_model(source, options)
        except Exception as error:
            known = self.translate(error)
            if known is not None and known.code == "E_BAD_REQUEST" and catalog.is_plain(source):
                raise catalog.unknown(model, self.entries) from None
            raise
        return model, {reader.name: JsSource(reader) for reader in readers}

    async def _index(self):
        """The site's models; none without network, where a stored model may load all the same."""
        try:
            text = await self._parts.read_index()
        except Exception as error:
            known = self.translate(error)
            if known is None or known.code != "E_NETWORK":
                raise
            return {}
        return catalog.parse_index(json.loads(text))

    async def _taken(self, load, started):
        """The Session by the plan that JavaScript began with, or None where it is not the one that
        we would make: then it is ended."""
        report = await kept.fits(started.text("key"), self._facts(load), load.marks)
        if report is None:
            await started.dispose()
            return None
        from app.steady import Policy, SteadyEngine

        kept.apply(load.device, report)
        checkpoint = kept.checkpoint_of(started, load.files)
        try:
            engine = await kept.attached(load, started, checkpoint)
        except BaseException as error:
            load.device.close()
            if getattr(error, "code", None) not in RECOVERABLE:
                raise
            load.device = await load.open_device()
            return None
        finally:
            await tuning.LoadingMark(load.marks).clear()
        engine = SteadyEngine(engine, load.device, Policy(), checkpoint, load.open_device,
                              load.engine_options, report)
        tokenizer = None
        if started.tokenizer is not None:
            from pyengine.text.tokenizer import JsBackend, Tokenizer

            tokenizer = Tokenizer(JsBackend(started.tokenizer), checkpoint.tokenizer_config)
        return self._ready(load, engine, checkpoint, tokenizer)

    def _facts(self, load):
        return kept.facts(self._parts.code(), load.options, load.cache is not None, load.files,
                          load.device)

    async def _checkpoint(self, laps):
        from pyengine.formats.checkpoint import open_checkpoint

        checkpoint = await open_checkpoint({source.name: source for source in self._reading})
        laps.mark("read")
        return checkpoint

    async def _planned(self, load, checkpoint):
        from app.steady import load_steadily, policy_after

        mark = tuning.LoadingMark(load.marks)
        policy = policy_after(await mark.found() == load.model, checkpoint,
                              load.options.get("context"))
        await mark.set(load.model)
        loading = load_steadily(checkpoint, load.open_device, device=load.device, policy=policy,
                                on_progress=load.progress, laps=load.laps, **load.engine_options)
        # The tokenizer is made while the GPU compiles and uploads.
        done = await asyncio.gather(
            loading, self._tokenizer(load, checkpoint), return_exceptions=True
        )
        await mark.clear()
        load.laps.mark("tokenizer")
        engine, tokenizer = done
        failures = [result for result in done if isinstance(result, BaseException)]
        if failures:
            if engine not in failures:
                await engine.close()
            raise failures[0]
        session = self._ready(load, engine, checkpoint, tokenizer)
        self._keeping = asyncio.ensure_future(self._keep(load, session))
        return session

    def _ready(self, load, engine, checkpoint, tokenizer):
        engine.tokenizer = tokenizer
        for source in self._reading:
            source.drop_head()
        load.progress("ready", 1, 1)
        self._hurried.clear()
        self._preparing = asyncio.ensure_future(self._prepare(engine))
        return Session(engine, load.model, checkpoint, tokenizer, self._template,
                       open_grammar=self._grammar)

    async def _grammar(self):
        from app.grammar_hosts import JsHost

        return JsHost(await self._parts.open_grammar())

    async def _quiet(self, engine):
        """Until the engine has been found idle for a moment: what is done behind "ready" would
        take this thread from a first prompt, whose 10 ms on a fast GPU became 70."""
        while not self._hurried.is_set():
            try:
                await asyncio.wait_for(self._hurried.wait(), QUIET_SECONDS)
            except TimeoutError:
                if not engine.busy:
                    return

    async def _prepare(self, engine):
        """Fetches what the first chat needs, so that it waits for less; it asks again itself."""
        await self._quiet(engine)
        try:
            await self._parts.need("jinja2")
        except Exception as error:
            self._parts.log(f"jinja2 was not loaded: {error}")

    async def _keep(self, load, session):
        """Keeps the plan for the next start; a failure costs that start its time, no more."""
        if not hasattr(load.device, "exported"):
            return
        await self._quiet(session.engine)
        if not session.engine.as_asked:
            return
        tokenizer = session.tokenizer
        found = await kept.record(
            self._facts(load), load, session.engine, session.checkpoint,
            tokenizer.config if tokenizer else {})
        if found is not None:
            texts, ints, consts = found
            source = catalog.source_of(load.model, self.entries)
            await self._parts.keep_plan(
                json.dumps(load.params), json.dumps({**texts, "source": source}), ints, consts,
                load.tokenizer)

    async def settled(self):
        """Waits until the last load's plan is kept, or could not be; now, whatever runs."""
        self._hurried.set()
        if self._keeping is not None:
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _tokenizer(self, load, checkpoint):
        await asyncio.sleep(0)
        return tokenizer_of(checkpoint, load.model, self._backend(load, checkpoint))

    def _backend(self, load, checkpoint):
        from pyengine.text.tokenizer import JsBackend

        def backend(text):
            load.tokenizer = self._parts.make_tokenizer(text, config)
            return JsBackend(load.tokenizer)

        config = json.dumps(checkpoint.tokenizer_config)
        return backend

    async def _template(self, checkpoint):
        await self._parts.need("jinja2")
        return template_of(checkpoint)

    def translate(self, error):
        """The EngineError of `error`: itself, or one that a JavaScript part threw; None for
        anything else."""
        if isinstance(error, EngineError):
            return error
        code, facts = getattr(error, "code", None), getattr(error, "facts", None)
        if code not in MESSAGES:
            return None
        facts = facts.to_py() if hasattr(facts, "to_py") else facts
        try:
            known = EngineError(code, **(facts or {}))
        except (KeyError, TypeError):
            return None
        # JavaScript knows more of a refusal's cause than the table
        known.next_step = str(getattr(error, "next_step", None) or known.next_step)
        return known
