"""The chat page as a person uses it: start, ask, stop, chats, reloads, keys."""
import re

import pytest
from playwright.sync_api import expect

from tests.browser.pace import attempts

pytest_plugins = ["tests.browser.page_kit"]

SENTENCES = "The first sentence is here. The second one follows it! And a third? Yes, the last one."


def test_first_visit_says_what_it_is_and_downloads_nothing(chat):
    chat.open(start=False)
    expect(chat.get("start")).to_be_enabled()
    body = chat.page.locator("#welcome").inner_text()
    promise = "Private AI. Runs in this tab, nothing leaves your device."
    for words in (promise, "98 MB", "Apache-2.0", "SmolLM2"):
        assert words in body
    heavy = ("jird.js", "models/", "pyodide")
    assert not any(name in url for url in chat.requests for name in heavy)


def test_progress_names_the_stages_in_order_with_bytes_rate_and_eta(chat):
    chat.open(start=False, loadMs=3000, waitLoad="upload:6")
    chat.get("start").click()
    chat.until("Boolean(globalThis.releaseLoad)")
    rows = chat.get("progress").locator("li")
    expect(rows.nth(2)).to_have_attribute("data-state", "active")
    names = [text.split("\n")[0] for text in rows.all_inner_texts()]
    assert names == ["Start Python", "Read the model", "Upload to the GPU", "Compile for this GPU"]
    states = [rows.nth(i).get_attribute("data-state") for i in range(4)]
    assert states == ["done", "done", "active", "pending"]
    expect(rows.nth(2)).to_contain_text(re.compile(r"59 MB of 98 MB · \d+ MB/s · \d+ s left"))
    chat.page.evaluate("releaseLoad()")
    chat.wait_state("ready")
    expect(chat.get("progress")).to_have_count(0)


def test_a_stage_that_only_some_loads_have_is_listed_where_it_happens(chat):
    chat.open(start=False)
    names = chat.page.evaluate("""async () => {
      const { ProgressMeter } = await import("./js/ui/progress_meter.js");
      const meter = new ProgressMeter();
      meter.note({ stage: "boot" }, 0);
      meter.note({ stage: "download", bytes_done: 1, bytes_total: 98e6 }, 10);
      return meter.stages.map(({ id }) => id);
    }""")
    assert names == ["boot", "download", "read", "upload", "compile"]


def test_overlapping_stages_are_not_over_before_they_begin(chat):
    chat.open(start=False)
    states = chat.page.evaluate("""async () => {
      const { ProgressMeter } = await import("./js/ui/progress_meter.js");
      const meter = new ProgressMeter();
      const states = () => meter.stages.map((stage) => `${stage.id} ${stage.state}`).join(", ");
      const note = (stage, done, total, now) =>
        meter.note({ stage, bytes_done: done, bytes_total: total }, now);
      note("boot", 0, 0, 0);
      note("compile", 1, 31, 1000);
      const early = states();
      note("upload", 0, 98e6, 1000);
      note("upload", 49e6, 98e6, 2000);
      const { rate, eta } = meter.stages.find((stage) => stage.id === "upload");
      note("verify", 1, 2, 2500);
      const late = states();
      note("ready", 1, 1, 3000);
      return [early, late, rate, eta, meter.fraction()];
    }""")
    assert states == [
        "boot done, read pending, upload pending, compile active",
        "boot done, verify active, read pending, upload active, compile active",
        49e6, 1, 1]


def test_answer_streams_in_and_shows_its_figures(chat):
    chat.open(text=SENTENCES, perSecond=30, firstMs=120, pauseAt=9)
    chat.page.evaluate("""document.addEventListener("click",
      () => (globalThis.clicked = performance.now()), { capture: true, once: true })""")
    chat.ask("Hi there", wait=False)
    chat.until("document.querySelector('.md')?.innerText.includes('first sentence')")
    assert "last one" not in chat.answer()
    expect(chat.get("stop")).to_be_visible()
    chat.until("Boolean(globalThis.goOn)")
    chat.page.evaluate("goOn()")
    chat.wait_end()
    assert chat.answer() == SENTENCES
    assert chat.get("message-user").locator(".bubble").inner_text() == "Hi there"
    stats = chat.get("stats").inner_text().replace("\xa0", " ")
    found = re.fullmatch(r"([\d.]+) tok/s · ([\d.]+) s to first token · (\d+) tokens", stats)
    assert found, stats
    tps, first, tokens = float(found[1]), float(found[2]), int(found[3])
    assert tokens == len(SENTENCES.split())
    # What the page shows lies between what came before and after it, on a machine however slow.
    at = {name: ms / 1000 for name, ms in chat.page.evaluate("({ ...fakeTimes, clicked })").items()}
    least, most = at["begun"] - at["asked"], at["first"] - at["clicked"]
    assert 0.1 < least and least - 0.06 < first < most + 0.06, "a tenth of a second is shown"
    slowest, quickest = at["ended"] - at["begun"], at["last"] - at["first"]
    assert 0.97 * (tokens - 1) / slowest < tps < 1.03 * (tokens - 1) / quickest


