"""What the page's tests share: the page under a sub-path, jird.js replaced by a recorded stream.

    page_root          folder of the page, its vendor modules and that stream; no Pyodide, no model;
                       `blank.html` has nothing of the app
    phone              the same on a small touch screen
    chat               ChatPage, opened by `chat.open(**options)`: the options of fake_jird.js
"""
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from app.build import node, settings
from tests.support import WAIT_MS, WAIT_S

FAKE = Path(__file__).with_name("fake_jird.js").read_text()
PREFIX = "/some/where/"
# Drops files [name, bytes] on the page.
DROP = """([files]) => {
  const transfer = new DataTransfer();
  for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const type of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(type,
      { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def pieces(text):
    """Words with the space before them, about what a model's tokens are."""
    return re.findall(r"\s*\S+|\s+$", text)


@pytest.fixture(scope="session")
def page_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    for name in ("index.html", "storage_worker.js"):
        shutil.copy(settings.SHELL / name, root)
    for name in ("css", "img", "js"):
        shutil.copytree(settings.SHELL / name, root / name)
    node.ensure_modules()
    shutil.copytree(node.vendor(), root / "vendor")
    (root / "jird.js").write_text(FAKE)  # no route of Playwright: each slows every request down
    (root / "blank.html").write_text("<!doctype html><link rel=icon href='data:,'><title>blank")
    return root


class ChatPage:
    """A Playwright page in the chat's words; `errors` and `requests` are what the page did."""

    def __init__(self, page, url):
        self.page, self.url = page, url
        self.errors, self.requests = [], []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, start=True, text=None, **options):
        """Go to the page; `text` is the answer, cut into pieces unless they are given."""
        if text is not None:
            options["pieces"] = pieces(text)
        self.page.add_init_script(f"globalThis.fakeJird = {json.dumps(options)}")
        self.page.goto(self.url)
        self.wait_whole()
        if start:
            self.get("start").click()
            self.wait_state("ready")
        return self

    def reload(self):
        self.page.reload()
        self.wait_whole()

    def wait_whole(self):
        """Until the page is put together, its last button included: it hears every key then."""
        self.page.locator("#privacy:enabled").wait_for(state="attached")

    def get(self, name):
        return self.page.get_by_test_id(name)

    def wait_state(self, state):
        self.page.locator(f"[data-testid=status][data-state={state}]").wait_for()

    def ask(self, text="Hello?", wait=True):
        self.get("composer").fill(text)
        self.get("send").click()
        if wait:
            self.wait_end()

    def wait_end(self):
        self.page.locator("html:not([data-busy])").wait_for(state="attached")

    def chat_action(self, name, row=None):
        """An entry of the menu of a row in the list of chats; the first row's by default."""
        row = row or self.get("chat-list").locator("li").first
        row.hover()
        row.get_by_role("button").click()
        self.page.get_by_role("menuitem", name=name).click()

    def answer(self):
        """Text of the last answer, without buttons."""
        return self.get("message-assistant").last.locator(".md").inner_text()

    def until(self, script, seconds=WAIT_S):
        """Poll an expression: the page's CSP forbids the eval behind wait_for_function."""
        end = time.monotonic() + seconds
        while not (value := self.page.evaluate(script)):
            assert time.monotonic() < end, f"never true: {script}"
            self.page.wait_for_timeout(30)
        return value

    def check(self):
        """The page raised nothing, logged no error and asked nobody but its own server."""
        inside = ("data:", "blob:", self.url)
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith(inside)] == []


@pytest.fixture
def chat(page, page_root, serve):
    served = serve(page_root, PREFIX)
    kit = ChatPage(page, served.url)
    yield kit
    kit.check()


@pytest.fixture
def phone(browser, page_root, serve):
    served = serve(page_root, PREFIX)
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True,
                                  is_mobile=True, service_workers="block")
    kit = ChatPage(context.new_page(), served.url)
    yield kit
    context.close()
    kit.check()
