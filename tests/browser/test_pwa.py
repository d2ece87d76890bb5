"""The service worker in a real browser: offline start, updates, what is kept and what is not."""
import base64
import hashlib
import json
from http import HTTPStatus

import pytest
from playwright.sync_api import expect

from app.build import pwa, settings
from tests.browser.pwa_kit import PREFIX, Tab, listed, make_worker

pytest_plugins = ["tests.browser.page_kit", "tests.browser.pwa_kit"]

# Asks the engine's worker for something that only Python answers.
PYTHON_ANSWERS = """() => new Promise((resolve) => {
  const worker = new Worker("./engine_worker.js", { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.event === "progress") return;
    worker.terminate();
    resolve(data);
  };
  worker.postMessage({ v: 1, id: "idle", method: "unload", params: {} });
})"""

KEPT_DIGESTS = """async (name) => {
  const cache = await caches.open(name);
  const rows = {};
  for (const request of await cache.keys()) {
    const bytes = await (await cache.match(request)).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    rows[new URL(request.url).pathname] = btoa(String.fromCharCode(...digest));
  }
  return rows;
}"""


def cache_name(app):
    return f"jird-shell-v1-{app.url}"


def test_the_list_holds_every_file_but_models_with_true_digests(dist):
    rows = {row["url"].removeprefix("./"): row for row in listed(dist)}
    files = {p.relative_to(dist).as_posix() for p in dist.rglob("*") if p.is_file()}
    assert set(rows) <= files
    left_out = {name.split("/")[0] if "/" not in name else name.rsplit("/", 1)[0]
                for name in files - set(rows)}
    models = {f"models/{path.name}" for path in (dist / "models").iterdir() if path.is_dir()}
    assert left_out == {"sw.js", "img/splash", "img/screens"} | models
    for name, row in rows.items():
        digest = hashlib.sha256((dist / name).read_bytes()).digest()
        assert row["integrity"] == f"sha256-{base64.b64encode(digest).decode()}", name
        assert digest.hex().startswith(row["revision"])
    weights = [name for name in rows if name.endswith((".gguf", ".safetensors"))]
    assert all(name.startswith("check/") for name in weights)  # the device check's tiny models
    for needed in ("index.html", "models/index.json", "version.json", "pyodide/pyodide.asm.wasm",
                   "pyodide/python_stdlib.zip", "vendor/marked.js", "engine_worker.js"):
        assert needed in rows
    assert sum((dist / name).stat().st_size for name in rows) < 25e6
    assert pwa.LIST_MARK not in (dist / "sw.js").read_text()


def test_one_visit_is_enough_to_start_without_the_server(app, tabs, outside):
    tab = Tab(tabs, app.url).controlled()
    kept = tab.page.evaluate(KEPT_DIGESTS, cache_name(app))
    assert kept == {PREFIX + row["url"].removeprefix("./"): row["integrity"].removeprefix("sha256-")
                    for row in listed(app.root)}
    assert not any("models/" in path and "index.json" not in path for path in app.paths())
    tab.page.close()
    app.cut()
    tab = Tab(tabs)
    assert tab.page.goto(app.url).status == 200
    expect(tab.get("offline")).to_be_visible()
    expect(tab.get("start")).to_be_enabled()
    reply = tab.page.evaluate(PYTHON_ANSWERS)
    assert (reply["id"], reply["event"]) == ("idle", "result")
    tab.get("start").click()
    error = tab.get("error")
    error.wait_for()                                        # after Python has booted once more
    for words in ("model.gguf could not be fetched", "Check the connection", "E_NETWORK"):
        expect(error).to_contain_text(words)
    tab.page.goto(app.url + "no/such/page?x=1")
    assert tab.page.url == app.url
    tab.page.goto(app.url + "?from=home#chat=none")
    expect(tab.get("start")).to_be_enabled()
    assert tab.errors == [] and outside == []


def test_ranges_and_strange_pages_reach_the_server(shell_app, tabs):
    app = shell_app
    tab = Tab(tabs, app.url).controlled()
    app.site.log.clear()
    status, got = tab.page.evaluate("""async () => {
      const range = { headers: { Range: "bytes=4-9" } };
      const response = await fetch("./vendor/marked.js", range);
      return [response.status, [...new Uint8Array(await response.arrayBuffer())]];
    }""")
    data = (app.root / "vendor/marked.js").read_bytes()
    assert status == 206 and bytes(got) == data[4:10]
    assert app.paths() == ["vendor/marked.js"]
    assert tab.page.evaluate("fetch('./version.json').then((r) => r.json())") == json.loads(
        (app.root / "version.json").read_text())
    assert app.paths() == ["vendor/marked.js"]      # that one came from the cache
    assert tab.page.goto(app.url + "nothing/here").status == 404


