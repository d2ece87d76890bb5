"""Search and names of chats; chats as files, and what a bad file does; long lists and chats."""
import json

from playwright.sync_api import expect

from tests.browser.pace import attempts

pytest_plugins = ["tests.browser.page_kit"]

FILL = """async ([chats, each, text]) => {
  const { openChatStore } = await import("./js/ui/chat_store.js");
  const store = await openChatStore();
  const now = Date.now(), parts = [];
  for (let c = 0; c < chats; c++) {
    const chat = { id: `chat${c}`, title: `Chat number ${c}`, created: now - c * 36e5,
      updated: now - c * 36e5, leaf: null, settings: {} };
    const messages = [];
    for (let i = 0; i < each; i++) {
      messages.push({ id: `m${c}-${i}`, chat: chat.id, parent: chat.leaf, created: i + 1,
        role: i % 2 ? "assistant" : "user", state: "done",
        text: `${text} ${i} of ${c}` + (i % 10 === 1 ? "\\n\\n- a\\n- b\\n\\n```\\ncode\\n```" : "") });
      chat.leaf = messages.at(-1).id;
    }
    parts.push({ chat, messages });
  }
  await store.saveAll(parts);
}"""


def fill(chat, chats, each, text="line"):
    chat.open(start=False)
    expect(chat.get("start")).to_be_enabled()
    chat.page.evaluate(FILL, [chats, each, text])
    chat.reload()
    chat.get("chat-list").locator("li").first.wait_for()


def test_search_reads_every_text_and_names_can_be_changed(chat):
    chat.open(text="The *Čapek* brothers wrote it.")
    chat.ask("Who coined robot?")
    chat.get("new-chat").click()
    chat.page.evaluate("fakeJird.pieces = ['Something else.']")
    chat.ask("Another one")
    rows = chat.get("chat-list").locator("li")
    chat.page.keyboard.press("Control+k")
    for query, count in (("capek WROTE", 1), ("another", 1), ("nowhere", 0), ("", 2)):
        chat.get("search").fill(query)
        expect(rows).to_have_count(count)
    chat.get("search").fill("capek")
    expect(rows.locator("small")).to_contain_text("Čapek")
    chat.get("search").press("ArrowDown")
    chat.page.keyboard.press("Enter")
    expect(chat.get("message-user")).to_contain_text("Who coined")
    chat.get("search").press("Escape")
    expect(rows).to_have_count(2)
    chat.chat_action("Rename", rows.last)
    chat.page.locator(".chat-title").fill("Robots & <b>rodents</b>")
    chat.page.keyboard.press("Enter")
    expect(chat.page.locator("#title")).to_have_text("Robots & <b>rodents</b>")
    chat.chat_action("Rename", rows.last)
    chat.page.locator(".chat-title").fill("never")
    chat.page.keyboard.press("Escape")
    chat.reload()
    expect(rows.last).to_contain_text("Robots & <b>rodents</b>")


def downloaded(chat, click):
    with chat.page.expect_download() as waiting:
        click()
    return waiting.value.suggested_filename, waiting.value.path().read_text()


def bring_in(chat, text, name="chats.jsonl"):
    chat.get("import-picker").set_input_files(
        {"name": name, "mimeType": "application/jsonl", "buffer": text.encode()})


def test_chats_go_out_and_come_back_whole(chat):
    chat.open(text="<think>hm</think>**One**.")
    chat.ask("Question: a/b?")
    chat.get("message-assistant").get_by_role("button", name="Try again").click()
    chat.wait_end()
    name, text = downloaded(chat, lambda: chat.chat_action("Save as Markdown"))
    assert name == "Question a b.md"
    assert text == "# Question: a/b?\n\n## You\n\nQuestion: a/b?\n\n## Jird\n\n> hm\n\n**One**.\n"
    chat.page.keyboard.press("Control+,")
    name, text = downloaded(chat, lambda: chat.get("export-all").click())
    assert name.startswith("jird-chats-2") and name.endswith(".jsonl")
    assert [json.loads(line).get("type") for line in text.splitlines()] == [
        None, "chat", "message", "message", "message"]
    chat.page.keyboard.press("Escape")
    bring_in(chat, text)
    expect(chat.page.locator("#toast")).to_contain_text("came in: 0. Here already: 1.")
    chat.chat_action("Delete chat")
    bring_in(chat, text)
    expect(chat.page.locator("#toast")).to_contain_text("came in: 1.")
    chat.get("chat-list").get_by_role("link").click()
    expect(chat.get("switcher")).to_have_text("2/2")
    expect(chat.get("stats")).to_contain_text("to first token")
    assert chat.answer() == "One."


