"""Loaded once, the app needs no network: the page from the service worker, the model from storage."""
import pytest
from playwright.sync_api import expect

from app.build import browsers, server
from tests.browser.pace import attempts
from tests.support import WAIT_MS

ANSWER = """async () => {
    const { createEngine } = await import("./jird.js");
    const stages = [];
    const engine = await createEngine({ onProgress: ({ stage }) => stages.includes(stage) || stages.push(stage) });
    const answer = await engine.completions.create({ prompt: "1, 2, 3, 4, 5,", temperature: 0, max_tokens: 6 });
    const { storage_notice } = await engine.stats();
    await engine.unload();
    return { text: answer.choices[0].text, stages, storage_notice };
}"""


@pytest.fixture
def profile(playwright, browser_name, browser_type_launch_args, tmp_path):
    """A browser with a profile on disk, as a person has; storage is real there."""
    if browser_name != "chromium" or browsers.chromium() is None:
        pytest.skip("needs Chromium: WebGPU and a service worker in one browser")
    context = playwright.chromium.launch_persistent_context(tmp_path, **browser_type_launch_args)
    yield context
    context.close()


def test_with_the_server_stopped_it_starts_and_answers(profile, dist):
    url, stop = server.serve_in_thread(dist)
    page = profile.new_page()
    try:
        page.goto(url)
        first = page.evaluate(ANSWER)
        assert first["storage_notice"] is None and "download" in first["stages"]
        assert first["text"].startswith(" 6, 7")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        fetched = [r.path for r in stop.site.log if r.path.endswith("model.gguf")]
        page.reload()
        again = page.evaluate(ANSWER)
        assert "download" not in again["stages"] and again["text"] == first["text"]
        assert [r.path for r in stop.site.log if r.path.endswith("model.gguf")] == fetched, "fetched twice"
    finally:
        stop()
    page.close()
    page = profile.new_page()
    page.goto(url)
    expect(page.get_by_test_id("composer")).to_be_visible()
    offline = page.evaluate(ANSWER)
    assert offline["text"] == first["text"] and "download" not in offline["stages"]
    page.close()
    times, blank = [], profile.new_page()

    def first():
        times.append(first_interaction(profile, url))
        return times[-1][0]

    quick, seen = attempts(blank, 1000, first)
    print(f"first interaction, model ready, in ms: {times}; with the machine's slowness: {seen}")
    assert quick, seen
    assert all(ms < ready for ms, ready in times), "the page waited for the model"


# A letter counts when the page has answered it: Send is no longer disabled.
FIRST = """(() => {
  const type = (text) => {
    const box = document.getElementById("prompt");
    if (box) box.value = text;
    box?.dispatchEvent(new Event("input", { bubbles: true }));
    return document.getElementById("send")?.disabled === false;
  };
  const look = () => {
    if (!type("x")) return setTimeout(look, 10);
    type("");
    globalThis.firstMs = performance.now();
  };
  look();
})()"""


def first_interaction(profile, url):
    """(ms from the start of the navigation to the first answered key, ms to the loaded model) of a
    visit that loads the model by itself."""
    page = profile.new_page()
    page.add_init_script("localStorage.setItem('jird.started', '1');" + FIRST)
    page.goto(url)
    page.locator("[data-testid=status][data-state=ready]").wait_for(timeout=3 * WAIT_MS)
    times = page.evaluate("[firstMs, performance.now()]")
    page.close()
    return [round(ms) for ms in times]
