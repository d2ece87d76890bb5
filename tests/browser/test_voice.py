"""Dictation, reading aloud and the hands-free conversation, with Chromium's fake microphone and an
engine that hears and speaks by rote."""
import pytest
from playwright.sync_api import expect

from tests.browser.pace import attempts
from tests.browser.voice_kit import nothing_left

pytest_plugins = ["tests.browser.page_kit", "tests.browser.voice_kit"]

SAID = "Ever tried, ever failed, no matter."
ANSWER = "The first sentence is here. The second one follows it! And this is the last of them."


def test_dictation_is_inserted_at_the_caret_and_sent(talking, speech):
    kit = talking(speech, heard=[SAID])
    kit.get("composer").fill("He wrote: (Beckett)")
    kit.page.evaluate("document.getElementById('prompt').setSelectionRange(9, 9)")
    kit.get("dictate").click()
    expect(kit.get("dictate")).to_have_attribute("aria-pressed", "true")
    expect(kit.get("dictation-text")).to_have_text(SAID)
    kit.until("Number(document.querySelector('[data-testid=level]').ariaValueNow) >= 0")
    kit.until("hearings[0].peak > 0.05")
    kit.get("dictation-done").click()
    expect(kit.get("composer")).to_have_value(f"He wrote: {SAID} (Beckett)")
    expect(kit.get("dictation")).to_have_count(0)
    heard = kit.page.evaluate("hearings[0]")
    assert heard["state"] == "flushed" and heard["sampleRate"] == 16_000
    audio = kit.page.evaluate("wanted.audio")
    assert audio["echoCancellation"] is True and audio["noiseSuppression"] is True
    kit.page.keyboard.press("Enter")
    kit.wait_end()
    assert kit.page.evaluate("requests[0].messages.at(-1).content") == f"He wrote: {SAID} (Beckett)"
    nothing_left(kit)


def test_a_press_that_is_held_dictates_until_it_ends(talking, speech):
    kit = talking(speech, heard=[SAID])
    kit.get("dictate").hover()
    kit.page.mouse.down()
    kit.until("globalThis.hearings?.[0].samples > 8000")
    kit.page.mouse.up()
    expect(kit.get("composer")).to_have_value(SAID)
    nothing_left(kit)


def test_dictation_by_keys_alone_and_cancelled_by_escape(talking, speech):
    kit = talking(speech, heard=[SAID])
    kit.get("composer").fill("Kept")
    kit.page.keyboard.press("Control+Shift+D")
    kit.until("globalThis.hearings?.[0].samples > 0")
    kit.page.keyboard.press("Escape")
    expect(kit.get("dictation")).to_have_count(0)
    expect(kit.get("composer")).to_have_value("Kept")
    assert kit.page.evaluate("hearings[0].state") == "cancelled"
    nothing_left(kit)


@pytest.mark.parametrize("device, words", [(True, "may not use the microphone"),
                                           (False, "No microphone was found")])
def test_without_a_microphone_it_is_said_what_to_do(talking, speech, device, words):
    kit = talking(speech if device else None, allowed=not device)
    kit.get("dictate").click()
    expect(kit.page.locator("#toast")).to_contain_text(words)
    expect(kit.get("dictation")).to_have_count(0)
    expect(kit.get("dictate")).to_have_attribute("aria-pressed", "false")


WHY = """async (name) => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", name); };
  const { Microphone } = await import("./js/audio/microphone.js");
  return Microphone.open().catch((error) => ({ code: error.code, ...error.facts }));
}"""


def test_why_there_is_no_microphone(chat):
    chat.open(start=False)
    for name, reason in (("NotAllowedError", "denied"), ("NotFoundError", "none"),
                         ("NotReadableError", "busy")):
        error = chat.page.evaluate(WHY, name)
        assert error["code"] == "E_NO_MICROPHONE" and error["reason"] == reason
    chat.page.evaluate("delete globalThis.AudioWorkletNode")
    assert chat.page.evaluate(WHY, "")["reason"] == "unsupported"