HEAD = '{"format": "jird-chats", "version": 1}\n'
CHAT = '{"type":"chat","id":"c1","title":"T","created":1,"updated":2,"leaf":null}\n'
HELLO = ('{"type":"message","id":"a","chat":"c1","parent":null,"role":"user","text":"hi",'
         '"created":1}\n')
BAD = {
    "": "line 1 is not JSON", "[]": "does not say jird-chats",
    HEAD.replace("1}", "7}"): "it is of version 7", HEAD.replace("1}", '"x"}'): "its version is",
    HEAD: "there is no chat", HEAD + CHAT + "{oops": "line 3 is not JSON",
    HEAD + CHAT + CHAT: "line 3 repeats a chat", HEAD + HELLO: "belongs to no chat",
    HEAD + CHAT + HELLO.replace('"user"', '"root"'): "no valid role",
    HEAD + CHAT + HELLO.replace("null", '"zz"'): "answers none",
    HEAD + CHAT + HELLO.replace("null", '"a"'): "have no beginning",
    HEAD + CHAT.replace('"c1"', '"<img>"'): "no valid id",
    HEAD + '{"type":"other"}': "neither a chat nor a message",
}


def test_a_bad_file_is_named_and_changes_nothing(chat):
    chat.open(start=False)
    expect(chat.get("start")).to_be_enabled()
    toast = chat.page.locator("#toast")
    for text, why in BAD.items():
        bring_in(chat, text, "bad.jsonl")
        expect(toast).to_contain_text(why)
        expect(toast).to_contain_text("E_BAD_FILE")
        expect(toast).to_contain_text("bad.jsonl")
    assert chat.page.evaluate("""async () => {
      const { openChatStore } = await import("./js/ui/chat_store.js");
      return (await (await openChatStore()).listChats()).length;
    }""") == 0


def test_hostile_imports_stay_text(chat):
    chat.open(start=False)
    expect(chat.get("start")).to_be_enabled()
    evil = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"
    bring_in(chat, HEAD + CHAT.replace('"T"', json.dumps(evil)) + HELLO.replace(
        '"hi"', json.dumps(evil)) + HELLO.replace('"a"', '"b"').replace('"user"', '"assistant"')
        .replace("null", '"a"').replace('"hi"', json.dumps(evil + "\n\n[x](javascript:alert(1))")))
    chat.get("chat-list").get_by_role("link").click()
    expect(chat.get("message-assistant")).to_contain_text("<script>")
    assert chat.page.locator("#messages img, #messages script, #chats img").count() == 0
    assert not chat.page.evaluate("'pwned' in window")


def test_sharing_hands_over_the_text(chat):
    chat.page.add_init_script("""navigator.canShare = () => true;
      navigator.share = async ({ title, files }) => {
        globalThis.shared = [title, files[0].name, await files[0].text()] };""")
    chat.open(text="Yes.")
    chat.ask("Share me")
    chat.chat_action("Share")
    shared = chat.until("globalThis.shared")
    assert shared[:2] == ["Share me", "Share me.md"] and "## Jird\n\nYes." in shared[2]


SCROLL = """async () => {
  const list = document.querySelector("#chats"), begun = performance.now();
  for (let i = 0; i < 60; i++) {
    list.scrollTop = (i * 7919) % list.scrollHeight;
    list.dispatchEvent(new Event("scroll"));
    list.offsetHeight;
  }
  return (performance.now() - begun) / 60;
}"""


