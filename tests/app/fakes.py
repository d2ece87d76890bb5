"""An engine, a tokenizer and JavaScript parts without a model: an answer is words, a word is a
token."""

import asyncio
import json
import struct
from dataclasses import dataclass
from types import SimpleNamespace

from app.catalog import ModelEntry
from app.session import Session
from pyengine.decode.logprobs import Logprob
from pyengine.errors import EngineError

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


async def settled():
    """Every task goes as far as it can without time passing: turns of the loop, not milliseconds,
    of which a busy machine may spend all in one turn."""
    for _ in range(200):
        await asyncio.sleep(0)


@dataclass
class Piece:
    text: str
    ids: list
    finish_reason: str | None = None
    logprobs: list | None = None


class FakeEngine:
    """Answers with WORDS, one a step; `gate` (an asyncio.Event) holds it before each word."""

    def __init__(self, context=64, gate=None, fail_at=None, error=None):
        self.context, self.model = context, SimpleNamespace(vocab=256)
        self.gate, self.fail_at, self.error = gate, fail_at, error
        self.calls, self.running, self.most_running, self.closed = [], 0, 0, 0

    async def generate(
        self, ids, params, *, max_tokens=None, stop=(), stop_ids=(), cancel=None, continues=False,
        visible=frozenset(),
    ):
        self.calls.append(
            SimpleNamespace(
                ids=ids, params=params, max_tokens=max_tokens, stop=stop, stop_ids=stop_ids,
                continues=continues, visible=visible,
            )
        )
        max_tokens = max_tokens or len(WORDS)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for i, word in enumerate(WORDS[:max_tokens]):
                if self.gate is not None:
                    await self.gate.wait()
                await asyncio.sleep(0)
                if cancel is not None and cancel.cancelled:
                    yield Piece("", [], "cancel")
                    return
                if i == self.fail_at:
                    raise self.error
                top = params.top_logprobs
                told = None if top is None else [Logprob(i, -0.5, ((i, -0.5), (i + 1, -1.5))[:top])]
                yield Piece(word + " ", [i], None, told)
            yield Piece("", [], "length" if max_tokens < len(WORDS) else "stop")
        finally:
            self.running -= 1

    async def generate_ids(self, ids, params, **options):
        async for piece in self.generate(ids, params, **options):
            yield piece

    def stats(self):
        return {
            "device": {"backend": "fake"},
            "prefill_tps": 100.0,
            "decode_tps": 10.0,
            "load_ms": {"upload": 1.0, "total": 1.0},
            "bytes": {"total": 600_000_000},
        }

    async def first_logits(self, ids):
        return struct.pack("<2f", 0.5, len(ids))

    async def close(self):
        self.closed += 1


class FakeTokenizer:
    """A byte is a token; special tokens add a leading 1."""

    def encode(self, text, add_special_tokens=False):
        return [1] * add_special_tokens + list(text.encode())

    def id_to_token(self, i):
        return chr(i)

    def token_to_id(self, token):
        return None

    def token_bytes(self, i):
        return chr(i).encode()

    def eos_ids(self, generation_config=None):
        return [2]


class FakeTemplate:
    def render(self, messages, tools=None, add_generation_prompt=True):
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def fake_checkpoint(**fields):
    base = {"generation_config": {}, "chat_template": "x", "config": {}, "closed": 0}
    checkpoint = SimpleNamespace(**{**base, **fields})
    checkpoint.close = lambda: setattr(checkpoint, "closed", checkpoint.closed + 1)
    return checkpoint


def fake_session(engine=None, model="m", **fields):
    async def make_template(checkpoint):
        return FakeTemplate()

    return Session(
        engine or FakeEngine(), model, fake_checkpoint(**fields), FakeTokenizer(), make_template
    )


class FakeParts:
    """What JavaScript gives the worker; `events` are the posted messages."""

    site_url = "https://site.example/app/"

    def __init__(self):
        self.events, self.logged, self.ms, self.gpu = [], [], 0.0, "null"

    def post(self, text):
        self.events.append(json.loads(text))

    def log(self, text):
        self.logged.append(text)

    def now(self):
        self.ms += 10
        return self.ms

    def counts(self):
        return '{"js_refs": 0}'

    async def need(self, package):
        self.needed = package

    async def gpu_facts(self):
        return self.gpu

    def storage_notice(self):
        return "null"

    def of(self, id_, *names):
        """Data of the events that answer `id_`, of those names."""
        return [e["data"] for e in self.events if e["id"] == id_ and e["event"] in names]


class FakeLoader:
    """Loads FakeEngines; `gate` holds a load, `error` fails it."""

    def __init__(self, gate=None, error=None, make=FakeEngine):
        self.entries = {name: ModelEntry(name, name) for name in ("m", "other")}
        self.gate, self.error, self.make = gate, error, make
        self.loads = []

    async def load(self, params, progress):
        self.loads.append(params)
        self.given_up = False
        progress("read", 1, 2)
        if self.gate is not None:
            await self.gate.wait()
        if self.given_up:
            raise EngineError("E_NETWORK", url="u", detail="the file was closed")
        if self.error is not None:
            raise self.error
        progress("ready", 1, 1)
        return fake_session(self.make(), params.get("model") or "m")

    async def settled(self):
        self.settles = getattr(self, "settles", 0) + 1

    def give_up(self):
        self.given_up = True
        self.gate.set()

    def translate(self, error):
        return error if isinstance(error, EngineError) else None
