"""Settings and presets, prompts, files beside a message, the context gauge, keys."""
import json

import pytest
from playwright.sync_api import expect

from app import settings
from tests.browser.page_kit import DROP

pytest_plugins = ["tests.browser.page_kit"]


def field(chat, name):
    return chat.get(f"setting-{name}")


def last_request(chat):
    return chat.page.evaluate("requests.at(-1)")


def open_settings(chat):
    chat.page.keyboard.press("Control+,")
    expect(chat.get("settings-panel")).to_be_visible()


def close_panel(chat, name="settings-panel"):
    chat.page.keyboard.press("Escape")
    expect(chat.get(name)).to_have_count(0)


def test_the_ranges_are_those_of_the_worker(chat):
    chat.open(start=False)
    rows = chat.page.evaluate("""async () =>
      (await import("./js/ui/settings_registry.js")).SETTINGS""")
    shared = {row["name"]: row for row in rows if row["name"] in settings.SAMPLING}
    assert len(shared) >= 6
    for name, row in shared.items():
        wanted = settings.SAMPLING[name]
        assert row["type"] == wanted.type.__name__ and bool(row.get("openLow")) is wanted.open_low
        if name != "seed":  # JavaScript's numbers hold no 64-bit integer
            assert (row["low"], row["high"]) == (wanted.low, wanted.high), name


def test_a_chats_value_goes_before_that_of_all_chats(chat):
    chat.open(pieces=["Ok."])
    open_settings(chat)
    field(chat, "system").fill("Answer in verse.")
    field(chat, "temperature").fill("0.5")
    close_panel(chat)
    chat.ask("One")
    body = last_request(chat)
    assert body["messages"][0] == {"role": "system", "content": "Answer in verse."}
    assert body["temperature"] == 0.5 and body["top_p"] == 0.9 and "top_k" not in body
    open_settings(chat)
    expect(field(chat, "temperature")).to_have_attribute("placeholder", "0.5")
    field(chat, "temperature").fill("0")
    field(chat, "max_tokens").fill("77")
    field(chat, "seed").fill("5")
    close_panel(chat)
    chat.ask("Two")
    body = last_request(chat)
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 77, 5)
    chat.reload()
    chat.wait_state("ready")
    open_settings(chat)
    expect(field(chat, "temperature")).to_have_value("0")
    chat.get("reset-temperature").click()
    expect(field(chat, "temperature")).to_have_value("")
    close_panel(chat)
    chat.get("new-chat").click()
    chat.ask("Three")
    body = last_request(chat)
    assert body["temperature"] == 0.5 and body["max_tokens"] == 1024 and "seed" not in body


@pytest.mark.parametrize("name, text, said", [
    ("temperature", "2.5", "From 0 to 2."), ("top_p", "0", "Above 0"),
    ("top_k", "1.5", "whole numbers"), ("max_tokens", "many", "not a number"),
])
def test_a_bad_value_says_why_and_is_not_kept(chat, name, text, said):
    chat.open(pieces=["Ok."])
    open_settings(chat)
    field(chat, name).fill(text)
    expect(chat.get("settings-panel")).to_contain_text(said)
    close_panel(chat)
    chat.ask("Q")
    assert str(last_request(chat).get(name)) != text


def test_damaged_stored_settings_are_as_none(chat):
    kept = json.dumps({"temperature": 99, "top_p": "x", "system": "Hi", "other": 1})
    chat.page.add_init_script(f"localStorage.setItem('jird.settings', {json.dumps(kept)});"
                              "localStorage.setItem('jird.presets', '{nonsense')")
    chat.open(pieces=["Ok."])
    chat.ask("Q")
    body = last_request(chat)
    assert body["temperature"] == 0.2 and body["messages"][0]["content"] == "Hi"


def test_presets_set_several_values_and_own_ones_are_kept(chat):
    chat.open(pieces=["Ok."])
    open_settings(chat)
    chat.page.get_by_role("button", name="Free", exact=True).click()
    expect(field(chat, "temperature")).to_have_value("1")
    field(chat, "top_k").fill("40")
    chat.get("preset-name").fill("Mine")
    chat.page.get_by_role("button", name="Keep", exact=True).click()
    chat.page.get_by_role("button", name="Exact", exact=True).click()
    expect(field(chat, "top_k")).to_have_value("")
    close_panel(chat)
    chat.reload()
    open_settings(chat)
    chat.page.get_by_role("button", name="Mine", exact=True).click()
    expect(field(chat, "top_k")).to_have_value("40")
    close_panel(chat)
    chat.wait_state("ready")
    chat.ask("Q")
    body = last_request(chat)
    assert (body["temperature"], body["top_k"], body["min_p"]) == (1, 40, 0.05)


def test_another_context_loads_the_model_again(chat):
    chat.open(pieces=["Ok."])
    open_settings(chat)
    field(chat, "context").fill("512")
    chat.until("globalThis.loadedContext === 512")
    close_panel(chat)
    chat.wait_state("ready")
    assert chat.page.evaluate("[engineLoads, engineUnloads]") == [2, 1]