def test_two_thousand_chats_stay_quick(chat):
    fill(chat, 2000, 2, "needle here")
    rows = chat.get("chat-list").locator("li")
    assert rows.count() < 120
    assert chat.page.evaluate("document.querySelectorAll('*').length") < 2500
    chat.page.evaluate("document.querySelector('#chats').scrollTop = 1e7")
    expect(chat.get("chat-list").get_by_text("Chat number 1999")).to_be_visible()
    quick, seen = attempts(chat.page, 33, lambda: chat.page.evaluate(SCROLL))
    print("scrolling 2,000 chats, ms a step and the machine's slowness:", seen)
    assert quick, seen
    chat.get("search").fill("needle 1777")
    expect(rows).to_have_count(1)
    chat.get("search").fill("")
    expect(chat.get("chat-list").get_by_text("Chat number 0", exact=True)).to_be_visible()


WALK = """async () => {
  const box = document.querySelector("#scroller"), steps = [];
  for (let i = 0; i < 40; i++) {
    box.scrollTop -= 1 + i * 97;
    const begun = performance.now();
    await new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
    steps.push(performance.now() - begun);
  }
  return steps.sort((a, b) => a - b);
}"""


def test_ten_thousand_messages_stay_quick(chat):
    fill(chat, 1, 10_000)

    def opened():
        chat.reload()  # an address of one chat would open it at once
        link = chat.get("chat-list").get_by_role("link")
        link.wait_for()
        begun = chat.page.evaluate("performance.now()")
        link.click()
        expect(chat.page.get_by_text("line 9999 of 0", exact=True)).to_be_visible()
        ms = chat.page.evaluate("performance.now()") - begun
        assert chat.page.locator("#messages article").count() < 80
        chat.page.evaluate("history.replaceState(null, '', location.pathname)")
        return ms

    def walked():
        steps = chat.page.evaluate(WALK)
        return max(steps[20], steps[-1] * 60 / 400)  # the median below 60 ms, the worst below 400

    for limit, measure in ((5000, opened), (60, walked)):
        quick, seen = attempts(chat.page, limit, measure)
        print(f"10,000 messages, {measure.__name__}: ms and the machine's slowness {seen}")
        assert quick, seen
    assert chat.page.locator("#messages article").count() < 120
    # what is read stays where it is while what is above gets its real height
    drift = chat.page.evaluate("""async () => {
      const box = document.querySelector("#scroller");
      const rest = (ms) => new Promise((r) => setTimeout(r, ms));
      box.scrollTop = box.scrollHeight * 0.4;
      await rest(600);
      const top = box.getBoundingClientRect().top;
      const seen = [...document.querySelectorAll("#messages article")]
        .find((node) => node.getBoundingClientRect().bottom > top + 5);
      const before = seen.getBoundingClientRect().top;
      await rest(600);
      return Math.abs(seen.getBoundingClientRect().top - before);
    }""")
    assert drift < 2
    chat.page.get_by_role("button", name="Jump to latest").click()
    expect(chat.page.get_by_text("line 9999 of 0", exact=True)).to_be_in_viewport()


def test_a_paste_of_a_megabyte_becomes_a_file_at_once(chat):
    chat.open(pieces=["Long."])
    paste = """() => {
      const data = new DataTransfer();
      data.setData("text/plain", "lorem ipsum ".repeat(90_000));
      const box = document.querySelector("[data-testid=composer]"), begun = performance.now();
      box.dispatchEvent(new ClipboardEvent("paste",
        { clipboardData: data, bubbles: true, cancelable: true }));
      return performance.now() - begun;
    }"""
    quick, seen = attempts(chat.page, 500, lambda: chat.page.evaluate(paste), most=1)
    print("1 MB paste, ms and the machine's slowness:", seen)
    assert quick, seen
    expect(chat.get("chip")).to_contain_text("1.1 MB")
    expect(chat.get("composer")).to_have_value("")
    chat.ask("Summarise")
    assert len(chat.page.evaluate("requests[0].messages[0].content")) > 1_000_000
    assert chat.page.evaluate("document.querySelector('#messages').innerText.length") < 1000
