"""What a person has written, asked for or begun to read is not lost, moved or passed over."""
import re

from playwright.sync_api import expect

pytest_plugins = ["tests.browser.page_kit"]


def test_a_link_to_a_chat_that_is_not_here_says_so(chat):
    chat.open(text="One.")
    chat.ask("First")
    chat.page.evaluate("location.hash = '#chat=unknown'")
    expect(chat.page.locator("#toast")).to_contain_text("not in this browser")
    expect(chat.get("message-user")).to_have_count(0)
    chat.until("location.hash === ''")
    chat.page.go_back()
    expect(chat.get("message-user")).to_have_count(1)


def test_the_welcome_begins_at_its_top_on_a_small_screen(chat):
    """As at a zoom of 200 %; and there is nothing later than it to jump to."""
    chat.page.set_viewport_size({"width": 640, "height": 400})
    chat.open(start=False)
    expect(chat.get("start")).to_be_enabled()
    top = "document.getElementById('scroller').scrollTop"
    assert chat.page.evaluate("scroller.scrollHeight > scroller.clientHeight + 99")
    chat.page.set_viewport_size({"width": 640, "height": 390})  # what followed the end would move
    chat.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert chat.page.evaluate(top) == 0
    chat.page.mouse.move(320, 200)
    for by in (9999, -50):
        chat.page.mouse.wheel(0, by)
        chat.until(f"{top} > 0")
    expect(chat.page.locator("#jump")).to_be_hidden()


def test_what_cannot_be_sent_during_an_answer_stays(chat):
    """A question that was opened to be edited, and an example pressed in another chat."""
    chat.open(pieces=["One", " two."])
    chat.ask("First")
    chat.get("message-user").hover()
    chat.get("message-user").get_by_role("button", name="Edit").click()
    box = chat.get("edit-box").locator("textarea")
    box.fill("First, but better")
    chat.page.evaluate("fakeJird.hangAt = 1")
    chat.ask("Second", wait=False)
    expect(chat.get("stop")).to_be_visible()
    box.press("Enter")
    expect(chat.page.locator("#toast")).to_contain_text("An answer is being written")
    expect(box).to_have_value("First, but better")
    chat.get("new-chat").click()
    chat.page.locator(".example").first.click()
    expect(chat.get("composer")).to_have_value(re.compile("sky is blue"))
    chat.get("stop").click()
    chat.wait_end()
    chat.get("send").click()
    expect(chat.get("message-user")).to_contain_text("sky is blue")


def test_the_keyboard_is_in_the_message_box_after_start(chat):
    chat.open(waitLoad="read:5", start=False)
    chat.get("start").focus()
    chat.page.keyboard.press("Enter")
    chat.wait_state("loading")
    chat.page.keyboard.type("Typed at once")
    expect(chat.get("composer")).to_have_value("Typed at once")


HOLD = """async () => {
  const { openChatStore } = await import("./js/ui/chat_store.js");
  const { db } = await openChatStore();
  globalThis.held = true;
  const messages = db.transaction("messages", "readwrite").objectStore("messages");
  const again = () => { if (held) messages.get("none").onsuccess = again; };
  again();
}"""


LOCKED = """navigator.locks.query().then(({ held }) =>
  held.some(({ name }) => name.startsWith("jird-answer:")))"""


def test_an_answer_is_shown_as_finished_once_it_is_stored_and_a_stop_at_once(chat):
    """With a store that another write keeps busy, and a page that never loses its patience."""
    chat.page.add_init_script("""{ const timer = globalThis.setTimeout;
      globalThis.setTimeout = (run, ms, ...more) => ms === 2000 ? 0 : timer(run, ms, ...more); }""")
    chat.open(pieces=["One", " two", " three."], pauseAt=2)
    busy = "document.documentElement.hasAttribute('data-busy')"
    for stop in (False, True):
        chat.ask("Go", wait=False)
        chat.until("[...document.querySelectorAll('.md')].at(-1)?.innerText.trim() === 'One two'")
        chat.page.evaluate(HOLD)
        if stop:
            chat.get("stop").click()
            chat.wait_end()
            assert chat.page.evaluate("held")
            assert chat.page.evaluate(LOCKED), "another tab would read less than is shown"
            chat.page.evaluate("held = false")
            chat.until(f"{LOCKED}.then((locked) => !locked)")
        else:
            chat.page.evaluate("goOn()")
            chat.until("document.querySelector('.md').innerText.includes('three.')")
            chat.page.wait_for_timeout(300)
            assert chat.page.evaluate(busy)
            chat.page.evaluate("held = false")
            chat.wait_end()
