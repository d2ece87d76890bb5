"""Fixtures of the storage tests: the shell and a faulty hub on one origin, in a real browser.

hub         hub_server.Hub, empty; its files lie at /hub/ of the page's origin
lab         Lab: the page with the storage worker, started by `lab.start()`
"""

import mimetypes
import random
import time
from pathlib import Path

import pytest

from app.build import settings
from tests.storage.hub_server import Hub
from tests.support import WAIT_MS, WAIT_S

HERE = Path(__file__).parent


def data(size, seed=0):
    """Bytes that no chunk, file or version shares with another."""
    return random.Random(seed).randbytes(size)


class Lab:
    """A page at `url`; `run(js, argument)` evaluates a function there, with `lab` of pages.js."""

    def __init__(self, page, url, hub):
        self.page, self.url, self.hub = page, url, hub
        self.errors = []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self):
        self.page.goto(f"{self.url}_test/lab.html")
        self.page.wait_for_function("globalThis.lab !== undefined")
        return self

    def start(self, backend="", script="/storage_worker.js"):
        if "lab.html" not in self.page.url:
            self.open()
        return self.run("([script, backend]) => lab.start(script, backend)", [script, backend])

    def run(self, js, argument=None):
        return self.page.evaluate(js, argument)

    def call(self, method, **params):
        return self.run("([method, params]) => lab.call(method, params)", [method, params])

    def spec(self, *paths, id="a/model", sizes=True, digests=True):
        """The spec of hub files; their names are the last part of their paths."""
        rows = []
        for path in paths:
            url = f"{self.url}hub/{path}?run={self.hub.run}"
            row = {"name": path.split("/")[-1], "url": url}
            if sizes:
                row["size"] = len(self.hub.files[path])
            if digests:
                row["sha256"] = self.hub.sha256(path)
            rows.append(row)
        source = {"kind": "site", "url": self.url, "revision": None}
        return {"id": id, "name": id, "source": source, "files": rows}

    def download(self, spec, **options):
        options = {"backoff_ms": 5, "tries": 4} | options
        return self.run("([spec, options]) => lab.download(spec, {options})", [spec, options])

    def begin(self, spec, **options):
        options = {"backoff_ms": 5, "tries": 4} | options
        self.run("([spec, options]) => lab.begin(spec, {options})", [spec, options])

    def settled(self, seconds=WAIT_S):
        """The answer of what `begin` began."""
        return self.until("() => lab.running.settled", seconds)

    def until(self, js, seconds=WAIT_S):
        end = time.monotonic() + seconds
        while not (value := self.run(js)):
            assert time.monotonic() < end, f"never true: {js}"
            self.page.wait_for_timeout(10)
        return value

    def digests(self, id="a/model"):
        return self.run("(id) => lab.digests(id)", id)

    def wanted(self, *paths):
        return {path.split("/")[-1]: self.hub.sha256(path) for path in paths}


def test_files(handler):
    """Serves this folder's files below /_test/."""
    name = handler.path.split("?")[0]
    if not name.startswith("/_test/"):
        return False
    path = HERE / name.removeprefix("/_test/")
    body = path.read_bytes()
    handler.head(
        200,
        {
            "Content-Type": mimetypes.guess_type(path.name)[0] or "text/plain",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
        },
    )
    handler.wfile.write(body)
    return True


test_files.__test__ = False


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.release()


@pytest.fixture
def lab_url(hub, serve):
    return serve(
        settings.SHELL, fault=lambda handler: hub.answer(handler) or test_files(handler)
    ).url


@pytest.fixture
def lab(page, lab_url, hub):
    kit = Lab(page, lab_url, hub)
    yield kit
    assert kit.errors == []