def test_the_whole_conversation_is_sent_and_nothing_else(chat):
    chat.open(pieces=["One."])
    chat.ask("A")
    chat.ask("B")
    body = chat.page.evaluate("requests[1]")
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("user", "A"), ("assistant", "One."), ("user", "B")]
    assert body["stream"] is True and body["model"] == "smollm2-135m-instruct"


STOPPED = """() => {
  globalThis.stoppedAt = globalThis.askedAt = undefined;
  const seen = new MutationObserver(() => {
    if (document.documentElement.hasAttribute("data-busy")) return;
    globalThis.stoppedAt ??= performance.now();
    seen.disconnect();
  });
  seen.observe(document.documentElement, { attributes: true });
  const note = () => (globalThis.askedAt ??= performance.now());
  for (const type of ["click", "keydown"])
    document.addEventListener(type, note, { capture: true, once: true });
}"""


@pytest.mark.parametrize("how", ["button", "escape", "hung"])
def test_stop_keeps_the_text_and_is_quick(chat, how):
    words = [f"w{i} " for i in range(4000)]
    chat.open(pieces=words, perSecond=60, **({"hangAt": 12} if how == "hung" else {}))

    def stopped():
        chat.ask("go", wait=False)
        chat.until("document.querySelector('.streaming .md')?.innerText.includes('w9')")
        chat.page.evaluate(STOPPED)
        if how == "escape":
            chat.page.keyboard.press("Escape")
        else:
            chat.get("stop").click()
        chat.wait_end()
        return chat.page.evaluate("stoppedAt - askedAt")

    quick, seen = attempts(chat.page, 100, stopped)
    assert quick, seen
    kept = chat.answer()
    assert "w9" in kept and "w3999" not in kept
    assert chat.get("stats").last.inner_text().startswith("Stopped")
    chat.page.wait_for_timeout(200)
    assert chat.answer() == kept
    chat.reload()
    expect(chat.get("message-assistant").last.locator(".md")).to_have_text(kept)
    chat.wait_state("ready")


def test_chats_persist_and_new_chat_leaves_them(chat):
    chat.open(pieces=["Answer **one**."])
    chat.ask("First question\nwith a second line")
    chat.page.keyboard.press("Control+Shift+O")
    expect(chat.get("message-user")).to_have_count(0)
    expect(chat.page.locator("#welcome")).to_be_visible()
    chat.ask("Second question")
    links = chat.get("chat-list").get_by_role("link")
    assert links.all_inner_texts() == ["Second question", "First question"]
    stats = chat.get("stats").inner_text()
    chat.reload()
    expect(links).to_have_text(["Second question", "First question"])
    assert chat.get("message-user").locator(".bubble").inner_text() == "Second question"
    expect(chat.get("stats")).to_have_text(stats)
    links.nth(1).click()
    expect(chat.get("message-user")).to_contain_text("with a second line")
    expect(chat.get("message-assistant").locator("strong")).to_have_text("one")
    chat.page.go_back()
    expect(chat.get("message-user")).to_contain_text("Second question")
    chat.get("new-chat").click()
    expect(chat.get("message-user")).to_have_count(0)


STORED_TEXT = """(async () => {
  const { openChatStore } = await import("./js/ui/chat_store.js");
  globalThis.secondStore ??= await openChatStore();
  for await (const batch of secondStore.everyMessage())
    if (batch.some(({ text }) => text.includes("%s"))) return true;
  return false;
})()"""


def test_what_an_answer_that_hangs_has_written_is_kept(chat):
    """The first words at once, and those behind them too though no more come."""
    words = "First word and the last"
    chat.open(text=words, perSecond=200, hangAt=1)
    chat.ask("slow", wait=False)
    chat.until(STORED_TEXT % "First")
    chat.get("stop").click()
    chat.wait_end()
    chat.page.evaluate("fakeJird.hangAt = 5; fakeJird.pieces.push(' more')")
    chat.ask("slow", wait=False)
    chat.until(STORED_TEXT % words)
    chat.reload()
    expect(chat.get("message-assistant").last).to_contain_text(words)