def test_a_file_that_is_not_the_listed_one_is_never_kept(shell_app, tabs):
    app = shell_app
    (app.root / "css/base.css").write_text("/* another version of this file */")
    tab = Tab(tabs, app.url)
    tab.get("privacy").click()
    expect(tab.get("privacy-panel")).to_contain_text("it could not be stored yet, and tries again")
    tab.page.keyboard.press("Escape")
    expect(tab.get("start")).to_be_enabled()
    assert tab.page.evaluate("navigator.serviceWorker.controller") is None


def test_an_install_that_one_lost_answer_spoils_is_tried_again(shell_app, tabs):
    app = shell_app

    def busy_once(handler):
        if handler.path.endswith("check.html") and app.paths().count("check.html") == 1:
            handler.refuse(HTTPStatus.SERVICE_UNAVAILABLE, True)
            return True
        return False

    app.site.fault = busy_once
    tab = Tab(tabs, app.url)
    tab.get("privacy").click()
    expect(tab.get("privacy-panel")).to_contain_text("Jird starts without a network")
    assert app.paths().count("check.html") == 2
    app.cut()
    assert tab.page.goto(app.url).status == 200 and tab.errors == []


def test_without_a_secure_context_there_is_no_worker_and_it_says_why(shell_app, tabs):
    app = shell_app
    tab = Tab(tabs)
    tab.page.add_init_script(
        "Object.defineProperty(globalThis, 'isSecureContext', {value: false})")
    tab.page.goto(app.url)
    tab.get("privacy").click()
    expect(tab.get("privacy-panel")).to_contain_text("not secure (https)")
    assert tab.page.evaluate("navigator.serviceWorker.getRegistrations()") == []
    assert "sw.js" not in app.paths()


def change(app):
    """A new version of the site: one changed style, so a new list in sw.js."""
    path = app.root / "css/chat.css"
    path.write_text(path.read_text() + "\n:root { --new-version: 1; }\n")
    make_worker(app.root)


NEW_VERSION = "getComputedStyle(document.documentElement).getPropertyValue('--new-version') === '1'"
LOOK = "navigator.serviceWorker.ready.then((registration) => registration.update()).then(() => 1)"
WAITING = "navigator.serviceWorker.ready.then((registration) => Boolean(registration.waiting))"


def answers(context, url):
    """A tab with a loaded (recorded) model whose answers stop in their middle for `go_on(tab)`."""
    tab = Tab(context)
    options = {"pieces": [f"w{i} " for i in range(150)], "perSecond": 60, "pauseAt": 75}
    tab.page.add_init_script(f"globalThis.fakeJird = {json.dumps(options)}")
    tab.page.goto(url)
    tab.controlled()
    tab.page.locator("[data-testid=start]:enabled, [data-state=ready]").first.wait_for()
    if tab.get("start").is_enabled():
        tab.get("start").click()
    tab.page.locator("[data-testid=status][data-state=ready]").wait_for()
    return tab


def ask(tab):
    tab.get("composer").fill("go")
    tab.get("send").click()
    tab.until("document.querySelector('.md')?.innerText.includes('w3')")


def go_on(tab):
    """Lets the answer go on, and waits for its end."""
    tab.until("Boolean(globalThis.goOn)")
    tab.page.evaluate("goOn()")
    tab.page.locator("html:not([data-busy])").wait_for(state="attached")


def test_a_new_version_waits_for_the_answer_and_for_consent(shell_app, tabs):
    app = shell_app
    tab = answers(tabs, app.url)
    others = ["other-app", "jird-shell-v0-http://127.0.0.1:1/", "jird-elsewhere"]
    tab.page.evaluate("(names) => Promise.all(names.map((name) => caches.open(name)))",
                      [*others, f"jird-shell-v0-{app.url}"])
    change(app)
    app.site.log.clear()
    ask(tab)
    tab.page.evaluate(LOOK)
    tab.until(WAITING)
    offer = tab.page.get_by_text("A new version is ready")
    assert tab.page.locator("html[data-busy]").count() == 1, "the answer ended before the update"
    expect(offer).to_have_count(0)
    fetched = {path for path in app.paths() if path}
    assert fetched == {"sw.js", "css/chat.css"}             # all else was kept
    go_on(tab)
    expect(offer).to_be_visible()
    assert not tab.page.evaluate(NEW_VERSION)
    tab.get("composer").fill("a draft")
    tab.page.get_by_role("button", name="Reload").click()
    tab.until(f"({NEW_VERSION}) && document.querySelector('.md')?.innerText.includes('w149')")
    expect(tab.get("composer")).to_have_value("a draft")
    expect(tab.page.locator(".toast")).to_have_count(0)
    assert tab.until("caches.keys()") == [cache_name(app), *others]
    assert len(tab.page.evaluate(KEPT_DIGESTS, cache_name(app))) == len(listed(app.root))
    assert tab.errors == []