def test_a_microphone_that_goes_away_keeps_what_was_said(talking, speech):
    kit = talking(speech, heard=[SAID])
    kit.get("dictate").click()
    kit.until("globalThis.hearings?.[0].samples > 0")
    kit.page.evaluate("opened.tracks[0].dispatchEvent(new Event('ended'))")
    expect(kit.page.locator("#toast")).to_contain_text("The microphone is gone")
    expect(kit.get("composer")).to_have_value(SAID)
    nothing_left(kit)


def test_an_engine_without_speech_says_so(talking, speech):
    kit = talking(speech, noAudio=True)
    kit.get("dictate").click()
    expect(kit.page.locator("#toast")).to_contain_text("has no speech")
    nothing_left(kit)


def test_a_message_is_read_aloud_with_captions_and_stops_at_once(talking):
    kit = talking(text=ANSWER, speechMs=60)
    kit.ask()
    button = kit.get("message-assistant").last.get_by_role("button", name="Read aloud")
    button.click()
    expect(kit.get("caption")).to_have_text("The first sentence is here.")
    expect(kit.get("caption")).to_have_text("The second one follows it!")
    assert [body["input"] for body in kit.page.evaluate("spoken")][0] == "The first sentence is here."
    kit.get("message-assistant").last.get_by_role("button", name="Stop reading aloud").click()
    expect(kit.get("reading")).to_have_count(0)
    expect(button).to_be_visible()
    nothing_left(kit)


def test_an_answer_is_read_while_it_is_written(talking):
    kit = talking(text=ANSWER, perSecond=20, speechMs=5, pauseAt=12)
    kit.page.evaluate("localStorage.setItem('jird.voice', JSON.stringify({ auto: true, speaker: 'nova' }))")
    kit.ask(wait=False)
    kit.until("globalThis.spoken?.length > 0")
    assert kit.page.locator("html[data-busy]").count() == 1, "it waited for the end"
    kit.until("Boolean(globalThis.goOn)")
    kit.page.evaluate("goOn()")
    expect(kit.get("reading")).to_have_count(0)  # read to its end
    spoken = kit.page.evaluate("spoken")
    assert " ".join(body["input"] for body in spoken) == ANSWER
    assert {body["voice"] for body in spoken} == {"nova"}
    nothing_left(kit)


def test_a_voice_that_fails_is_told_and_leaves_nothing(talking):
    kit = talking(text=ANSWER, failSpeech=True)
    kit.ask()
    kit.get("message-assistant").last.get_by_role("button", name="Read aloud").click()
    expect(kit.page.locator("#toast")).to_contain_text("The voice is not here.")
    expect(kit.get("reading")).to_have_count(0)
    nothing_left(kit)


def converse(kit):
    kit.get("add").click()
    kit.page.get_by_role("menuitem", name="Hands-free conversation").click()
    return kit.get("turn")


