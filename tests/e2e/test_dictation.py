"""The real ears in the page: Chromium's fake microphone plays a recording, which is dictated into the
message box and sent to the default model. Needs `python3 build.py fetch moonshine-tiny`."""
import re

import pytest
from playwright.sync_api import expect

from app.build import made, settings
from app.build.fetch import Cache
from tests.browser.voice_kit import FAKE_DEVICE, WATCH

SENTENCE = "ever tried ever failed no matter try again fail again fail better"
SECONDS = 11  # of the recording, and a little
LONG = 300_000  # ms: SwiftShader on a machine that does other work too


@pytest.fixture
def opened(browser_type, browser_type_launch_args, site):
    path = made.made(Cache()).get(settings.MADE_MODELS[0])
    if path is None:
        pytest.skip("python3 build.py fetch moonshine-tiny makes it")
    wav = path / "beckett.wav"
    args = [*browser_type_launch_args["args"], FAKE_DEVICE,
            f"--use-file-for-fake-audio-capture={wav}%noloop"]
    browser = browser_type.launch(**browser_type_launch_args | {"args": args})
    context = browser.new_context(service_workers="block", permissions=["microphone"])
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(LONG)
    page.goto(site.url)
    yield page
    browser.close()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_recording_is_dictated_and_sent(opened):
    page = opened
    page.get_by_test_id("start").click()
    page.locator("[data-testid=status][data-state=ready]").wait_for()
    page.get_by_test_id("dictate").click()
    began = page.evaluate("performance.now()")
    expect(page.get_by_test_id("dictation-text")).to_contain_text(re.compile("ever tr", re.I),
                                                                  timeout=LONG)
    page.wait_for_timeout(max(0, 1000 * SECONDS + began - page.evaluate("performance.now()")))
    page.get_by_test_id("dictation-done").click()
    box = page.get_by_test_id("composer")
    expect(box).to_have_value(re.compile(r"\w"), timeout=LONG)
    said = box.input_value()
    print(said)
    assert " ".join(re.findall(r"[a-z]+", said.lower())) == SENTENCE
    page.get_by_test_id("send").click()
    expect(page.get_by_test_id("message-user").locator(".bubble")).to_have_text(said)
    page.get_by_test_id("stop").click()
    page.locator("html:not([data-busy])").wait_for(state="attached")
    assert page.evaluate("stillOpen()") == 0
