"""A chat's tree of messages: edit, regenerate, continue, branches, deletion; thoughts; two tabs."""
import re

import pytest
from playwright.sync_api import expect

from tests.browser.page_kit import pieces
from tests.browser.test_page import STORED_TEXT

pytest_plugins = ["tests.browser.page_kit"]


def button(chat, role, name, which=-1):
    article = chat.get(f"message-{role}").nth(which)
    article.hover()
    return article.get_by_role("button", name=name, exact=True)


def answer_with(chat, text):
    chat.page.evaluate("(pieces) => { fakeJird.pieces = pieces }", pieces(text))


def test_an_edited_question_is_a_branch_and_the_old_one_stays(chat):
    chat.open(text="First answer.")
    chat.ask("One apple")
    chat.ask("Then what?")
    answer_with(chat, "Second answer.")
    button(chat, "user", "Edit", 0).click()
    box = chat.get("edit-box").locator("textarea")
    expect(box).to_be_focused()
    expect(box).to_have_value("One apple")
    box.fill("Two pears")
    box.press("Enter")
    chat.wait_end()
    expect(chat.get("message-user")).to_have_count(1)
    assert chat.answer() == "Second answer."
    sent = chat.page.evaluate("requests.at(-1).messages")
    assert [m["content"] for m in sent] == ["Two pears"]
    expect(chat.get("switcher")).to_have_text("2/2")
    button(chat, "user", "Version before").click()
    expect(chat.get("message-user")).to_have_count(2)
    expect(chat.get("message-user").last).to_contain_text("Then what?")
    assert chat.page.evaluate("document.activeElement.closest('.switcher') !== null")
    chat.reload()
    expect(chat.get("message-user")).to_have_count(2)
    button(chat, "user", "Version after", 0).click()
    expect(chat.get("message-user")).to_have_text(re.compile("Two pears"))


def test_escape_leaves_an_edit_without_a_trace(chat):
    chat.open(text="Fine.")
    chat.ask("Keep this")
    button(chat, "user", "Edit").click()
    chat.get("edit-box").locator("textarea").fill("never sent")
    chat.page.keyboard.press("Escape")
    expect(chat.get("edit-box")).to_have_count(0)
    expect(chat.get("message-user").locator(".bubble")).to_have_text("Keep this")
    expect(chat.get("switcher")).to_have_count(0)


def test_regenerate_keeps_both_answers(chat):
    chat.open(text="Answer one.")
    chat.ask("Q")
    answer_with(chat, "Answer two.")
    button(chat, "assistant", "Try again").click()
    chat.wait_end()
    assert chat.answer() == "Answer two."
    expect(chat.get("switcher")).to_have_text("2/2")
    answer_with(chat, "On.")
    chat.ask("And now?")
    button(chat, "assistant", "Version before", 0).click()
    expect(chat.get("message-assistant")).to_have_count(1)
    assert chat.answer() == "Answer one."
    chat.ask("From one")
    sent = chat.page.evaluate("requests.at(-1).messages.map((m) => m.content)")
    assert sent == ["Q", "Answer one.", "From one"]


def test_a_stopped_answer_goes_on_where_it_was(chat):
    chat.open(pieces=[f"w{i} " for i in range(4000)], perSecond=60)
    chat.ask("go", wait=False)
    chat.until("document.querySelector('.md')?.innerText.includes('w9')")
    chat.get("stop").click()
    chat.wait_end()
    text = chat.answer()
    answer_with(chat, "tail end.")
    chat.get("resume").click()
    chat.wait_end()
    assert chat.answer() == f"{text.rstrip()} tail end."
    body = chat.page.evaluate("requests.at(-1)")
    assert body["continue_final_message"] is True
    assert body["messages"][-1]["role"] == "assistant"
    assert body["messages"][-1]["content"].strip() == text.strip()
    expect(chat.get("resume")).to_have_count(0)
    chat.reload()
    expect(chat.get("message-assistant")).to_contain_text("tail end.")


def test_a_reload_in_mid_answer_offers_to_continue(chat):
    chat.open(pieces=[f"w{i} " for i in range(4000)], perSecond=60)
    chat.ask("long", wait=False)
    chat.until(STORED_TEXT % "w29 ")  # while it is written
    chat.reload()
    expect(chat.get("resume")).to_be_visible()
    chat.wait_state("ready")
    chat.page.evaluate("fakeJird.pieces = ['THE END']")
    chat.get("resume").click()
    chat.wait_end()
    assert re.match(r"w0 w1 .*w2\d .*THE END$", chat.answer())


def test_deleting_messages_can_be_undone(chat):
    chat.open(text="Yes.")
    for question in ("One", "Two", "Three"):
        chat.ask(question)
    button(chat, "user", "More actions", 1).click()
    chat.page.get_by_role("menuitem", name="Delete from here on").click()
    expect(chat.get("message-user")).to_have_count(1)
    chat.page.get_by_role("button", name="Undo").click()
    expect(chat.get("message-user")).to_have_count(3)
    button(chat, "user", "More actions", 1).click()
    chat.page.keyboard.press("ArrowDown")
    expect(chat.page.get_by_role("menuitem", name="Delete from here on")).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(chat.get("message-user")).to_have_count(1)
    chat.reload()
    expect(chat.get("message-user")).to_have_count(1)