def test_half_a_pasted_emoji_does_not_spoil_the_chat(chat):
    chat.open(text="Fine.")
    chat.page.evaluate("""() => {
        const box = document.querySelector("[data-testid=composer]");
        box.value = "odd \\ud83d end";
        box.dispatchEvent(new Event("input", { bubbles: true }));
    }""")
    chat.get("send").click()
    chat.wait_end()
    expect(chat.get("message-user")).to_contain_text("odd \ufffd end")


def test_reload_in_the_middle_of_an_answer_keeps_what_there_was(chat):
    chat.open(pieces=[f"w{i} " for i in range(2000)], perSecond=60)
    chat.ask("long", wait=False)
    chat.until(STORED_TEXT % "w35")  # while it is written
    chat.reload()
    expect(chat.get("message-assistant")).to_contain_text("w35")
    assert "w1999" not in chat.answer()
    assert "Interrupted" in chat.get("stats").inner_text()
    chat.page.evaluate("fakeJird.pieces = ['Again.']")
    chat.wait_state("ready")  # started by itself: it was loaded here before
    chat.get("message-assistant").get_by_role("button", name="Try again").click()
    chat.wait_end()
    expect(chat.get("message-assistant")).to_have_count(1)
    assert chat.answer() == "Again."


def test_delete_can_be_undone_until_it_cannot(chat):
    chat.open(pieces=["Kept."])
    chat.ask("Keep me")
    chat.chat_action("Delete chat")
    expect(chat.get("chat-list").locator("li")).to_have_count(0)
    expect(chat.get("message-user")).to_have_count(0)
    chat.page.get_by_role("button", name="Undo").click()
    expect(chat.get("message-assistant")).to_contain_text("Kept.")
    chat.chat_action("Delete chat")
    expect(chat.get("chat-list").locator("li")).to_have_count(0)
    chat.reload()
    expect(chat.get("start")).to_be_attached()
    expect(chat.get("chat-list").locator("li")).to_have_count(0)


def test_delete_while_answering_stops_it_for_good(chat):
    chat.open(pieces=[f"w{i} " for i in range(4000)], perSecond=60)
    chat.ask("go", wait=False)
    chat.until("document.querySelector('.md')?.innerText.includes('w9')")
    chat.chat_action("Delete chat")
    chat.wait_end()
    chat.page.wait_for_timeout(1200)
    chat.reload()
    expect(chat.page.locator("#welcome")).to_be_visible()
    expect(chat.get("chat-list").locator("li")).to_have_count(0)


def test_an_answer_goes_on_while_another_chat_is_open(chat):
    chat.open(pieces=[f"w{i} " for i in range(120)], perSecond=60, pauseAt=60)
    chat.ask("slow one", wait=False)
    chat.until("document.querySelector('.md')?.innerText.includes('w5')")
    chat.get("new-chat").click()
    expect(chat.get("message-assistant")).to_have_count(0)
    expect(chat.get("status")).to_contain_text("another chat")
    chat.until("Boolean(globalThis.goOn)")
    chat.page.evaluate("goOn()")
    chat.page.wait_for_timeout(300)
    chat.get("chat-list").get_by_role("link").click()
    chat.wait_end()
    assert chat.answer().startswith("w0 w1 ") and chat.answer().endswith("w119")


def test_question_asked_while_loading_is_answered_when_ready(chat):
    chat.open(start=False, waitLoad="compile:3", pieces=["Late answer."])
    chat.ask("Early", wait=False)  # sending is also a way to start
    chat.until("Boolean(globalThis.releaseLoad)")
    expect(chat.get("message-assistant")).to_contain_text("Waiting for the model")
    expect(chat.get("progress")).to_contain_text("Compile for this GPU")
    chat.page.evaluate("releaseLoad()")
    chat.wait_end()
    assert chat.answer() == "Late answer."
    assert chat.page.evaluate("engineLoads") == 1


