"""What the tests of the installed app share: a copy of the site that can be changed and cut off.

    app                AppSite: the site without its models, under a sub-path
    shell_app          AppSite: the shell alone, with recorded answers
    tabs               a browser context that allows service workers; everything else is as ever
"""
import json
import os
import re
import shutil
import time

import pytest
from playwright.sync_api import Error

from app.build import pwa, server
from tests.browser.page_kit import FAKE
from tests.support import WAIT_MS, WAIT_S

PREFIX = "/deep/er/"
LIST = re.compile(r'\[\{"url":"\./.*?\}\]', re.DOTALL)


def copy_site(dist, root):
    """The site at `root` without model files."""
    def models(folder, names):
        return names if os.path.basename(os.path.dirname(folder)) == "models" else []

    return shutil.copytree(dist, root, ignore=models)


def copy_shell(dist, root):
    """The site without Python too, and with a recorded stream in the place of jird.js."""
    shutil.copytree(dist, root, ignore=shutil.ignore_patterns("pyodide", "models"))
    (root / "jird.js").write_text(FAKE)
    make_worker(root)
    return root


def make_worker(root):
    """sw.js anew for what lies at `root`, as the build's last step makes it."""
    pwa.bundle_worker(root / "sw.js")
    pwa.write_precache_list(root)


def listed(root):
    """The rows of the list in sw.js, as it is served."""
    return json.loads(LIST.search((root / "sw.js").read_text()).group(0))


class AppSite:
    """A served copy of the site: `cut()` ends the server and the connections that are open."""

    def __init__(self, root, prefix=PREFIX):
        self.root = root
        self.url, self._stop = server.serve_in_thread(root, prefix)
        self.site = self._stop.site
        self.up = True

    def paths(self):
        """Paths below the prefix that were asked for, in order."""
        return [request.path[len(self.site.prefix):] for request in self.site.log]

    def cut(self):
        def close(handler):
            handler.close_connection = True
            return True

        self.site.fault = close              # threads of open connections outlive the server
        self._stop()
        self.up = False

    def close(self):
        if self.up:
            self._stop()


@pytest.fixture
def app(dist, tmp_path):
    site = AppSite(copy_site(dist, tmp_path / "site"))
    yield site
    site.close()


@pytest.fixture
def shell_app(dist, tmp_path):
    site = AppSite(copy_shell(dist, tmp_path / "site"))
    yield site
    site.close()


@pytest.fixture
def tabs(browser):
    context = browser.new_context(service_workers="allow")
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


class Tab:
    """A page and the errors that are not the network's."""

    def __init__(self, context, url=None):
        self.page = context.new_page()
        self.errors = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)
        if url:
            self.page.goto(url)

    def _heard(self, message):
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def get(self, name):
        return self.page.get_by_test_id(name)

    def controlled(self):
        """Wait until a service worker serves this page."""
        self.until("Boolean(navigator.serviceWorker.controller)")
        return self

    def until(self, script, seconds=WAIT_S):
        """Poll an expression, reloads of the page included."""
        end = time.monotonic() + seconds
        while not (value := self._now(script)):
            assert time.monotonic() < end, f"never true: {script}"
            self.page.wait_for_timeout(50)
        return value

    def _now(self, script):
        try:
            return self.page.evaluate(script)
        except Error as error:
            if "context was destroyed" in str(error):
                return None
            raise