def test_a_branch_is_a_chat_of_its_own(chat):
    chat.open(text="Yes.")
    chat.ask("One")
    chat.ask("Two")
    button(chat, "assistant", "More actions", 0).click()
    chat.page.get_by_role("menuitem", name="Branch into a new chat").click()
    expect(chat.get("message-user")).to_have_count(1)
    expect(chat.get("chat-list").locator("li")).to_have_count(2)
    chat.ask("Only here")
    chat.get("chat-list").get_by_role("link").last.click()
    expect(chat.get("message-user").last).to_contain_text("Two")


THOUGHT = "<think>\nFirst I add.\n\nThen I check **it**.\n</think>\n\nThe sum is **4**."


@pytest.mark.parametrize("text", [THOUGHT, THOUGHT.replace("<think>\n", "")])
def test_thoughts_have_their_own_closed_field(chat, text):
    chat.open(pieces=[text[i:i + 3] for i in range(0, len(text), 3)], perSecond=200)
    chat.ask("2+2")
    assert chat.answer() == "The sum is 4."
    field = chat.get("thought")
    assert field.get_attribute("open") is None
    expect(field).to_contain_text("Thought for")
    field.locator("summary").click()
    expect(field.locator(".thought-text")).to_have_text(
        "First I add.\n\nThen I check **it**.")
    chat.ask("and then")
    sent = chat.page.evaluate("requests.at(-1).messages[1].content")
    assert sent == "The sum is **4**."
    chat.reload()
    expect(chat.get("thought").first).to_contain_text("Thought for")
    expect(chat.get("message-assistant").first.locator("strong")).to_have_text("4")


def test_thoughts_split_at_every_prefix_without_showing_tags(chat):
    chat.open(start=False)
    rows = chat.page.evaluate("""async (text) => {
      const { splitThought } = await import("./js/ui/reasoning.js");
      return [...text].map((_, i) => splitThought(text.slice(0, i + 1)));
    }""", THOUGHT)
    for row in rows:
        shown = (row["thought"] or "") + row["answer"]
        assert "<" not in shown and "think>" not in shown, row
    assert [row["open"] for row in rows].index(True) == len("<think>") - 1
    answers = [row["answer"] for row in rows]
    assert all(b.startswith(a) for a, b in zip(answers, answers[1:]))


def test_two_tabs_show_the_same_chats(chat):
    chat.open(text="Shared answer.")
    chat.ask("From the first tab")
    other = chat.page.context.new_page()
    other.route("**/jird.js", lambda route: route.fulfill(
        body="export const createEngine = () => new Promise(() => {});",
        content_type="text/javascript"))
    other.goto(chat.page.url)
    message = other.get_by_test_id("message-assistant")
    expect(message).to_have_count(1)
    chat.page.evaluate("fakeJird.pieces = Array.from({length: 150}, (_, i) => `w${i} `)")
    chat.ask("Second", wait=False)
    expect(message).to_have_count(2)
    chat.until("document.querySelectorAll('.md')[1]?.innerText.includes('w90')")
    expect(message.last).to_contain_text("w10")
    assert "Interrupted" not in other.locator("#messages").inner_text()
    chat.wait_end()
    expect(message.last).to_contain_text("w149")
    chat.chat_action("Delete chat")
    expect(message).to_have_count(0)
    expect(other.get_by_test_id("chat-list").locator("li")).to_have_count(0)
    other.close()


OLD = """async () => {
  const { openDatabase, openChatStore, MIGRATIONS } = await import("./js/ui/chat_store.js");
  const old = await openDatabase("jird-chats", MIGRATIONS.slice(0, 1));
  const tx = old.transaction(["chats", "messages", "drafts"], "readwrite");
  tx.objectStore("chats").put({ id: "c", title: "Old chat", created: 1, updated: 2, leaf: "b" });
  tx.objectStore("messages").put({ id: "a", chat: "c", parent: null, role: "user", text: "hi",
    created: 1, state: "done" });
  tx.objectStore("messages").put({ id: "b", chat: "c", parent: "a", role: "assistant",
    text: "**ho**", created: 2, state: "done", stats: { tokens: 2, ttft_ms: 3, tps: 4 } });
  tx.objectStore("drafts").put({ chat: "c", text: "half a thought" });
  await new Promise((resolve) => (tx.oncomplete = resolve));
  old.close();
}"""


def test_chats_of_the_first_version_come_along(chat):
    chat.page.goto(chat.url + "blank.html")  # the origin, without the app's own database
    chat.page.evaluate(OLD.replace("./js", chat.url + "js"))
    chat.open(start=False)
    chat.get("chat-list").get_by_role("link", name="Old chat").click()
    expect(chat.get("message-assistant").locator("strong")).to_have_text("ho")
    expect(chat.get("composer")).to_have_value("half a thought")
    kept = chat.page.evaluate("""async () => {
      const { openChatStore } = await import("./js/ui/chat_store.js");
      const store = await openChatStore();
      return [store.db.version, (await store.listChats())[0].settings, await store.getDraft("c")];
    }""")
    assert kept == [2, {}, {"text": "half a thought", "files": []}]


def test_chats_of_a_later_version_are_left_alone(chat):
    chat.page.goto(chat.url + "blank.html")
    chat.page.evaluate("""() => new Promise((resolve) => {
      const request = indexedDB.open("jird-chats", 99);
      request.onsuccess = () => { request.result.close(); resolve(); };
    })""")
    chat.open(text="Not kept.")
    expect(chat.page.locator("#toast")).to_contain_text("A later version of Jird")
    chat.ask("Q")
    assert chat.answer() == "Not kept."
