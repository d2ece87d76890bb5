"""The views of ears and voice as a person meets them on a tablet and a phone: nothing serious by axe,
light and dark, and nothing wider than the screen."""
import pytest
from playwright.sync_api import expect

from tests.browser.axe_kit import serious
from tests.browser.test_voice import ANSWER, SAID, converse
from tests.browser.voice_kit import nothing_left

pytest_plugins = ["tests.browser.page_kit", "tests.browser.voice_kit", "tests.browser.axe_kit"]
SIZES = {"tablet": {"width": 820, "height": 1180}, "phone": {"width": 390, "height": 844}}
WIDER = """() => document.documentElement.scrollWidth > innerWidth
  ? [document.documentElement.scrollWidth]
  : [...document.querySelectorAll("[data-testid=hands-free] *, [data-testid=dictation] *, dialog[open] *")]
      .filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1)
      .map((node) => node.outerHTML.slice(0, 120))"""


# labels that stand letter below letter
STACKED = """() => [...document.querySelectorAll(".setting label")]
  .filter((node) => node.checkVisibility() && node.offsetHeight > 60).map((node) => node.textContent)"""


def dictating(kit):
    """Recording, with the level and what is heard so far."""
    kit.get("dictate").click()
    expect(kit.get("dictation-text")).to_have_text(SAID)
    yield "dictation"
    kit.page.keyboard.press("Escape")


def reading(kit):
    """An answer that is read aloud: its button, the bar and the caption."""
    kit.ask()
    kit.get("message-assistant").last.get_by_role("button", name="Read aloud").click()
    expect(kit.get("caption")).to_have_text(ANSWER[:27])
    yield "reading"
    kit.get("message-assistant").last.get_by_role("button", name="Stop reading aloud").click()
    expect(kit.get("reading")).to_have_count(0)


def settings(kit):
    """The voice's part of the settings."""
    kit.page.keyboard.press("Control+,")
    kit.get("voice-captions").scroll_into_view_if_needed()
    yield "settings"
    kit.page.keyboard.press("Escape")
    expect(kit.get("settings-panel")).to_be_hidden()


def recording(kit, speech):
    """A recording that was written down."""
    with kit.page.expect_file_chooser() as chooser:
        kit.get("add").click()
        kit.page.get_by_role("menuitem", name="Transcribe a recording").click()
    chooser.value.set_files(speech)
    expect(kit.get("transcript-lines").locator("li")).to_have_count(2)
    yield "transcript"
    kit.page.keyboard.press("Escape")


def conversation(kit):
    """Hands-free: while it listens, and while it speaks with captions."""
    turn = converse(kit)
    expect(turn).to_contain_text("listening")
    yield "listening"
    expect(turn).to_contain_text("Speaking")
    expect(kit.get("caption")).to_contain_text("sentence")
    yield "speaking"
    kit.get("hands-free-end").click()
    expect(kit.get("hands-free")).to_have_count(0)


def views(kit, speech):
    """Yields each view's name as it stands."""
    yield from settings(kit)
    yield from reading(kit)
    yield from recording(kit, speech)
    kit.get("composer").fill("")
    yield from dictating(kit)
    yield from conversation(kit)


def begin(talking, speech, size):
    segments = [{"start": 0.0, "end": 2.5, "text": " Ever tried, ever failed."},
                {"start": 64.2, "end": 66.0, "text": "No matter."}]
    return talking(speech, heard=[SAID], text=ANSWER, speechMs=60, segments=segments,
                   viewport=SIZES[size])


@pytest.mark.parametrize("size", SIZES)
def test_voice_views(talking, speech, axe, size):
    kit = begin(talking, speech, size)
    page, found, seen = kit.page, [], []
    for name in views(kit, speech):
        page.emulate_media(color_scheme="light")
        found += [f"{name}: {row['what']}" for row in serious(page, axe)]
        page.emulate_media(color_scheme="dark")
        found += [f"{name}, dark: {row['what']}" for row in serious(page, axe, ["color-contrast"])]
        found += [f"{name} is too wide: {what}" for what in page.evaluate(WIDER)]
        assert page.evaluate(STACKED) == []
        seen.append(name)
    assert found == [], "\n".join(found)
    assert seen == ["settings", "reading", "transcript", "dictation", "listening", "speaking"]
    nothing_left(kit)
