"""Another direction of writing: nothing leaves the page, controls change sides, code does not."""
import pytest

from app.build import settings
from tests.browser.models_kit import ModelsPage, device
from tests.browser.views_kit import seeded, walk

pytest_plugins = ["tests.browser.page_kit", "tests.browser.models_kit"]
LANGUAGES = (settings.SHELL / "js/ui/lang/languages.js").read_text()

# What is shown outside the window and in no box that scrolls; a pixel is lost to rounding.
OUTSIDE = """() => {
  const scrolls = (node) => {
    for (let at = node.parentElement; at; at = at.parentElement) {
      if (/auto|scroll|hidden|clip/.test(getComputedStyle(at).overflowX)
          && at.scrollWidth > at.clientWidth && at !== document.body) return true;
    }
  };
  const root = document.querySelector("dialog[open]") ?? document.body;
  const off = [...root.querySelectorAll("*")].filter((node) => {
    if (!node.checkVisibility() || node.closest("[inert], .offscreen, .skip, svg, math")) return;
    const { left, right, width } = node.getBoundingClientRect();
    return width && (left < -1 || right > innerWidth + 1) && !scrolls(node);
  });
  return off.map((node) => node.outerHTML.slice(0, 90));
}"""
WIDE = "document.documentElement.scrollWidth - innerWidth"


def reversed_languages(page):
    """English, as if it were written from right to left."""
    body = LANGUAGES.replace('name: "English", dir: "ltr"', 'name: "English", dir: "rtl"')
    assert body != LANGUAGES
    page.route("**/lang/languages.js",
               lambda route: route.fulfill(body=body, content_type="text/javascript"))


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (320, 700)])
def test_no_view_leaves_the_window(browser, models_url, model_site, size, direction):
    width, height = size
    context = device(browser, viewport={"width": width, "height": height}, has_touch=width < 500)
    kit = ModelsPage(context.new_page(), models_url, model_site)
    if direction == "rtl":
        reversed_languages(kit.page)
    found = []
    for name, page in walk(kit):
        assert page.evaluate("document.dir") == direction
        found += [f"{name}: {what}" for what in page.evaluate(OUTSIDE)]
        if wide := page.evaluate(WIDE):
            found.append(f"{name}: {wide} px too wide")
    assert found == [], "\n".join(found)
    context.close()
    kit.check()


def box(chat, selector):
    return chat.page.locator(selector).first.bounding_box()


def middle(chat, selector):
    at = box(chat, selector)
    return at["x"] + at["width"] / 2


def test_controls_change_sides_and_code_does_not(chat):
    reversed_languages(chat.page)
    chat.open(start=False)
    seeded(chat.page)
    chat.page.goto(f"{chat.url}?again#chat=c")
    chat.page.locator("math").first.wait_for()
    assert middle(chat, "#sidebar") > middle(chat, "#main")
    assert middle(chat, "#send") < middle(chat, "#prompt") < middle(chat, "#add")
    assert middle(chat, "#theme") < middle(chat, "#menu")
    assert middle(chat, ".message.user .bubble") < middle(chat, "#messages")
    styles = chat.page.evaluate("""() => {
      const of = (selector) => getComputedStyle(document.querySelector(selector));
      return { code: of(".code pre").direction, math: of("math").direction,
               answer: of(".message.assistant .md").direction, page: of("body").direction,
               menu: of("#menu .icon").transform, send: of("#send .icon").transform }; }""")
    assert styles == {"code": "ltr", "math": "ltr", "answer": "ltr", "page": "rtl",
                      "menu": "matrix(-1, 0, 0, 1, 0, 0)", "send": "none"}
    chat.page.locator("#add").click()
    menu, button = box(chat, ".menu"), box(chat, "#add")
    assert abs(menu["x"] + menu["width"] - button["x"] - button["width"]) < 2


@pytest.mark.parametrize("text, direction", [
    ("مرحبا بالعالم، كيف حالك اليوم؟", "rtl"), ("Hello, how are you?", "ltr")])
def test_a_message_has_the_direction_of_its_text(chat, text, direction):
    chat.open(text=text)
    chat.ask(text)
    for selector in (".bubble", ".md", "#title", ".chat-open"):
        said = chat.page.evaluate(
            "(s) => getComputedStyle(document.querySelector(s)).direction", selector)
        assert said == direction, selector
