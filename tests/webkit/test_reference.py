"""The whole app without a GPU: Pyodide, storage on whatever back end this browser has, and a tiny
model on the reference device; then the same with the server stopped."""

import hashlib
import json

import numpy as np
import pytest

from tests.browser.pwa_kit import AppSite, Tab, copy_site, make_worker
from tests.support import WAIT_MS
from tests.webkit.conftest import WebKitTab

pytest_plugins = ["tests.browser.pwa_kit"]
TINY = "models-tiny/llama"
FILES = ("config.json", "generation_config.json", "model.safetensors")
ANSWER = """
    const { createEngine, apiURL } = await import("./jird.js");
    const stages = [];
    const engine = await createEngine({ model: "tiny", device: "reference", quant: "keep", kv: "f32", context: 64,
        onProgress: ({ stage }) => stages.push(stage) });
    const body = { prompt: IDS, temperature: 0, max_tokens: 4, return_token_ids: true };
    const answer = await engine.completions.create(body);
    const { device, storage_notice } = await engine.stats();
    const fetched = OVER_FETCH ? await (async () => {
        const options = { method: "POST", body: JSON.stringify(body) };
        const told = await fetch(`${await apiURL()}/completions`, options);
        const wrong = await fetch(`${await apiURL()}/completions`, { ...options, body: "{" });
        return { ids: (await told.json()).choices[0].token_ids, wrong: (await wrong.json()).error.code };
    })() : null;
    await engine.unload();
    return { ids: answer.choices[0].token_ids, stages, device, storage_notice, fetched };"""
REFUSED = """
    const { createEngine } = await import("./jird.js");
    return createEngine({ model: "tiny" }).then(() => null, (error) => error.code);"""
INFO = """
    const { StorageClient } = await import("./js/storage/client.js");
    const storage = StorageClient.start(new URL("storage_worker.js", document.baseURI));
    const info = await storage.call("info"), rows = await storage.call("list");
    storage.terminate();
    return { backend: info.backend, durable: info.durable, rows: rows.map(({ id, state }) => [id, state]) };"""


@pytest.fixture
def tiny(dist, goldens, tmp_path):
    """The site with the tiny model in the place of its own -> (AppSite, prompt, wanted ids)."""
    root = copy_site(dist, tmp_path / "site")
    folder = root / "models" / "tiny"
    folder.mkdir()
    rows = []
    for name in FILES:
        data = (goldens / TINY / name).read_bytes()
        (folder / name).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        rows.append({"name": name, "bytes": len(data), "sha256": sha256})
    row = {"id": "tiny", "name": "Tiny", "license": "none", "files": rows}
    (root / "models" / "index.json").write_text(json.dumps({"models": [row]}))
    make_worker(root)
    site = AppSite(root)
    golden = np.load(goldens / TINY / "golden.npz")
    yield site, golden["ids"].tolist(), golden["greedy32"][:4].tolist()
    site.close()


class WebKit:
    """MiniBrowser, which cannot compute: E_NO_WEBGPU unless the reference device is named."""

    backends = ("opfs-async", "indexeddb")

    def __init__(self, driver, site):
        self.tab = WebKitTab(driver, site)
        self.run = self.tab.run

    def open(self):
        self.tab.open()

    def controlled(self):
        self.tab.controlled()


class Playwright:
    """Any browser of Playwright's: Chromium here, `--browser webkit` where that is installed."""

    backends = ("opfs-sync", "opfs-async", "indexeddb")

    def __init__(self, context, site):
        context.set_default_timeout(4 * WAIT_MS)
        self.site, self.tab = site, Tab(context)

    def open(self):
        self.tab.page.goto(self.site.url)
        self.tab.until("document.querySelector('#privacy')?.disabled === false")

    def controlled(self):
        self.tab.controlled()

    def run(self, body):
        return self.tab.page.evaluate(f"async () => {{ {body} }}")


def answers_with_and_without_the_server(browser, tiny):
    site, ids, wanted = tiny
    answer = ANSWER.replace("IDS", json.dumps(ids))
    browser.open()
    first = browser.run(answer.replace("OVER_FETCH", "false"))
    assert first["ids"] == wanted and first["device"]["backend"] == "numpy"
    assert first["storage_notice"] is None and "download" in first["stages"]
    info = browser.run(INFO)
    assert info["backend"] in browser.backends and info["durable"]
    assert info["rows"] == [["tiny", "complete"]]
    fetched = [path for path in site.paths() if path.startswith("models/tiny/")]
    browser.controlled()
    site.cut()
    browser.open()
    again = browser.run(answer.replace("OVER_FETCH", "true"))
    assert again["ids"] == wanted and "download" not in again["stages"]
    assert again["fetched"] == {"ids": wanted, "wrong": "E_BAD_REQUEST"}
    assert [path for path in site.paths() if path.startswith("models/tiny/")] == fetched


def test_webkit_answers_with_and_without_the_server(webkit, tiny):
    browser = WebKit(webkit.driver, tiny[0])
    try:
        browser.open()
        assert browser.run(REFUSED) == "E_NO_WEBGPU", "never silently on the reference device"
        answers_with_and_without_the_server(browser, tiny)
    finally:
        webkit.driver.get("about:blank")


def test_playwrights_browser_answers_with_and_without_the_server(tabs, tiny):
    answers_with_and_without_the_server(Playwright(tabs, tiny[0]), tiny)
