import asyncio
import json
from types import SimpleNamespace

import pytest

from app.loader import BrowserLoader, JsSource, Load, Progress
from pyengine.errors import MESSAGES, EngineError
from pyengine.kernels.spec import Caps
from tests.support import WAIT_S


class Bytes:
    def __init__(self, data):
        self.data = data

    def to_bytes(self):
        return self.data


class Reader:
    def __init__(self, name, data):
        self.name, self.data, self.size, self.closed = name, data, len(data), 0

    async def read(self, offset, length):
        return Bytes(self.data[offset : offset + length])

    def close(self):
        self.closed += 1


class Parts:
    """`models`: {what the storage takes: {file name: bytes}}; others fail as model_files.js does."""

    site_url = "https://s/app/"

    def __init__(self, models, index=None):
        self.models, self.index, self.readers, self.ms = models, index, [], 5.0
        self.asked, self.stopped = [], 0

    async def read_index(self):
        if self.index is None:
            raise JsError("E_NETWORK", {"url": "models/index.json", "detail": "offline"})
        return json.dumps({"models": self.index})

    async def open_model(self, model, options):
        self.asked.append((model, json.loads(options)))
        if model not in self.models:
            raise JsError("E_BAD_REQUEST", {"param": "model", "got": model, "wanted": "another"})
        self.readers = [Reader(name, data) for name, data in self.models[model].items()]
        return self.readers

    async def started(self, params):
        return None  # no plan was kept

    def stop_opening(self):
        self.stopped += 1

    def now(self):
        return self.ms


class JsError(Exception):
    def __init__(self, code, facts):
        self.code, self.facts = code, SimpleNamespace(to_py=lambda: facts)


def test_errors_of_javascript_become_engine_errors():
    loader = BrowserLoader(Parts({}))
    error = loader.translate(JsError("E_NETWORK", {"url": "u", "detail": "d", "status": 404}))
    assert (error.code, error.facts["status"]) == ("E_NETWORK", 404) and "u" in error.message
    known = EngineError("E_GPU", what="a", detail="b")
    assert loader.translate(known) is known
    assert loader.translate(JsError(20, {})) is None and loader.translate(ValueError("x")) is None
    assert loader.translate(JsError("E_NETWORK", {"url": "no detail"})) is None


def test_javascript_may_say_a_better_next_step():
    loader, error = BrowserLoader(Parts({})), JsError("E_NETWORK", {"url": "u", "detail": "403"})
    error.next_step = "Give a token."
    assert loader.translate(error).to_dict()["next_step"] == "Give a token."
    error.next_step = None
    assert "connection" in loader.translate(error).next_step


def load(parts, **params):
    return asyncio.run(BrowserLoader(parts).load(params, Progress(parts.now, lambda data: None)))


def test_a_failed_load_closes_its_files():
    parts = Parts({"https://s/bad.gguf": {"bad.gguf": b"not a gguf"}}, [])
    with pytest.raises(EngineError):
        load(parts, model="https://s/bad.gguf", token="secret", hub="https://h/")
    assert [r.closed for r in parts.readers] == [1] and parts.stopped == 1
    assert parts.asked == [("https://s/bad.gguf", {"hub": "https://h/", "token": "secret"})]


def test_an_offer_is_opened_from_its_hub_without_the_sites_index():
    parts = Parts({}, None)
    with pytest.raises(JsError):
        load(parts, model="smollm2-360m-instruct")
    assert parts.asked[0][0] == (
        "bartowski/SmolLM2-360M-Instruct-GGUF:SmolLM2-360M-Instruct-Q4_0.gguf")


def test_an_unknown_id_is_answered_with_the_known_ones():
    with pytest.raises(EngineError) as caught:
        load(Parts({}, [{"id": "mine", "files": []}]), model="gpt-4")
    assert "mine" in caught.value.message and "smollm2-360m-instruct" in caught.value.message


def test_sources_refuse_what_is_outside():
    source = JsSource(Reader("f", b"0123456"))
    assert asyncio.run(source.read(2, 3)) == b"234"
    for offset, length in ((5, 3), (-1, 2), (2, -1)):
        with pytest.raises(EngineError) as caught:
            asyncio.run(source.read(offset, length))
        assert caught.value.code == "E_TRUNCATED"


def test_progress_is_thinned_but_ends_are_kept():
    clock = iter(range(0, 100000, 10))
    events = []
    progress = Progress(lambda: next(clock), events.append)
    for i in range(101):
        progress("upload", i * 10, 1000)
    progress("compile", 0, 7)
    assert (
        events[0]["bytes_done"] == 0
        and events[-2]["bytes_done"] == 1000
        and events[-1]["stage"] == "compile"
    )
    assert 15 < len(events) < 30
    assert events[-2]["rate"] == pytest.approx(1000) and events[-2]["bytes_total"] == 1000
    assert set(events[0]) == {"stage", "label", "bytes_done", "bytes_total", "rate", "ms"}


@pytest.mark.parametrize("params, budget", [
    ({}, None), ({"platform": "ipad"}, 10**9), ({"platform": "desktop", "memory_gib": 8}, 4 * 10**9),
    ({"platform": "ipad", "budget_mb": 1200}, 12 * 10**8), ({"budget_mb": "900"}, 9 * 10**8)])
def test_the_budget_is_what_the_page_says_it_runs_on(params, budget):
    device = SimpleNamespace(caps=Caps(max_buffer=1 << 30))
    one = Load("m", params, {}, device, None, None, None, None, [], None)
    assert one.engine_options["budget"] == budget


def test_bad_options_are_refused_before_anything_is_fetched():
    parts = Parts({})
    with pytest.raises(EngineError) as caught:
        asyncio.run(BrowserLoader(parts).load({"burst": 0}, None))
    assert caught.value.facts["param"] == "burst" and not parts.readers


def test_javascript_shares_pythons_table():
    import re
    from pathlib import Path

    text = (Path(__file__).parents[2] / "pwa_shell/js/errors.js").read_text(encoding="utf-8")
    table = re.search(r"MESSAGES = (\{.*?\n\});", text, re.DOTALL).group(1)
    rows = json.loads(re.sub(r",\s*}\s*$", "}", table))
    assert rows and {code: tuple(row) for code, row in rows.items()} == {
        code: MESSAGES[code] for code in rows
    }


def test_javascript_shares_pythons_protocol():
    import re
    from pathlib import Path

    from app import protocol

    text = (Path(__file__).parents[2] / "pwa_shell/js/protocol.js").read_text(encoding="utf-8")
    for name in ("METHODS", "EVENTS", "STAGES"):
        listed = json.loads(re.search(rf"{name} = (\[.*?\]);", text).group(1))
        assert tuple(listed) == getattr(protocol, name)
    assert f"VERSION = {protocol.VERSION};" in text


def test_what_waits_behind_ready_takes_no_time_from_a_prompt(monkeypatch):
    """Nothing happens while the engine works; an unload does not wait for a quiet moment."""
    monkeypatch.setattr("app.loader.QUIET_SECONDS", 0.01)

    async def run():
        loader, engine = BrowserLoader(Parts({})), SimpleNamespace(busy=True)
        waiting = asyncio.ensure_future(loader._quiet(engine))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        engine.busy = False
        await asyncio.wait_for(waiting, WAIT_S)
        engine.busy = True
        loader._keeping = asyncio.ensure_future(loader._quiet(engine))
        await asyncio.wait_for(loader.settled(), WAIT_S)

    asyncio.run(run())
