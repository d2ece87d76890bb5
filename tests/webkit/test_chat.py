"""A conversation in WebKitGTK: a tiny model on the reference device, and all that an answer has."""
import json

import pytest

from tests.browser.api_kit import add_tiny_model
from tests.browser.pwa_kit import make_worker
from tests.browser.views_kit import messages
from tests.webkit.conftest import WebKitTab

CHOICE = {"jird.model": {"id": "tiny", "name": "Tiny"},
          "jird.settings": {"temperature": 0, "max_tokens": 12}}
IDLE = "!document.documentElement.hasAttribute('data-busy')"
STATS = "[...document.querySelectorAll('[data-testid=stats]')].at(-1)?.innerText"


@pytest.fixture
def tab(webkit, app, goldens):
    add_tiny_model(app.root, goldens)
    make_worker(app.root)
    yield WebKitTab(webkit.driver, app)
    webkit.driver.get("about:blank")


def kept(tab, **texts):
    """Set what the page keeps, by key, and open it on the reference device."""
    for key, value in texts.items():
        tab.eval(f"localStorage.setItem({key!r}, {json.dumps(value)})")
    return tab.open("?device=reference")


def ask(tab, text):
    tab.eval(f"""(() => {{ const box = document.getElementById("prompt");
      box.value = {json.dumps(text)};
      box.dispatchEvent(new InputEvent("input", {{ bubbles: true }})); }})()""")
    tab.click("#send")
    done(tab)


def done(tab):
    tab.until("document.querySelector('article.assistant')")
    tab.until(IDLE)


def test_a_chat_with_the_reference_device(tab):
    tab.open()
    kept(tab, **{key: json.dumps(value) for key, value in CHOICE.items()})
    tab.click("#start")
    tab.until("document.querySelector('[data-testid=status]').dataset.state === 'ready'")
    ask(tab, "Hello?")
    tab.until(f"{STATS}?.includes('12')")
    assert "length\u00a0limit" in tab.eval(STATS)
    first = tab.eval("document.querySelector('article.assistant .md').innerText")
    tab.click("[data-testid=resume]")
    done(tab)
    tab.until(f"{STATS}?.includes('24')")
    assert tab.eval("document.querySelector('article.assistant .md').innerText").startswith(
        first.rstrip()[:4])
    tab.click("[data-action=retry]")
    done(tab)
    tab.until("document.querySelector('[data-testid=switcher]')")
    tab.open("?device=reference" + tab.eval("location.hash"))
    tab.until("document.querySelectorAll('article').length === 2")
    assert "2/2" in tab.eval("document.querySelector('[data-testid=switcher]').innerText")
    assert tab.errors() == []


def test_an_answer_shows_all_its_parts_in_another_language(tab):
    tab.open()
    tab.run(f"""
        const {{ openChatStore }} = await import("./js/ui/chat_store.js");
        const store = await openChatStore();
        const chat = {{ id: "c", title: "Light", created: 1, updated: 2, leaf: "a3" }};
        await store.save(chat, {json.dumps(messages())});""")
    tab.eval("localStorage.setItem('jird.language', 'fr')")
    tab.open("?again#chat=c")
    tab.until("document.querySelector('math mfrac') && document.querySelector('[data-lit]')")
    shown = tab.eval("""(() => {
      const box = (selector) => document.querySelector(selector).getBoundingClientRect();
      return { lang: document.documentElement.lang, formula: box("math mfrac").height,
        table: box(".table-box").width, tools: document.querySelectorAll(".tool").length,
        thought: document.querySelector(".thought summary").innerText,
        wide: document.documentElement.scrollWidth - innerWidth }; })()""")
    assert shown["lang"] == "fr" and shown["formula"] > 15 and shown["table"] > 200
    assert shown["tools"] == 2 and shown["thought"].startswith("Réflexion") and shown["wide"] == 0
    tab.click("[data-testid=settings]")
    tab.until("document.querySelector('dialog[open] h2')")
    assert tab.eval("document.querySelector('dialog[open] h2').innerText") == "Réglages"
    assert tab.errors() == []
