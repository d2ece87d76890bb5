"""Fixtures of the WebKitGTK tests; all are skipped where its parts are not installed.

    webkit     the Session of tests/webkit/minibrowser.py, one for all tests
    app        AppSite of tests/browser/pwa_kit.py, whose page also notes its errors
    tab        WebKitTab on `app`, not yet opened
"""
import time

import pytest
from selenium.common.exceptions import JavascriptException

from tests.browser.pwa_kit import AppSite, copy_site, make_worker
from tests.support import WAIT_S
from tests.webkit import minibrowser

# WebKit's WebDriver has no console log, so the page keeps its own, from before its first script.
WATCH = """globalThis.scriptErrors = [];
const note = (type, text) => addEventListener(type, (e) => scriptErrors.push(text(e)), true);
note("error", (e) => e.message || `not loaded: ${e.target.src}`);
note("unhandledrejection", (e) => String(e.reason));
note("securitypolicyviolation", (e) => `CSP: ${e.violatedDirective}`);
console.error = (...args) => scriptErrors.push(args.join(" "));
"""


@pytest.fixture(scope="session")
def webkit():
    if absent := minibrowser.missing():
        pytest.skip(f"not on this machine: {absent} (python3 build.py test says how to get it)")
    with minibrowser.Session() as session:
        yield session


@pytest.fixture
def app(dist, tmp_path):
    root = copy_site(dist, tmp_path / "site")
    (root / "watch.js").write_text(WATCH)
    page = root / "index.html"
    text = page.read_text()
    page.write_text(text.replace("<title>", '<script src="./watch.js"></script><title>', 1))
    make_worker(root)
    site = AppSite(root)
    yield site
    site.close()


class WebKitTab:
    """The one window, in the words of the tests."""

    def __init__(self, driver, app):
        self.driver, self.app = driver, app

    def open(self, path=""):
        self.driver.get(self.app.url + path)
        self.until("document.querySelector('#privacy')?.disabled === false")     # all is set up
        return self

    def get(self, name):
        """The shown text of the first element with this test id, None without one."""
        node = f"document.querySelector('[data-testid={name}]')"
        return self.eval(f"{node}?.innerText.trim() ?? null")

    def click(self, selector):
        self.until(f"document.querySelector({selector!r})")
        self.eval(f"document.querySelector({selector!r}).click()")

    def eval(self, expression):
        return self.driver.execute_script(f"return {expression}")

    def run(self, body):
        """The result of an async function's body; raises RuntimeError with what it threw."""
        value, error = self.driver.execute_async_script(
            "const done = arguments[0];"
            f"(async () => {{ {body} }})().then((v) => done([v ?? null, null]),"
            " (e) => done([null, `${e.name}: ${e.message}`]));")
        if error:
            raise RuntimeError(error)
        return value

    def until(self, expression, seconds=4 * WAIT_S):
        end = time.monotonic() + seconds
        while not (value := self._now(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.1)
        return value

    def _now(self, expression):
        try:
            return self.eval(expression)
        except JavascriptException:      # a page between two addresses
            return None

    def controlled(self):
        self.until("Boolean(navigator.serviceWorker.controller)")
        return self

    def errors(self):
        return self.eval("scriptErrors")


@pytest.fixture
def tab(webkit, app):
    yield WebKitTab(webkit.driver, app)
    webkit.driver.get("about:blank")
