"""Errors as the chat page shows them: in an answer, of a load, and of a browser that cannot."""
import pytest
from playwright.sync_api import expect

pytest_plugins = ["tests.browser.page_kit"]


def test_error_in_an_answer_says_what_to_do_and_can_be_retried(chat):
    chat.open(pieces=["Half an ", "answer."], failAt=1)
    chat.ask("break")
    error = chat.get("error")
    for words in ("The GPU device was lost.", "Load the model again.", "E_DEVICE_LOST"):
        expect(error).to_contain_text(words)
    assert chat.answer().strip() == "Half an"
    chat.page.evaluate("fakeJird.failAt = null")
    error.get_by_role("button", name="Try again").click()
    chat.wait_end()
    assert chat.answer() == "Half an answer."
    expect(chat.get("error")).to_have_count(0)
    # A lost device needs a new engine.
    assert chat.page.evaluate("[engineLoads, engineUnloads]") == [2, 1]


def test_error_that_leaves_the_engine_well_does_not_reload_it(chat):
    chat.open(pieces=["x"], failAt=0, failCode="E_CONTEXT_FULL")
    chat.ask("long")
    expect(chat.get("error")).to_contain_text("E_CONTEXT_FULL")
    chat.reload()
    expect(chat.get("error")).to_contain_text("E_CONTEXT_FULL")
    chat.wait_state("ready")
    chat.page.evaluate("fakeJird.failAt = null")
    chat.get("error").get_by_role("button", name="Try again").click()
    chat.wait_end()
    assert chat.page.evaluate("engineLoads") == 1


def test_load_failure_has_code_next_step_and_retry(chat):
    chat.open(start=False, failLoad=True, loadMs=50)
    chat.get("start").click()
    error = chat.get("error")
    for words in ("model.gguf is damaged", "fetch it again", "E_CORRUPT_SHARD"):
        expect(error).to_contain_text(words)
    error.get_by_role("button", name="Try again").click()
    chat.wait_state("ready")
    expect(error).to_have_count(0)


@pytest.mark.parametrize("script, words", [
    ("delete Navigator.prototype.gpu", "has no WebGPU"),
    ("Navigator.prototype.__defineGetter__('gpu', () => ({requestAdapter: async () => null}))",
     "no graphics adapter"),
])
def test_missing_webgpu_is_said_before_anything_is_downloaded(chat, script, words):
    chat.page.add_init_script(script)
    chat.open(start=False)
    error = chat.get("error")
    expect(error).to_contain_text("E_NO_WEBGPU")
    expect(error).to_contain_text(words)
    expect(error).to_contain_text("Safari 26")
    expect(chat.get("start")).to_be_hidden()
    assert not any("jird.js" in url for url in chat.requests)


def test_insecure_context_is_said_before_anything_is_downloaded(chat):
    chat.page.add_init_script(
        "Object.defineProperty(globalThis, 'isSecureContext', {value: false})")
    chat.open(start=False)
    expect(chat.get("error")).to_contain_text("E_INSECURE_CONTEXT")
    expect(chat.get("error")).to_contain_text("https")
    assert not any("jird.js" in url for url in chat.requests)