SEEN = """() => {
  globalThis.seen = { turn: [], caption: [] };
  new MutationObserver(() => {
    for (const [name, texts] of Object.entries(seen)) {
      const text = document.querySelector(`[data-testid=${name}]`)?.textContent;
      if (text && texts.at(-1) !== text) texts.push(text);
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def test_hands_free_hears_asks_and_answers_aloud(talking, speech):
    kit = talking(speech, heard=[SAID], text=ANSWER, speechMs=10)
    kit.page.evaluate(SEEN)
    converse(kit)
    kit.until("seen.caption.some((text) => text.startsWith('The first sentence'))")
    turns, captions = kit.page.evaluate("[seen.turn, seen.caption]")
    order = [next(i for i, text in enumerate(turns) if words in text) for words in
             ("I am listening", "I hear you", "Writing", "Thinking", "Speaking")]
    assert order == sorted(order), turns
    assert captions.index(SAID) < captions.index("The first sentence is here.")
    assert kit.page.evaluate("requests[0].messages.at(-1).content") == SAID
    first = kit.page.evaluate("hearings[0]")
    assert 1.8 * 16_000 < first["samples"] < 4 * 16_000, "the speech, and not the pauses around it"
    kit.get("hands-free-end").click()
    expect(kit.get("hands-free")).to_have_count(0)
    nothing_left(kit)


INTERRUPTION = """() => {
  globalThis.marks = {};
  const speaking = () =>
    document.querySelector("[data-testid=turn]")?.textContent.includes("Speaking");
  // The first loud frame of the microphone, and the loudspeaker's own word that it is silent.
  const hear = ({ data }) => {
    if (data.flushed && marks.speech) marks.silent ??= performance.now();
    if (!data.samples || marks.speech || !speaking()) return;
    if (Math.max(...data.samples.map(Math.abs)) < 0.01) marks.quiet = true;
    else if (marks.quiet) marks.speech = performance.now();
  };
  opened.nodes.push = (node) => {
    node.port.addEventListener("message", hear);
    return Array.prototype.push.call(opened.nodes, node);
  };
}"""


def test_speaking_in_between_silences_within_200_ms(talking, speech):
    """From the first loud frame of the microphone to the loudspeaker's word that it plays nothing,
    and to the end of the answer that was being written."""
    long = " ".join(f"This is sentence number {i}." for i in range(600))
    kit = talking(speech, heard=[SAID, "Stop."], text=long, perSecond=20, speechMs=40)

    def silenced():
        kit.reload()  # a later attempt begins anew too
        kit.wait_state("ready")
        kit.get("new-chat").first.click()
        kit.page.evaluate(INTERRUPTION)
        converse(kit)
        marks = kit.until("marks.silent && marks")
        return marks["silent"] - marks["speech"]

    quick, seen = attempts(kit.page, 200, silenced)
    print("from speech to silence, ms and the machine's slowness:", seen)
    assert quick and all(ms > 0 for ms, _ in seen), seen
    answer = kit.get("message-assistant").first
    expect(answer.locator(".stats")).to_contain_text("Stopped")
    assert "number 599" not in answer.inner_text()
    kit.until("requests.length === 2")
    assert kit.page.evaluate("requests[1].messages.at(-1).content") == "Stop."
    kit.page.keyboard.press("Escape")
    nothing_left(kit)


def test_a_recording_is_written_down_with_times(talking, speech):
    segments = [{"start": 0.0, "end": 2.5, "text": " Ever tried, ever failed."},
                {"start": 64.2, "end": 66.0, "text": "No matter."}]
    kit = talking(segments=segments)
    with kit.page.expect_file_chooser() as chooser:
        kit.get("add").click()
        kit.page.get_by_role("menuitem", name="Transcribe a recording").click()
    chooser.value.set_files(speech)
    rows = kit.get("transcript-lines").locator("li")
    expect(rows).to_have_text(["0:00Ever tried, ever failed.", "1:04No matter."])
    with kit.page.expect_download() as download:
        kit.get("transcript-srt").click()
    text = download.value.path().read_text()
    assert text.startswith("1\n00:00:00,000 --> 00:00:02,500\nEver tried, ever failed.\n")
    assert "00:01:04,200 --> 00:01:06,000" in text
    kit.get("transcript-insert").click()
    expect(kit.get("composer")).to_have_value("Ever tried, ever failed.\nNo matter.")
    assert kit.page.evaluate("transcribed[0].response_format") == "verbose_json"


def test_an_answer_is_kept_as_a_sound(talking):
    kit = talking(text=ANSWER)
    kit.ask()
    kit.get("message-assistant").last.get_by_role("button", name="More").click()
    with kit.page.expect_download() as download:
        kit.page.get_by_role("menuitem", name="Save as sound").click()
    assert download.value.path().read_text() == "a WAV file"
    assert download.value.suggested_filename == "The first sentence is here.wav"
    assert kit.page.evaluate("spoken") == [{"input": ANSWER, "response_format": "wav"}]


def test_what_is_chosen_in_the_settings_holds(talking, speech):
    kit = talking(speech, heard=[SAID])
    kit.get("settings").click(force=True)
    box = kit.get("voice-microphone")
    kit.until("document.querySelectorAll('#voice-microphone option').length > 1")
    box.select_option(index=1)
    chosen = box.input_value()
    assert chosen
    kit.get("voice-captions").uncheck()
    kit.page.keyboard.press("Escape")
    kit.get("dictate").click()
    kit.until("globalThis.hearings?.[0].samples > 0")
    assert kit.page.evaluate("wanted.audio.deviceId.ideal") == chosen
    assert kit.page.evaluate("JSON.parse(localStorage.getItem('jird.voice')).captions") is False
    kit.page.keyboard.press("Escape")
    nothing_left(kit)
