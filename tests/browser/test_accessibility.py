"""Nothing serious by axe-core on any view; all by keyboard; calm where a person asks for it."""
import pytest
from playwright.sync_api import expect

from tests.browser.axe_kit import serious
from tests.browser.models_kit import ModelsPage, device
from tests.browser.views_kit import messages, seeded, walk

pytest_plugins = ["tests.browser.page_kit", "tests.browser.models_kit", "tests.browser.axe_kit"]
IPAD = {"viewport": {"width": 820, "height": 1180}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}


@pytest.mark.parametrize("size", [DESKTOP, IPAD], ids=["desktop", "ipad"])
def test_axe_finds_nothing_serious_on_any_view(browser, models_url, model_site, axe, size):
    context = device(browser, **size)
    kit = ModelsPage(context.new_page(), models_url, model_site)
    found, views = [], []
    for name, page in walk(kit):
        page.emulate_media(color_scheme="light")
        found += [f"{name}: {row['what']}" for row in serious(page, axe)]
        page.emulate_media(color_scheme="dark")
        dark = serious(page, axe, ["color-contrast"])
        found += [f"{name}, dark: {row['what']}" for row in dark]
        views.append(name)
    assert found == [], "\n".join(found)
    assert len(views) >= 13
    context.close()
    kit.check()


def test_axe_finds_nothing_serious_while_loading_answering_or_failed(chat, axe):
    chat.open(start=False, waitLoad="upload:5", pieces=["word "] * 4000, perSecond=60)
    chat.get("start").click()
    chat.page.locator("[data-stage=upload][data-state=active]").wait_for()
    assert serious(chat.page, axe) == []
    chat.until("Boolean(globalThis.releaseLoad)")
    chat.page.evaluate("releaseLoad()")
    chat.wait_state("ready")
    chat.ask(wait=False)
    chat.page.locator(".streaming .block").wait_for()
    assert serious(chat.page, axe) == []
    chat.get("stop").click()


def test_axe_does_find_what_is_wrong(chat, axe):
    chat.open(start=False)
    chat.page.evaluate("document.getElementById('send').removeAttribute('aria-label');"
                       "document.getElementById('send').removeAttribute('title')")
    assert "button-name" in [row["id"] for row in serious(chat.page, axe)]


def open_seeded(chat):
    chat.open(start=False)
    seeded(chat.page)
    chat.page.goto(f"{chat.url}?again#chat=c")
    chat.page.locator("[data-lit]").first.wait_for()
    chat.wait_whole()
    return chat


REACHABLE = """() => [...document.querySelectorAll(
    "a[href], button, input, textarea, select, summary, [tabindex]")]
  .filter((node) => node.tabIndex >= 0 && !node.disabled && !node.closest("[inert], [hidden]")
    && node.checkVisibility() && node.type !== "file")"""
# null where nothing has the focus; asked at once, as it leaves the page a moment after the last Tab
HERE = """() => {
  const node = document.activeElement;
  if (node === document.body) return null;
  node.dataset.passed ??= "";
  const shown = node.matches(":focus-visible") && getComputedStyle(node).outlineStyle !== "none";
  const box = node.closest(".composer, .search")?.matches(":focus-within");
  return [node.outerHTML.slice(0, 120), shown || Boolean(box)];
}"""


def test_tab_reaches_every_control_and_shows_where_it_is(chat):
    open_seeded(chat)
    page = chat.page
    count = page.evaluate(f"({REACHABLE})().length")
    assert count > 30
    page.evaluate("document.activeElement.blur(); document.body.focus()")
    unmarked = []
    for _ in range(count + 5):
        page.keyboard.press("Tab")
        found = page.evaluate(HERE)
        if found and not found[1]:
            unmarked.append(found[0])
    assert unmarked == []
    assert page.evaluate(f"({REACHABLE})().filter(({{ dataset }}) => !('passed' in dataset))"
                         ".map(({ outerHTML }) => outerHTML.slice(0, 99))") == []


def test_a_conversation_by_keyboard_alone(chat):
    chat.open(text="One. Two.")
    page, keys = chat.page, chat.page.keyboard
    page.locator(".skip").focus()
    assert page.locator(".skip").bounding_box()["y"] >= 0, "it is shown while it has the focus"
    keys.press("Enter")
    expect(chat.get("composer")).to_be_focused()
    keys.type("Hello")
    keys.press("Enter")
    chat.wait_end()
    page.locator("[data-action=more]").last.focus()
    keys.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    keys.press("ArrowDown")
    keys.press("Escape")
    expect(page.locator("[data-action=more]").last).to_be_focused()
    keys.press("Control+,")
    expect(chat.get("settings-panel")).to_be_visible()
    keys.press("Escape")
    expect(chat.get("settings-panel")).to_be_hidden()
    keys.press("Control+k")
    expect(chat.get("search")).to_be_focused()
    keys.type("hel")
    keys.press("ArrowDown")
    expect(page.locator(".chat-open").first).to_be_focused()
    keys.press("Enter")
    expect(page.locator("article")).to_have_count(2)
    keys.press("Control+Shift+O")
    expect(page.locator("article")).to_have_count(0)


MOVING = """() => document.getAnimations().filter((a) => a.playState === "running"
  && a.effect.getComputedTiming().duration > 1).map((a) => a.effect.target.className)"""


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_who_wants_calm(chat, motion):
    chat.page.emulate_media(reduced_motion=motion)
    chat.open(pieces=["a"], firstMs=60_000)
    chat.ask(wait=False)
    chat.page.locator(".waiting").wait_for()
    moving = chat.page.evaluate(MOVING)
    assert bool(moving) == (motion == "no-preference"), moving
    chat.get("stop").click()


def test_the_seeded_chat_shows_all_its_parts(chat):
    """What the other tests look at is there: they would find nothing on an empty page."""
    open_seeded(chat)
    for selector in (".code", ".table-box", "math", ".thought", ".tool", ".problem", ".switcher",
                     "[data-testid=resume]", ".md input", "blockquote", ".md a[href]"):
        assert chat.page.locator(selector).count(), selector
    assert len(messages()) == 7