def test_keys_enter_shift_enter_and_ime(chat):
    chat.open(pieces=["Ok."])
    box = chat.get("composer")
    box.press_sequentially("one")
    height = box.bounding_box()["height"]
    box.press("Shift+Enter")
    box.press_sequentially("two")
    expect(box).to_have_value("one\ntwo")
    assert box.bounding_box()["height"] > height + 10
    for init in ("{isComposing: true}", "{keyCode: 229}"):
        box.evaluate(f"""(node) => node.dispatchEvent(new KeyboardEvent("keydown",
          {{key: "Enter", bubbles: true, cancelable: true, ...{init}}}))""")
    expect(chat.get("message-user")).to_have_count(0)
    box.press("Enter")
    chat.wait_end()
    assert chat.get("message-user").locator(".bubble").inner_text() == "one\ntwo"
    expect(box).to_have_value("")
    box.press("Enter")  # an empty box sends nothing
    expect(chat.get("message-user")).to_have_count(1)


def test_scroll_follows_until_the_person_scrolls_up(chat):
    text = [f"Line {i}.\n\n" for i in range(400)]
    chat.open(pieces=text, perSecond=60)
    chat.ask("long", wait=False)
    gap = ("(s => s.scrollHeight - s.scrollTop - s.clientHeight)"
           "(document.querySelector('#scroller'))")
    chat.until("document.querySelector('.md')?.innerText.includes('Line 60')")
    chat.until(f"{gap} < 60")
    chat.page.locator("#scroller").hover()
    chat.page.mouse.wheel(0, -500)
    jump = chat.page.get_by_role("button", name="Jump to latest")
    expect(jump).to_be_visible()
    top = chat.page.evaluate("document.querySelector('#scroller').scrollTop")
    chat.page.wait_for_timeout(500)
    assert chat.page.evaluate("document.querySelector('#scroller').scrollTop") <= top
    jump.click()
    expect(jump).to_be_hidden()
    chat.wait_end()
    chat.until(f"{gap} < 60")


def test_theme_is_kept_and_set_before_first_paint(chat):
    chat.page.emulate_media(color_scheme="light")
    chat.open(start=False)
    background = "getComputedStyle(document.body).backgroundColor"
    light = chat.page.evaluate(background)
    chat.get("theme").click()
    chat.get("theme").click()
    assert chat.page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = chat.page.evaluate(background)
    assert dark != light
    chat.page.add_init_script("""document.addEventListener("DOMContentLoaded", () => {
      globalThis.themeAtParse = document.documentElement.dataset.theme });""")
    chat.reload()
    assert chat.page.evaluate("themeAtParse") == "dark" and chat.page.evaluate(background) == dark
    chat.get("theme").click()
    chat.page.emulate_media(color_scheme="dark")
    assert chat.page.evaluate(background) == dark


def test_screen_reader_hears_sentences_not_tokens(chat):
    text = SENTENCES + "\n\n```python\nx = 1. + 2\n```\n\n**Bold** [end](http://e.test)."
    chat.page.add_init_script("""globalThis.said = [];
      const hear = (records) => {
        for (const record of records) said.push(...[...record.addedNodes].map((n) => n.innerText));
      };
      document.addEventListener("DOMContentLoaded", () => new MutationObserver(hear)
        .observe(document.getElementById("announce"), { childList: true }));""")
    chat.open(text=text, perSecond=120)
    chat.ask("speak")
    said = chat.page.evaluate("said")
    assert said[0] == "The model is ready."
    assert " ".join(said[1:]) == SENTENCES + " Code block. Bold end."
    assert all(line[-1] in ".!?" for line in said)


def test_every_control_has_a_name_and_room_for_a_finger(phone):
    chat = phone
    chat.open(pieces=["Hi\n\n```js\n1\n```\n"])
    chat.ask("x")
    chat.page.locator("#menu").click()
    assert chat.page.evaluate("document.querySelector('#main').inert")
    nameless, small = chat.page.evaluate("""() => {
      const all = [...document.querySelectorAll("button, a[href]:not(.skip), textarea, input")];
      const shown = all.filter((node) => node.checkVisibility());
      const name = (n) =>
        n.getAttribute("aria-label") || n.innerText.trim() || n.labels?.[0]?.innerText;
      const isSmall = (n) => {
        const box = n.getBoundingClientRect();
        return box.width < 44 || box.height < 43.5;
      };
      return [shown.filter((n) => !name(n)), shown.filter(isSmall)]
        .map((nodes) => nodes.map((n) => n.outerHTML));
    }""")
    assert nameless == [] and small == []
    assert chat.page.evaluate("document.documentElement.scrollWidth") <= 390
    chat.page.keyboard.press("Escape")
    assert chat.page.evaluate("document.activeElement.id") == "menu"