def test_an_update_put_away_is_offered_again_at_the_next_visit(shell_app, tabs):
    tab = answers(tabs, shell_app.url)
    change(shell_app)
    tab.page.evaluate(LOOK)
    tab.page.get_by_role("button", name="Later").click()
    expect(tab.page.locator(".toast")).to_have_count(0)
    tab.page.reload()
    expect(tab.page.get_by_text("A new version is ready")).to_be_visible()
    assert not tab.page.evaluate(NEW_VERSION)


def test_an_update_does_not_interrupt_another_tabs_answer(shell_app, tabs):
    first, second = answers(tabs, shell_app.url), answers(tabs, shell_app.url)
    change(shell_app)
    first.page.evaluate(LOOK)
    reload = first.page.get_by_role("button", name="Reload")
    expect(reload).to_be_visible()
    ask(second)
    reload.click()
    expect(first.page.get_by_text("when the answer in another tab is done")).to_be_visible()
    assert second.page.locator("html[data-busy]").count() == 1 and first.page.evaluate(WAITING)
    go_on(second)
    assert "w149" in second.get("message-assistant").inner_text()
    first.until(NEW_VERSION)
    again = second.page.get_by_text("Another tab has updated Jird")
    expect(again).to_be_visible()
    assert not second.page.evaluate(NEW_VERSION)
    second.page.get_by_role("button", name="Reload").click()
    second.until(NEW_VERSION)
    assert first.errors == [] and second.errors == []


def test_the_offline_badge_follows_the_network(shell_app, tabs):
    tab = Tab(tabs, shell_app.url).controlled()
    expect(tab.get("offline")).to_be_hidden()
    tabs.set_offline(True)
    expect(tab.get("offline")).to_be_visible()
    tabs.set_offline(False)
    expect(tab.get("offline")).to_be_hidden()
    assert tab.errors == []


def test_the_panel_lists_what_page_and_workers_asked_for(shell_app, tabs):
    tab = Tab(tabs, shell_app.url).controlled()
    tab.get("privacy").click()
    panel, summary = tab.get("privacy-panel"), tab.get("requests-summary")
    expect(panel).to_contain_text("Jird starts without a network.")
    host = shell_app.url.split("/")[2]
    expect(summary).to_contain_text(f"requests to this site ({host}), none to any other")
    expect(tab.get("requests")).to_contain_text("js/ui/pwa.js")
    tab.page.evaluate("void new Worker('./engine_worker.js', { type: 'module' })")
    expect(tab.get("requests")).to_contain_text("pyodide/pyodide.mjs")
    tab.page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    tab.get("privacy").click()
    tab.page.evaluate("""() => {
      const channel = new BroadcastChannel(`jird-requests:${location.pathname}`);
      const last = [{ url: "https://hub.test/a", time: Date.now(), bytes: 2e6, fetched: true }];
      channel.postMessage({ who: "a worker of the test", hosts: { "hub.test": 7 }, last });
    }""")
    expect(summary).to_contain_text(f"({host}), 7 to hub.test")
    expect(tab.get("requests").locator(".outside")).to_contain_text("https://hub.test/a")
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_be_hidden()


@pytest.mark.parametrize("name", ["manifest.webmanifest", "sw.js"])
def test_served_with_the_types_that_browsers_demand(site, name):
    import urllib.request
    kind = urllib.request.urlopen(site.url + name).headers["Content-Type"]
    assert kind.split(";")[0] == {"manifest.webmanifest": "application/manifest+json",
                                  "sw.js": "text/javascript"}[name]


def test_workbox_is_pinned_and_bundled_not_fetched(dist):
    names = json.loads((settings.SHELL / "package.json").read_text())["devDependencies"]
    assert {"workbox-core", "workbox-precaching", "workbox-routing"} <= set(names)
    text = (dist / "sw.js").read_text()
    assert "importScripts" not in text and "process.env" not in text
    assert (dist / "vendor/licenses/workbox.txt").stat().st_size > 500
