"""The Models page in two tabs, on other screens, and what it leaves behind when it is left."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.models_kit import NAME, ModelsPage, device, tiny_gguf
from tests.browser.test_models_add import DROP, fit
from tests.storage.hub_server import CHUNK

pytest_plugins = ["tests.browser.page_kit", "tests.browser.models_kit"]

WORKERS = """globalThis.workers = [];
globalThis.Worker = class extends globalThis.Worker {
  constructor(...args) { super(...args); globalThis.workers.push(this); this.ended = false; }
  terminate() { this.ended = true; super.terminate(); }
};
globalThis.listening = 0;
for (const [name, step] of [["addEventListener", 1], ["removeEventListener", -1]]) {
  const real = EventTarget.prototype[name];
  EventTarget.prototype[name] = function (...args) {
    if (this === window || this === document) globalThis.listening += step;
    return real.apply(this, args);
  };
}"""


@pytest.fixture
def both(models, models_url, model_site):
    """Two tabs of one browser."""
    other = ModelsPage(models.page.context.new_page(), models_url, model_site)
    yield models.open_models(), other.open_models()
    other.check()


def test_two_tabs_one_download(both):
    """The second tab shows the same progress, pauses it for both, and may go on with it."""
    one, two = both
    one.hub.rate = 5 << 20
    one.hub.hold(4)
    one.press("download")
    two.state("download")
    two.until("document.querySelector('.model progress').value > 0.1")
    expect(two.row().get_by_test_id("model-progress")).to_have_text(re.compile("left$"))
    two.press("pause")
    for tab in both:
        tab.state("paused")
    one.hub.rate = None
    one.hub.release()
    two.press("resume")
    for tab in both:
        tab.state("complete")
    assert set(one.hub.chunks(one.site.model)) == set(range(7))
    two.press("remove")
    two.confirm()
    for tab in both:
        tab.state("offered")


@pytest.mark.long
def test_the_other_tab_hears_of_checks_and_imports(both):
    one, two = both
    one.press("download")
    two.state("complete")
    one.press("verify")
    expect(one.row()).to_contain_text("every byte is as it was stored")
    body = list(tiny_gguf())
    two.page.evaluate(DROP, [[["mine.gguf", body]]])
    one.state("complete", id="local:mine")


@pytest.mark.long
@pytest.mark.parametrize(("size", "scheme"), [((390, 844), "light"), ((820, 1180), "dark")])
def test_it_fits_phones_and_tablets(browser, models_url, model_site, size, scheme):
    """No sideways scrolling, targets of 44 px, headings in order, nothing under the edge."""
    viewport = {"width": size[0], "height": size[1]}
    context = device(browser, viewport=viewport, has_touch=True, color_scheme=scheme)
    kit = ModelsPage(context.new_page(), models_url, model_site)
    rows = [{"id": f"m{i}", "name": f"Model with a long name {i}", "license": "Apache-2.0",
             "bytes": CHUNK, "quant": "4-bit (MLX)", "context": 32768, "modalities": ["text"],
             "source": {"kind": "hub", "model": f"org/m{i}", "repo": f"org/m{i}"},
             "fit": fit(("fits", "tight", "no")[i], 1e9)} for i in range(3)]
    kit.open_models(catalog={"rows": rows, "budget": 1.4e9})
    expect(kit.get("offered").locator("li")).to_have_count(4)
    kit.press("download")
    kit.state("complete")
    kit.get("access").locator("summary").click()
    wide = kit.page.evaluate("""() => [...document.querySelectorAll("#models *")].filter((node) =>
      node.getBoundingClientRect().right > innerWidth + 1 && !node.closest("[hidden]"))
      .map((node) => node.className)""")
    assert wide == []
    small = kit.page.evaluate("""() => [...document.querySelectorAll(
        "#models button, #models input, #models a, #models summary, .topbar a, .topbar button")]
      .filter((node) => node.offsetParent && node.getBoundingClientRect().height < 44 - 0.1)
      .map((node) => node.outerHTML)""")
    assert small == []
    nameless = kit.page.evaluate("""() => [...document.querySelectorAll(
        "#models button, #models input:not([hidden])")].filter((node) =>
      !(node.getAttribute("aria-label") || node.innerText.trim() || node.labels?.[0]?.innerText))
      .map((node) => node.outerHTML)""")
    assert nameless == []
    context.close()
    kit.check()


@pytest.mark.long
def test_it_is_reached_and_left_by_keys(models):
    models.open_models()
    assert models.page.title() == "Models – Jird"
    expect(models.page.get_by_role("heading", name="Models", exact=True)).to_be_focused()
    models.page.keyboard.press("Escape")
    expect(models.page.locator("#models")).to_be_hidden()
    expect(models.get("composer")).to_be_focused()
    models.page.go_back()
    expect(models.page.locator("#models")).to_be_visible()
    models.get("side-models").focus()
    models.page.keyboard.press("Enter")
    download = models.row().locator("[data-action=download]")
    for _ in range(12):
        models.page.keyboard.press("Tab")
        if download.evaluate("(node) => node === document.activeElement"):
            break
    models.page.keyboard.press("Enter")
    models.state("complete")
    focused = "document.activeElement.closest('.model')?.dataset.state"
    assert models.page.evaluate(focused) == "complete", "the row keeps the focus"


@pytest.mark.long
def test_nothing_is_left_running_when_it_is_left(models):
    models.page.add_init_script(WORKERS)
    models.open_models()
    before = models.page.evaluate("listening")
    for _ in range(3):
        models.get("models-back").click()
        expect(models.page.locator("#models")).to_be_hidden()
        models.until("workers.every((worker) => worker.ended)")
        models.get("side-models").click()
        models.until("workers.filter((worker) => !worker.ended).length === 1")
        expect(models.row()).to_be_visible()
    assert models.page.evaluate("listening") == before
    models.hub.hold(4)
    models.press("download")
    models.state("download")
    models.get("models-back").click()
    assert models.page.evaluate("workers.filter((worker) => !worker.ended).length") == 1
    models.hub.release()
    models.until("workers.every((worker) => worker.ended)")
    models.get("side-models").click()
    models.state("complete")


@pytest.mark.long
def test_memory_is_said_plainly(models):
    """A browser that refuses every store: it works, and says what that means."""
    models.page.add_init_script("""globalThis.Worker = class extends globalThis.Worker {
      constructor(url, options) {
        const other = new URL(url);
        other.searchParams.set("backend", "memory");
        super(other, options);
      }
    };""")
    models.open_models()
    expect(models.get("backend")).to_contain_text("models are gone when this tab closes")
    models.press("download")
    models.state("complete")
    expect(models.row()).to_contain_text(NAME)
    assert models.page.evaluate("""async () => {
      const found = [];
      for await (const name of (await navigator.storage.getDirectory()).keys()) found.push(name);
      return found;
    }""") == []
