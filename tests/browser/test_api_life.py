"""The API over tabs that come and go: who answers, what ends a stream, and that nothing stays."""
import time

import pytest

from tests.browser.api_kit import open_client, open_engine
from tests.browser.pace import attempts
from tests.browser.pwa_kit import Tab
from tests.support import WAIT_S

pytest_plugins = ["tests.browser.pwa_kit", "tests.browser.api_kit"]
ASK = """async (body = {}) => {
  const options = { method: "POST", body: JSON.stringify({ prompt: "x", max_tokens: 2, ...body }) };
  const answer = await fetch("./v1/completions", options);
  return { status: answer.status, retry: answer.headers.get("x-should-retry"),
    ...(await answer.json()) };
}"""
LONG = """async () => {
  const body = JSON.stringify({ prompt: "x", max_tokens: 240, n: 16, stream: true });
  window.answer = await fetch("./v1/completions", { method: "POST", body });
  window.reader = answer.body.getReader();
  await reader.read();
  window.rest = (async () => {
    for (let bytes = 0;;) {
      const part = await reader.read();
      if (part.done) return bytes;
      bytes += part.value.length;
    }
  })().catch((error) => error.name);
}"""
REQUESTS = "async () => (await engine.stats()).live.requests"


@pytest.fixture
def both(tabs, api_site):
    """A tab with an engine on WebGPU, and the tab that asks."""
    return open_engine(tabs, api_site, "webgpu"), open_client(tabs, api_site)


def live(tabs):
    (worker,) = tabs.service_workers
    return worker.evaluate("jirdApi.live")


def until_none(tabs, engine, seconds=WAIT_S):
    for _ in range(int(seconds * 10)):
        if engine.page.evaluate(REQUESTS) == 0 and live(tabs) == 0:
            return
        engine.page.wait_for_timeout(100)
    raise AssertionError("a request stayed")


def test_without_an_engine_it_says_what_to_open(tabs, api_site):
    client = open_client(tabs, api_site)
    for path in ("models", "chat/completions"):
        options = {} if path == "models" else {"method": "POST", "body": "{}"}
        error = client.page.evaluate("""async ([path, options]) => {
          const answer = await fetch("./v1/" + path, options);
          return { status: answer.status, ...(await answer.json()).error };
        }""", [path, options])
        assert (error["status"], error["code"]) == (503, "E_NO_ENGINE")
        assert api_site.url in error["message"] and "createEngine" in error["next_step"]
    engine = open_engine(tabs, api_site)
    assert client.page.evaluate(ASK)["usage"]["completion_tokens"] == 2
    engine.page.evaluate("engine.unload()")
    assert client.page.evaluate(ASK)["status"] == 503
    assert live(tabs) == 0 and "v1" not in "".join(client.page.evaluate("""async () => {
      const urls = [];
      for (const name of await caches.keys())
        for (const { url } of await (await caches.open(name)).keys()) urls.push(url);
      return urls;
    }"""))


def test_a_request_waits_for_a_model_that_loads(tabs, api_site):
    client = open_client(tabs, api_site)
    found = client.page.evaluate("""async () => {
      const { createEngine } = await import("./jird.js");
      let loaded = false;
      const options = { model: "tiny", device: "reference", quant: "keep", kv: "f32", context: 256 };
      const loading = createEngine(options).then((engine) => { loaded = true; return engine; });
      const asked = () => fetch("./v1/completions",
        { method: "POST", body: JSON.stringify({ model: "tiny", prompt: "x", max_tokens: 2 }) });
      const first = asked(), before = loaded;
      const { status } = await first;
      const engine = await loading;
      return { before, status, model: engine.model, after: (await asked()).status };
    }""")
    assert found == {"before": False, "status": 200, "model": "tiny", "after": 200}


def test_a_page_whose_thread_is_busy_serves_all_the_same(tabs, api_site):
    engine, client = open_engine(tabs, api_site), open_client(tabs, api_site)
    engine.page.evaluate("""() => void setTimeout(() => {
      const end = performance.now() + 1600;
      while (performance.now() < end);
    })""")
    assert client.page.evaluate(ASK)["usage"]["completion_tokens"] == 2


def test_requests_of_several_tabs_take_turns(tabs, api_site):
    engine, client = open_engine(tabs, api_site), open_client(tabs, api_site)
    guest = open_engine(tabs, api_site)                      # relays to the first tab's engine
    asked = [tab.page.evaluate_handle(f"() => ({{ answer: ({ASK})() }})")
             for tab in (engine, client, guest)]
    assert [one.evaluate("async ({ answer }) => (await answer).usage.completion_tokens")
            for one in asked] == [2, 2, 2]
    engine.page.close()                                      # another tab answers now
    assert client.page.evaluate(ASK)["usage"]["completion_tokens"] == 2
    until_none(tabs, guest)


def test_a_reader_that_leaves_ends_the_generation(tabs, both):
    engine, client = both

    def cancelled():
        client.page.evaluate(LONG)
        assert engine.page.evaluate(REQUESTS) == 1
        began = time.monotonic()
        client.page.evaluate("reader.cancel()")
        until_none(tabs, engine)
        return 1000 * (time.monotonic() - began)

    quick, seen = attempts(engine.page, 3000, cancelled)  # by itself, not by the ping's 5 s
    assert quick, seen
    client.page.evaluate(LONG)
    client.page.close()
    until_none(tabs, engine)


def test_a_worker_that_is_killed_breaks_the_stream_and_serves_on(tabs, both):
    engine, client = both
    client.page.evaluate(LONG)
    assert engine.page.evaluate(REQUESTS) == 1
    session = tabs.new_cdp_session(client.page)
    session.send("ServiceWorker.enable")
    session.send("ServiceWorker.stopAllWorkers")
    assert client.page.evaluate("rest") == "TypeError"       # fetch's own network error
    answer = client.page.evaluate("() => fetch('./v1/models').then((answer) => answer.json())")
    assert answer["data"][0]["id"] == "tiny"


def test_a_page_outside_the_app_is_told(tabs, api_site):
    tab = Tab(tabs, api_site.url + "client.html")
    found = tab.page.evaluate("""async () => {
      const { apiAddress } = await import("./js/api/server.js");
      const elsewhere = new URL("./elsewhere/", location.href);
      return apiAddress(elsewhere).catch(({ code, message }) => ({ code, message }));
    }""")
    assert found["code"] == "E_BAD_REQUEST" and "elsewhere/" in found["message"]
