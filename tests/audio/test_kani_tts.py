"""Kani-TTS's prompts and its way back from tokens to frames, by hand-made cases; and which ids may
follow which."""
import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.ir import mask_ops  # noqa: F401  registers speech_mask
from pyengine.ir.ops import OPS
from pyengine.models.kani_tts import Frames, Layout, sampling
from tests.audio.voice_kit import Bytes
from tests.checkpoints import refused

CONFIG = {"model_type": "lfm2", "vocab_size": 80539}
VOICES = {"speaker_settings": {"status": "multispeaker", "speaker_list": ["david", "andrew "]}}
START, END = 64401, 64402


def audio(group, code):
    return 64410 + 4032 * group + code


def frame(*codes):
    return [audio(group, code) for group, code in enumerate(codes)]


@pytest.fixture
def layout():
    return Layout.of(CONFIG)


def test_ids_are_those_of_the_published_checkpoint(layout):
    assert (layout.start, layout.end, layout.audio) == (START, END, 64410)
    assert layout.mask["opening"] == 64405
    assert audio(3, 4031) == 80537


def test_a_prompt(layout):
    assert layout.prompt(Bytes(), "Hi") == [64403, 1, 10 + 72, 10 + 105, 2, 64404]
    many = Layout.of(CONFIG | VOICES)
    assert many.voices == ("david", "andrew")
    want = [64403, 1, *(10 + b for b in b"andrew: Hi"), 2, 64404]
    assert many.prompt(Bytes(), "Hi", "andrew") == want
    assert many.prompt(Bytes(), "Hi") == many.prompt(Bytes(), "Hi", "david")
    assert Layout.of(CONFIG | {"language_settings": {"language_tags_list": ["en_us"]}}).voice() == "en_us"


@pytest.mark.parametrize("config, voice", [(CONFIG, "david"), (CONFIG | VOICES, "nobody")])
def test_a_voice_that_there_is_not_is_refused(config, voice):
    refused("E_BAD_REQUEST", lambda: Layout.of(config).prompt(Bytes(), "Hi", voice))


@pytest.mark.parametrize("changes", [
    {"vocab_size": 80537}, {"vocab_size": None}, {"tokens_per_frame": 8}, {"audio_step": 0},
    {"audio_tokens_start": 3}])
def test_a_config_with_other_maths_is_refused(changes):
    refused("E_UNSUPPORTED_CONFIG", lambda: Layout.of(CONFIG | changes))


def test_tokens_become_frames(layout):
    ids = [64405, START, *frame(0, 1, 2, 3), *frame(4031, 4030, 17, 0), END, 64406]
    assert Frames(layout).push(ids) == [[0, 1, 2, 3], [4031, 4030, 17, 0]]
    assert Frames(layout).push([START, END]) == []


def test_tokens_that_come_in_pieces(layout):
    ids = [64405, START, *frame(9, 8, 7, 6), *frame(1, 2, 3, 4), END, *frame(5, 5, 5, 5)]
    for size in range(1, len(ids)):
        reader, found = Frames(layout), []
        for at in range(0, len(ids), size):
            found += reader.push(ids[at:at + size])
        assert found == [[9, 8, 7, 6], [1, 2, 3, 4]] and reader.ended


def test_a_frame_that_is_broken_off_is_not_spoken(layout):
    reader = Frames(layout)
    assert reader.push([START, *frame(1, 2, 3, 4), audio(0, 5)]) == [[1, 2, 3, 4]]
    assert not reader.ended


@pytest.mark.parametrize("ids, what", [
    ([START, audio(0, 1), audio(0, 2)], "group 1"), ([START, 17], "group 0"),
    ([START, audio(0, 1), audio(1, 1), audio(2, 1), audio(3, 1) + 4032], "group 3")])
def test_what_is_no_speech_is_told(layout, ids, what):
    assert what in refused("E_BAD_SPEECH", lambda: Frames(layout).push(ids)).message


def test_what_is_drawn_with():
    assert sampling({}) == {"temperature": 1.0, "top_p": 0.95, "repetition_penalty": 1.1, "top_k": 50}
    assert sampling({"top_k": 20, "temperature": 0.6})["top_k"] == 20
    assert sampling({"temperature": 0.6})["temperature"] == 1.0, "kani-tts gives its own"
    assert sampling({}, {"temperature": 0.3, "seed": None, "top_k": 0}) == {
        "temperature": 0.3, "top_p": 0.95, "repetition_penalty": 1.1, "top_k": 0}


def allowed(layout, last):
    """The ids that the mask leaves behind `last`."""
    state = np.zeros(st.WORDS, np.uint32)
    state[st.N] = 2
    logits = np.zeros((1, 80539), np.float32)
    OPS["speech_mask"].reference(layout.mask, logits, np.array([9, last, 64410], np.uint32), state)
    return np.flatnonzero(logits[0] == 0).tolist()


def test_what_may_follow(layout):
    groups = [[audio(g, c) for c in range(4032)] for g in range(4)]
    assert allowed(layout, 64404) == [START, 64405], "behind the prompt"
    assert allowed(layout, 64405) == [START]
    assert allowed(layout, START) == groups[0], "no speech is empty"
    for g in range(3):
        for code in (0, 4031):
            assert allowed(layout, audio(g, code)) == groups[g + 1]
    assert allowed(layout, audio(3, 4031)) == [END, *groups[0]]
