"""The page around the device: the screen stays on, a hidden page lets go, tabs take over."""
import json

import pytest
from playwright.sync_api import expect

from tests.browser.page_kit import ChatPage
from tests.browser.test_diagnostics import STATS

pytest_plugins = ["tests.browser.page_kit"]

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
WAKE = """(() => {
  globalThis.wake = { held: 0, taken: 0 };
  const request = async () => {
    wake.held++;
    wake.taken++;
    const sentinel = new EventTarget();
    sentinel.release = async () => { wake.held--; sentinel.dispatchEvent(new Event("release")); };
    globalThis.sentinel = sentinel;
    return sentinel;
  };
  Object.defineProperty(navigator, "wakeLock", { value: { request } });
})()"""


def ready(chat):
    """All of the page's late parts are there."""
    chat.until("!document.getElementById('privacy').disabled")


def test_the_screen_stays_on_while_it_loads_and_answers(chat):
    chat.page.add_init_script(WAKE)
    chat.open(start=False, waitLoad="upload:5", pieces=["word "] * 4000, perSecond=60)
    ready(chat)
    assert chat.page.evaluate("wake.taken") == 0
    chat.get("start").click()
    chat.until("wake.held === 1 && Boolean(globalThis.releaseLoad)")
    chat.page.evaluate("releaseLoad()")
    chat.wait_state("ready")
    chat.until("wake.held === 0")
    chat.ask(wait=False)
    chat.until("wake.held === 1")
    chat.page.evaluate("sentinel.release()")  # the browser does so when the page is hidden
    chat.page.evaluate(HIDE, True)
    assert chat.page.evaluate("wake.held") == 0
    chat.page.evaluate(HIDE, False)
    chat.until("wake.held === 1")
    chat.get("stop").click()
    chat.until("wake.held === 0")


def test_a_page_that_is_hidden_for_long_gives_its_memory_back(chat):
    chat.page.clock.install()
    chat.open(text="One answer.")
    ready(chat)
    chat.ask("first")
    chat.page.evaluate(HIDE, True)
    chat.page.clock.fast_forward(5 * 60_000)
    assert chat.page.evaluate("globalThis.engineUnloads ?? 0") == 0
    chat.page.evaluate(HIDE, False)  # a look begins the wait anew
    chat.page.evaluate(HIDE, True)
    chat.page.clock.fast_forward(9 * 60_000)
    assert chat.page.evaluate("globalThis.engineUnloads ?? 0") == 0
    chat.page.clock.fast_forward(2 * 60_000)
    chat.until("globalThis.engineUnloads === 1")
    chat.wait_state("idle")
    assert chat.answer() == "One answer."
    chat.page.evaluate(HIDE, False)
    chat.wait_state("ready")
    assert chat.page.evaluate("globalThis.engineLoads") == 2
    chat.ask("second")
    expect(chat.get("message-assistant")).to_have_count(2)


def test_a_hidden_page_that_answers_goes_on(chat):
    chat.page.clock.install()
    chat.open(pieces=["word "] * 9, hangAt=5)
    ready(chat)
    chat.ask("long", wait=False)
    expect(chat.get("message-assistant")).to_contain_text("word word word word word")
    chat.page.evaluate(HIDE, True)
    chat.page.clock.fast_forward(11 * 60_000)
    assert chat.page.evaluate("document.documentElement.hasAttribute('data-busy')")
    assert chat.page.evaluate("globalThis.engineUnloads ?? 0") == 0
    chat.get("stop").click()
    chat.wait_end()
    chat.page.clock.fast_forward(11 * 60_000)
    chat.until("globalThis.engineUnloads === 1")


@pytest.fixture
def other(chat):
    """A second tab of the same browser."""
    page = chat.page.context.new_page()
    kit = ChatPage(page, chat.url)
    yield kit
    page.close()