def test_prompts_go_into_the_box_and_own_ones_are_kept(chat):
    chat.open(pieces=["Ok."])
    chat.get("add").click()
    chat.page.get_by_role("menuitem", name="Prompts").click()
    chat.get("prompt-name").fill("Limerick")
    chat.get("prompt-text").fill("Write a limerick about ")
    chat.get("prompts-panel").get_by_role("button", name="Keep", exact=True).click()
    chat.get("prompt-find").fill("límer")
    expect(chat.get("prompts-panel").locator(".prompt")).to_have_count(1)
    chat.get("prompts-panel").locator(".prompt").click()
    expect(chat.get("composer")).to_have_value("Write a limerick about")
    expect(chat.get("composer")).to_be_focused()


def test_text_files_go_along_as_named_blocks(chat):
    chat.open(pieces=["Read."])
    chat.get("file-picker").set_input_files([
        {"name": "notes.md", "mimeType": "text/markdown", "buffer": "# Zoë\n```x```\n".encode()},
        {"name": "wide.txt", "mimeType": "text/plain", "buffer": "hé".encode("utf-16")}])
    expect(chat.get("chip")).to_have_count(2)
    chat.reload()  # files are part of the draft
    expect(chat.get("chip")).to_have_count(2)
    chat.wait_state("ready")
    chat.ask("What is it?")
    expect(chat.get("attached").locator("li")).to_have_count(0)
    assert last_request(chat)["messages"][0]["content"] == (
        "File: notes.md\n````\n# Zoë\n```x```\n````\n\nFile: wide.txt\n```\nhé\n```\n\nWhat is it?")
    chat.get("message-user").get_by_role("button", name="notes.md").click()
    expect(chat.get("file-panel")).to_contain_text("# Zoë")


def test_text_files_that_are_dropped_go_beside_the_message(chat):
    chat.open(pieces=["Read."])
    chat.page.evaluate(DROP, [[["notes.md", list(b"# One")], ["two.txt", list(b"two")]]])
    expect(chat.get("chip")).to_have_count(2)
    expect(chat.get("composer")).to_be_visible()
    assert "#models" not in chat.page.url
    chat.ask("What is it?")
    assert last_request(chat)["messages"][0]["content"].startswith("File: notes.md\n```\n# One")


@pytest.mark.parametrize("name, kind, data, why", [
    ("a.png", "image/png", b"\x89PNG\r\n", "is an image"),
    ("a.pdf", "application/pdf", b"%PDF", "is a PDF"),
    ("a.bin", "", bytes(range(256)), "not text"),
    ("nul.txt", "text/plain", b"a\0b", "not text"),
    ("none.txt", "text/plain", b"", "is empty"),
    ("big.txt", "text/plain", b"x" * 4_000_001, "at most"),
])
def test_other_files_are_refused_with_the_reason(chat, name, kind, data, why):
    chat.open(start=False)
    expect(chat.get("start")).to_be_enabled()
    chat.get("file-picker").set_input_files({"name": name, "mimeType": kind, "buffer": data})
    expect(chat.page.locator("#toast")).to_contain_text(why)
    expect(chat.get("chip")).to_have_count(0)


def test_the_gauge_counts_the_chat_and_warns(chat):
    chat.open(text=" ".join(["word"] * 100), perSecond=2000, context=200)
    expect(chat.get("gauge")).to_be_hidden()
    chat.ask("Q")
    expect(chat.get("gauge")).to_have_text("55% of context")
    chat.get("composer").fill("long " * 200)
    expect(chat.get("gauge")).to_have_class("gauge near")
    assert "begin a new chat" in chat.get("gauge").get_attribute("title")
    chat.get("composer").fill("")
    expect(chat.get("gauge")).to_have_text("55% of context")
    chat.get("file-picker").set_input_files({"name": "long.txt", "mimeType": "text/plain",
                                             "buffer": b"long " * 200})
    expect(chat.get("gauge")).to_have_class("gauge near")


def test_question_mark_lists_the_keys_and_they_work(chat):
    chat.open(pieces=["Ok."])
    chat.ask("find me please")
    chat.get("composer").press("?")
    expect(chat.get("keys-panel")).to_have_count(0)  # it was typed
    expect(chat.get("composer")).to_have_value("?")
    chat.page.locator("#scroller").focus()
    chat.page.keyboard.press("?")
    panel = chat.get("keys-panel")
    names = chat.page.evaluate("""async () => {
      const { SHORTCUTS } = await import("./js/ui/shortcuts.js");
      const { t } = await import("./js/ui/strings.js");
      return SHORTCUTS.map(({ action }) => t(`key_${action}`));
    }""")
    assert len(names) >= 7 and all(names)
    for name in names:
        expect(panel).to_contain_text(name)
    close_panel(chat, "keys-panel")
    chat.page.locator("#scroller").focus()
    chat.page.keyboard.press("/")
    expect(chat.get("composer")).to_be_focused()
    chat.page.keyboard.press("Control+k")
    expect(chat.get("search")).to_be_focused()
    chat.page.keyboard.press("Control+Shift+o")
    expect(chat.get("message-user")).to_have_count(0)
