"""What stands in the box belongs to one chat, however quick the hand is."""
from playwright.sync_api import expect

pytest_plugins = ["tests.browser.page_kit"]


def test_drafts_are_kept_per_chat(chat):
    chat.open(pieces=["Yes."])
    chat.ask("Chat one")
    chat.get("composer").fill("draft in one")
    chat.get("new-chat").click()
    expect(chat.get("composer")).to_have_value("")
    chat.get("composer").fill("draft of a new chat")
    chat.until("""(async () => {
      const { openChatStore } = await import("./js/ui/chat_store.js");
      globalThis.secondStore ??= await openChatStore();
      return (await secondStore.getDraft("new")).text === "draft of a new chat";
    })()""")  # written when typing rests
    chat.reload()
    expect(chat.get("composer")).to_have_value("draft of a new chat")
    chat.get("chat-list").get_by_role("link").click()
    expect(chat.get("composer")).to_have_value("draft in one")


# One task, so that nothing of the page comes between: the hand is quicker than the store.
QUICK_HAND = """([press, text, sends]) => {
  const box = document.querySelector("[data-testid=composer]");
  document.querySelector(press).click();
  box.value += text;
  box.dispatchEvent(new Event("input"));
  if (sends) document.querySelector("[data-testid=send]").click();
}"""


def test_what_is_typed_while_a_chat_opens_is_of_that_chat(chat):
    chat.open(text="Yes.")
    chat.ask("first")
    box, new = chat.get("composer"), "[data-testid=new-chat]"
    box.fill("draft in one")
    chat.page.evaluate(QUICK_HAND, [new, "of a new chat", False])
    chat.page.wait_for_timeout(300)
    expect(box).to_have_value("of a new chat")
    first = "[data-testid=chat-list] li a"
    chat.page.evaluate(QUICK_HAND, [first, "and more", False])
    expect(box).to_have_value("draft in one\nand more")
    chat.page.evaluate(QUICK_HAND, [new, "second", True])  # what was seen is what is sent
    chat.page.locator("#messages [data-testid=message-user]", has_text="second").wait_for()
    chat.wait_end()
    expect(chat.get("chat-list").locator("li")).to_have_count(2)
    expect(chat.get("message-user")).to_have_count(1)
    expect(box).to_have_value("of a new chat")
    chat.page.locator(first, has_text="first").click()
    expect(box).to_have_value("draft in one\nand more")
    expect(chat.get("message-user")).to_have_count(1)
    expect(chat.get("message-user")).to_contain_text("first")


# Reading a file takes as long as the test says, as from a cloud drive.
SLOW_FILES = """() => {
  const read = Blob.prototype.arrayBuffer;
  const held = new Promise((go) => (globalThis.letGo = go));
  Blob.prototype.arrayBuffer = async function () {
    await held;
    return read.call(this);
  };
}"""


def test_a_file_goes_to_the_chat_for_which_it_was_chosen(chat):
    """Also where the person has gone on to another, or has come back, before it was read."""
    chat.open(text="Yes.")
    chat.ask("first")
    box, first = chat.get("composer"), chat.page.locator("[data-testid=chat-list] li a")
    attached = chat.page.locator("#attached")

    def choose(*names):
        chat.page.locator("#file-picker").set_input_files(
            [{"name": name, "mimeType": "text/plain", "buffer": b"seven"} for name in names])

    chat.page.evaluate(SLOW_FILES)
    box.fill("about it")
    choose("one.txt", "with it.txt")
    chat.get("new-chat").click()
    expect(box).to_have_value("")
    choose("new.txt")
    chat.page.evaluate("letGo()")
    expect(attached).to_contain_text("new.txt")
    assert "one.txt" not in attached.inner_text()
    first.click()
    expect(box).to_have_value("about it")
    expect(attached).to_contain_text("one.txt")
    assert "new.txt" not in attached.inner_text()

    chat.page.evaluate(SLOW_FILES)
    choose("two.txt")
    chat.get("new-chat").click()
    expect(attached).to_contain_text("new.txt")
    first.click()
    expect(attached).to_contain_text("one.txt")
    chat.page.evaluate("letGo()")
    expect(attached).to_contain_text("two.txt")
    chat.reload()
    for name in ("one.txt", "with it.txt", "two.txt"):
        expect(attached).to_contain_text(name)
