"""Every view of the app, one after the other in one page: for tests that look at all of them.

    walk(kit)       yields (name, page) as each view stands; nothing is left open
    seeded(page)    puts a chat with code, a table, a formula, thoughts and tools into the store
"""
from tests.browser.test_diagnostics import REPORT, STATS

ANSWER = """<think>The person wants an overview, so a list and a table will do.</think>
## Waves

A wave carries *energy*, with speed $v = f\\lambda$ and

$$
E = h f = \\frac{h c}{\\lambda}
$$

| Colour | Wavelength |
|---|--:|
| Red | 700 nm |
| Blue | 450 nm |

- [x] Red is long, **blue** is short; see [more](https://example.test/waves).
- [ ] `f` is the frequency

> Short waves scatter more.

```python
def frequency(wavelength):
    return 299_792_458 / wavelength  # in metres
```
"""
CALL = {"id": "c1", "name": "calculator", "arguments": '{"expression": "299792458 / 450e-9"}'}
STATS_OF = {"tokens": 128, "tps": 41.5, "ttft_ms": 310, "prompt_tokens": 90, "think_ms": 2100}


def messages():
    """A question with a file, an answer with all of markdown, one stopped, one that failed."""
    problem = {"code": "E_DEVICE_LOST", "message": "The GPU device was lost (driver).",
               "nextStep": "Load the model again.", "facts": {"reason": "driver"}}
    calls = [{**CALL, "state": "done", "result": "666205462222222"},
             {**CALL, "id": "c2", "name": "python", "state": "refused", "result": "Refused."}]
    rows = [
        ("q1", None, "user", "How are colour and energy of light related?", "done",
         {"files": [{"name": "notes.txt", "text": "red, blue", "bytes": 9}]}),
        ("a1", "q1", "assistant", ANSWER, "done",
         {"stats": STATS_OF, "steps": [{"text": "I will work it out.", "calls": calls}]}),
        ("a0", "q1", "assistant", "Another answer.", "done", {"stats": STATS_OF}),
        ("q2", "a1", "user", "And in one sentence?", "done", {}),
        ("a2", "q2", "assistant", "Shorter waves carry more", "stopped", {"stats": STATS_OF}),
        ("q3", "a2", "user", "Go on.", "done", {}),
        ("a3", "q3", "assistant", "", "error", {"problem": problem}),
    ]
    return [{"id": name, "chat": "c", "parent": parent, "role": role, "text": text,
             "created": i + 1, "state": state, "finish": None, **more}
            for i, (name, parent, role, text, state, more) in enumerate(rows)]


def seeded(page):
    """Put the chat into the store of the page that is open; show it by `#chat=c`."""
    chat = {"id": "c", "title": "Colour and energy", "created": 1, "updated": 2, "leaf": "a3",
            "settings": {"temperature": 0.3}, "consent": {"python": "never"}}
    others = [{**chat, "id": f"o{i}", "title": title, "leaf": None, "updated": 1}
              for i, title in enumerate(["Dinner with rice and eggs", "Ein Treffen verlegen"])]
    page.evaluate("""async ([chat, messages, others]) => {
      const { openChatStore } = await import("./js/ui/chat_store.js");
      const store = await openChatStore();
      await store.saveAll([{ chat, messages }, ...others.map((chat) => ({ chat, messages: [] }))]);
    }""", [chat, messages(), others])


def dialog(kit, opened, name):
    """Views of a dialog: `opened()` opens it, Escape closes it."""
    opened()
    kit.page.locator("dialog[open]").wait_for()
    yield name, kit.page
    kit.page.keyboard.press("Escape")
    kit.page.locator("dialog[open]").wait_for(state="detached")


def press(kit, name):
    """Click by script: on narrow screens the button is in a closed drawer."""
    kit.page.evaluate("(id) => document.querySelector(`[data-testid=${id}]`).click()", name)


def walk(kit):
    """Views of a ModelsPage (models_kit). @yields name and page, view after view."""
    page = kit.page
    kit.open_models(stats=STATS, report=REPORT, loadMs=0)
    kit.row().wait_for()
    yield "models", page
    page.evaluate("location.hash = ''")
    kit.get("start").wait_for()
    yield "welcome", page
    seeded(page)
    page.evaluate("history.replaceState(null, '', '#chat=c'); location.reload()")
    page.locator("math").first.wait_for()
    page.locator("[data-lit]").first.wait_for()
    yield "chat", page
    page.get_by_test_id("thought").first.locator("summary").click()
    page.locator(".tool summary").first.click()
    yield "chat, opened", page
    page.locator("[data-action=edit]").first.click()
    yield "edit", page
    page.keyboard.press("Escape")
    page.locator("[data-action=more]").first.click()
    yield "menu", page
    page.keyboard.press("Escape")
    for name in ("settings", "tools"):
        yield from dialog(kit, lambda name=name: press(kit, name), name)
    yield from dialog(kit, lambda: page.keyboard.press("?"), "keys")
    kit.until("!document.getElementById('diagnostics').disabled")
    yield from dialog(kit, lambda: press(kit, "privacy"), "privacy")
    yield from dialog(kit, lambda: (press(kit, "diagnostics")), "diagnostics, no model")

    def prompts():
        kit.get("add").click()
        page.get_by_role("menuitem", name="Prompts").click()
    yield from dialog(kit, prompts, "prompts")
    page.locator("[data-action=retry]").last.click()
    kit.wait_state("ready")
    kit.wait_end()

    def diagnostics():
        press(kit, "diagnostics")
        kit.get("measure").click()
        kit.get("kernel-chart").wait_for()
    yield from dialog(kit, diagnostics, "diagnostics")