def test_another_tab_sees_the_stream_and_takes_it_over(chat, other):
    chat.open(pieces=[f"w{i} " for i in range(4000)], perSecond=40)
    chat.ask("Shared question", wait=False)
    chat.page.locator(".streaming .block").wait_for()
    other.open(start=False, pieces=["and on."], perSecond=60)  # as the first tab, it loads by itself
    other.wait_state("ready")
    other.page.locator(".chat-open").first.click()
    message = other.get("message-assistant")
    expect(message).to_contain_text("w5 ")
    expect(message).to_contain_text("Another tab is writing this.")
    other.get("takeover").click()
    other.wait_end()
    chat.wait_end()
    expect(message).to_contain_text("and on.")
    expect(chat.get("message-assistant")).to_contain_text("and on.")
    request = other.page.evaluate("globalThis.requests.at(-1)")
    assert request["continue_final_message"] and "w5 " in request["messages"][-1]["content"]
    assert other.answer() == chat.answer()


def test_a_tab_that_does_not_stop_is_named(chat, other):
    chat.open()
    chat.ask("Hello")
    chat.page.evaluate("""async () => {
      const { openChatStore } = await import("./js/ui/chat_store.js");
      const store = await openChatStore();
      const [row] = await store.listChats();
      const last = (await store.listMessages(row.id)).at(-1);
      navigator.locks.request(`jird-answer:${last.id}`, () => new Promise(() => {}));
      await store.save(row, [{ ...last, state: "streaming" }]);
    }""")
    other.open(start=False)
    other.wait_state("ready")
    other.page.locator(".chat-open").first.click()
    other.get("takeover").click()
    expect(other.page.locator(".toast")).to_contain_text("did not answer")
    expect(other.get("takeover")).to_be_visible()


def test_safe_mode_is_told_in_the_chat(chat):
    told = {"kind": "lost", "count": 3, "context": 1024}
    device = {**STATS["device"], "mode": "safe", "notice": "English words.", "told": told}
    chat.page.add_init_script("localStorage.setItem('jird.language', 'de')")
    chat.open(stats={**STATS, "device": device})
    toast = chat.page.locator(".toast")
    expect(toast).to_contain_text("abgesicherten Modus")
    expect(toast).to_contain_text("1.024 Token")
    chat.until("!document.getElementById('diagnostics').disabled")
    toast.get_by_role("button", name="Diagnose").click()
    expect(chat.get("device-notice")).to_contain_text("abgesicherten Modus")


def test_the_report_has_every_coded_error_and_nothing_of_a_chat(chat):
    chat.open(start=False, failLoad=True, stats=STATS, pieces=["HIDDEN ", "WORDS"], failAt=1)
    chat.get("start").click()
    chat.get("error").first.get_by_role("button").click()
    chat.wait_state("ready")
    chat.get("composer").fill("PRIVATE question")
    chat.get("send").click()
    chat.wait_end()
    ready(chat)
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat.page.evaluate("document.getElementById('diagnostics').click()")
    log = chat.get("error-log").locator("tbody tr")
    expect(log).to_have_count(2)
    expect(log.first).to_contain_text("E_DEVICE_LOST")
    expect(log.last).to_contain_text("E_CORRUPT_SHARD")
    chat.get("copy-report").click()
    expect(chat.get("copy-report")).to_have_text("Copied")
    text = chat.page.evaluate("navigator.clipboard.readText()")
    report = json.loads(text)
    assert [row["code"] for row in report["errors"]] == ["E_DEVICE_LOST", "E_CORRUPT_SHARD"]
    assert report["page"]["userAgent"] and {"jird", "stats", "kernels", "selftest"} < report.keys()
    for word in ("PRIVATE", "HIDDEN", "WORDS", "model.gguf"):
        assert word not in text
    chat.page.get_by_role("button", name="Clear the list").click()
    expect(chat.get("diagnostics-panel")).to_contain_text("Nothing so far.")
    chat.errors.clear()  # the page has no version.json here, which the browser logs
