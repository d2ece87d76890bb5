"""The playground: a request from the form, its answer, its error in full, and code that says it."""
import pytest
from playwright.sync_api import expect

from tests.browser.pwa_kit import Tab

pytest_plugins = ["tests.browser.pwa_kit", "tests.browser.api_kit"]
CHOSEN = """localStorage.setItem("jird.model", JSON.stringify({ id: "tiny", name: "Tiny" }))"""
FACTS = """() => ({ wide: document.documentElement.scrollWidth - innerWidth,
  unnamed: [...document.querySelectorAll("button, input, textarea")]
    .filter((node) => !node.labels?.length && !node.textContent.trim()).length,
  small: [...document.querySelectorAll("button, .play-field input, .play-field textarea, summary")]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 43.5)
    .map((node) => node.id || node.name || node.tagName) })"""


@pytest.fixture
def play(tabs, api_site):
    tab = Tab(tabs)
    tab.page.add_init_script(CHOSEN)
    tab.page.goto(api_site.url + "playground.html?device=reference")
    return tab


def test_a_request_its_code_and_its_error(play):
    play.get("engine-start").click()
    expect(play.get("engine-state")).to_have_attribute("data-state", "ready")
    page = play.page
    page.get_by_label("max_tokens").fill("6")
    page.get_by_label("seed").fill("7")
    page.get_by_label("n", exact=True).fill("2")
    play.get("run").click()
    expect(play.get("facts")).to_contain_text("12 tokens")
    expect(page.locator(".choice")).to_have_count(2)
    assert '"chat.completion.chunk"' in play.get("raw").text_content()
    code = play.get("code")
    for way, said in (("jird.js", "createEngine"), ("openai", "new OpenAI"), ("fetch", "/v1/chat")):
        page.get_by_role("radio", name=way).check()
        expect(code).to_contain_text(said)
        expect(code).to_contain_text("seed: 7")
    page.get_by_role("radio", name="Completion").check()
    expect(play.get("system")).to_be_hidden()
    expect(code).to_contain_text("/v1/completions")
    page.get_by_label("temperature").fill("hot")
    play.get("run").click()
    failure = play.get("failure")
    for word in ("'temperature' is 'hot'", "Correct the request", "E_BAD_REQUEST", "400"):
        expect(failure).to_contain_text(word)
    page.get_by_label("temperature").fill("0")
    page.get_by_role("checkbox", name="stream").uncheck()
    play.get("run").click()
    expect(failure).to_be_empty()
    expect(play.get("facts")).to_contain_text("12 tokens")
    assert play.errors == []


def test_it_fits_a_phone_and_everything_has_a_name(play):
    play.page.set_viewport_size({"width": 360, "height": 740})
    expect(play.get("engine-start")).to_be_visible()
    assert play.page.evaluate(FACTS) == {"wide": 0, "unnamed": 0, "small": []}
