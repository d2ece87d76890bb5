"""What the tests of the Models page share: the page with its real storage worker, and a hub.

    models        ModelsPage, not yet opened; `models.hub` is a tests.storage.hub_server.Hub at /hub/,
                  `SITE_MODEL` is offered by the site itself
    tiny_gguf     a file that a look at its header takes for a GGUF
"""

import hashlib
import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.page_kit import PREFIX, ChatPage
from tests.formats.gguf_writer import GgufWriter
from tests.storage.conftest import data
from tests.storage.hub_server import CHUNK, Hub
from tests.storage.test_hub import publish

SITE_MODEL = "smollm2-135m-instruct"
NAME = "SmolLM2 135M Instruct"
SIZE = 6 * CHUNK + 769
I8 = 24  # ggml's type
REPO, FILE = "org/tiny-gguf", "tiny-q4_0.gguf"


def tiny_gguf(size=83, seed=1):
    """A GGUF of one tensor of random bytes."""
    writer = GgufWriter()
    writer.tensor("w", (size,), I8, data(size, seed))
    return writer.build()


class ModelSite:
    """The hook of the server: the site's own model, and the hub."""

    def __init__(self):
        self.hub = Hub({f"site/{SITE_MODEL}.gguf": data(SIZE, 2)})
        self.model = f"site/{SITE_MODEL}.gguf"

    def answer(self, handler):
        path = handler.path.split("?")[0].removeprefix(PREFIX)
        if path == "models/index.json":
            return self._index(handler)
        if path == f"models/{SITE_MODEL}/model.gguf":
            handler.path = f"/hub/{self.model}"
        return self.hub.answer(handler)

    def _index(self, handler):
        body = self.hub.files[self.model]
        file = {"name": "model.gguf", "bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest()}
        row = {"id": SITE_MODEL, "name": NAME, "license": "Apache-2.0", "bytes": len(body),
               "files": [file]}
        text = json.dumps({"models": [row]}).encode()
        handler.head(200, {"Content-Type": "application/json", "Content-Length": str(len(text))})
        handler.wfile.write(text)
        return True


class ModelsPage(ChatPage):
    """The Models page in the words of the tests."""

    def __init__(self, page, url, site):
        super().__init__(page, url)
        self.site, self.hub = site, site.hub

    def open_models(self, elsewhere=None, **options):
        """Go to #models; the hub is this server, or the one at origin `elsewhere`."""
        self.origins = [re.match(r"https?://[^/]+", self.url)[0], *filter(None, [elsewhere])]
        hub = f"{self.origins[-1]}/hub/"
        self.page.add_init_script(f"localStorage.setItem('jird.hub', '{hub}');"
                                  f"globalThis.fakeJird = {json.dumps(options)}")
        self.page.goto(f"{self.url}#models")
        self.page.get_by_test_id("meter-text").wait_for()
        return self

    def row(self, id=SITE_MODEL):
        return self.page.locator(f"[data-testid=model][data-id='{id}']")

    def state(self, state, id=SITE_MODEL):
        """Wait until a row is in this state."""
        expect(self.row(id)).to_have_attribute("data-state", state)

    def press(self, action, id=SITE_MODEL):
        self.row(id).locator(f"[data-action={action}]").first.click()

    def confirm(self):
        self.get("confirm-yes").click()

    def stored(self, id=SITE_MODEL, file="model.gguf"):
        """SHA-256 of a stored file, read by another worker than the page's."""
        return self.page.evaluate("""async ([id, file]) => {
          const { StorageClient } = await import("./js/storage/client.js");
          const client = StorageClient.start(new URL("storage_worker.js", document.baseURI));
          try {
            const model = await client.openModel(id);
            const source = model.files.get(file);
            const digest = await crypto.subtle.digest("SHA-256", await source.read(0, source.size));
            return [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join("");
          } finally {
            client.terminate();
          }
        }""", [id, file])

    def check(self):
        """The page raised nothing, logged no error and asked nobody but the site and the hub."""
        inside = ("data:", "blob:", *self.origins)
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith(inside)] == []

    def publish(self, files=None, **options):
        publish(self.hub, REPO, files or {FILE: tiny_gguf(CHUNK)}, **options)


@pytest.fixture
def model_site():
    return ModelSite()


@pytest.fixture
def models_url(page_root, serve, model_site):
    return serve(page_root, PREFIX, fault=model_site.answer).url


@pytest.fixture
def models(page, models_url, model_site):
    kit = ModelsPage(page, models_url, model_site)
    yield kit
    kit.hub.release()
    kit.check()


def device(browser, **options):
    """A context of another size or theme: pass what Playwright's `new_context` takes."""
    return browser.new_context(service_workers="block", **options)
