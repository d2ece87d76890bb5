"""Shared fixtures. Browser tests run last: Playwright keeps an event loop running in this thread.

After the first browser test `asyncio.run` fails in this thread ("running event loop"), so every
test that uses Playwright is moved behind those that do not; inside one, use `run_in_thread`.

    goldens          Path of tests/goldens
    dist             Path of the finished site (built when missing or when pytest is run by hand)
    serve            serve(root, prefix="/", fault=None) -> Served(url, log), closed after the test
    site             Served for `dist`; `site.log` lists its requests (app.build.server.Request)
    page, browser    pytest-playwright's, with WebGPU on SwiftShader; --browser webkit works too
    outside          what the browser asked of other hosts: a list that stays empty
    check_golden     check_golden("plans/x.txt", text): equal to the golden; --update-goldens
    rewrites it
"""
import asyncio
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.build import browsers, server, settings
from tests.support import WAIT_MS, RefusingProxy

# Before numpy: its products here are small, and waiting threads of OpenBLAS spin on every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
expect.set_options(timeout=WAIT_MS)
pytest.register_assert_rewrite("tests.browser.page_kit", "tests.browser.pwa_kit",
                               "tests.browser.models_kit", "tests.browser.api_kit",
                               "tests.browser.voice_kit")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the full matrices too (marker: long)")
    parser.addoption("--soak-minutes", type=float, default=0,
                     help="how long the soak tests of --long run (2 hours natively, 20 minutes in Chromium)")
    parser.addoption("--fault-points", type=int, default=50,
                     help="points of each fault and stage that the fault matrices of --long try")
    parser.addoption("--update-goldens", action="store_true",
                     help="write the text goldens (tests/goldens/plans) anew: read their diff")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="full matrix: run with --long"))
    items.sort(key=lambda item: "playwright" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def goldens():
    return Path(__file__).parent / "goldens"


@pytest.fixture
def check_golden(goldens, pytestconfig):
    def check(name, text):
        path = goldens / name
        if pytestconfig.getoption("--update-goldens"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists() and path.read_text() == text, (
            f"{name} is not what the code gives now: if the change is meant, run pytest with "
            f"--update-goldens and read the diff of tests/goldens/{name}")
    return check


@pytest.fixture(scope="session")
def dist():
    if not (os.environ.get("JIRD_DIST_READY") and (settings.DIST / "version.json").exists()):
        from app.build import site
        site.build()
    yield settings.DIST
    from app.build import pwa
    files = json.dumps(pwa.precache_list(settings.DIST), separators=(",", ":"))
    assert files in (settings.DIST / "sw.js").read_text(), "a test wrote to the built site"


@dataclass
class Served:
    """A running server: `url` ends in the prefix; `log` and `fault` are those of server.Site."""
    url: str
    site: server.Site

    @property
    def log(self):
        return self.site.log


@pytest.fixture
def serve():
    stops = []

    def start(root, prefix="/", fault=None):
        url, stop = server.serve_in_thread(root, prefix, fault=fault)
        stops.append(stop)
        return Served(url, stop.site)

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def site(dist, serve):
    return serve(dist)


@pytest.fixture(scope="session")
def refusing_proxy():
    with RefusingProxy() as proxy:
        yield proxy


@pytest.fixture
def outside(refusing_proxy):
    refusing_proxy.seen.clear()
    return refusing_proxy.seen


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args, browser_name, refusing_proxy):
    """Launch options: everything but loopback goes to a proxy that notes it and refuses."""
    proxy = {"server": refusing_proxy.url, "bypass": "127.0.0.1,localhost"}
    options = browser_type_launch_args | {"proxy": proxy}
    if browser_name == "chromium":
        path = browsers.chromium()
        if path is None:
            pytest.skip("no Chromium on this machine: python3 build.py test says how to get one")
        return options | {"executable_path": path, "args": list(browsers.CHROMIUM_ARGS)}
    if browsers.playwright_browser(browser_name) is None:
        pytest.skip(f"Playwright's {browser_name} is not installed on this machine")
    return options


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    """No service worker but where a test asks for one: it would fetch the whole site each time."""
    return browser_context_args | {"service_workers": "block"}


@pytest.fixture
def context(context):
    context.set_default_timeout(WAIT_MS)
    return context


@pytest.fixture(scope="session")
def run_in_thread():
    """run_in_thread(coroutine) -> its result, whatever loop this thread has."""
    def run(coroutine):
        result = []
        thread = threading.Thread(target=lambda: result.append(asyncio.run(coroutine)))
        thread.start()
        thread.join()
        return result[0]
    return run
