"""Text to samples with tiny models of random weights: what comes when, what ends it, what is said."""
import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from app.speech import load_speaker, nbytes, needs
from pyengine.audio.sentences import split
from pyengine.decode.loop import CancelToken
from pyengine.formats.checkpoint import open_path
from tests.audio.voice_kit import END, KANI_2, Bytes, opened, spoken, write_codec, write_voice
from tests.checkpoints import device, refused

SOON_OVER = {"logit_bias": {END: 100.0}, "seed": 3}   # one frame a sentence


@pytest.fixture(scope="module")
def folders(goldens, tmp_path_factory):
    root = tmp_path_factory.mktemp("voice")
    return write_voice(goldens, root / "voice"), write_codec(goldens, root / "codec")


@pytest.fixture(scope="module")
def speaker(folders):
    found = opened(*folders, device("numpy"))
    yield found
    asyncio.run(found.close())


def samples(pieces):
    return np.frombuffer(b"".join(piece.samples for piece in pieces), np.float32)


FRAME = 1764
PAUSE = int(0.15 * 22050)


@pytest.mark.parametrize("options", [{"quant": "keep"}, {}, {"kv": "f32", "context": 83}])
def test_what_a_voice_will_take_is_known_before_it_is_loaded(folders, options):
    checkpoints = [asyncio.run(open_path(str(path))) for path in folders]
    here = device("numpy")
    speaker = asyncio.run(load_speaker(*checkpoints, here, tokenizer=Bytes(), **options))
    taken = nbytes(speaker.stats())
    asyncio.run(speaker.close())
    assert needs(*checkpoints, here.caps, **options) == taken > 0


def test_sentences_become_speech(speaker):
    pieces = spoken(speaker, "Hello. Yes!", sampling=SOON_OVER)
    assert [(p.sentence, p.text, len(p.samples) // 4) for p in pieces] == [
        (0, "Hello.", FRAME), (1, "Yes!", PAUSE), (1, "Yes!", FRAME)]
    assert all(p.complete for p in pieces) and not samples(pieces[1:2]).any()
    heard = samples(pieces)
    assert np.isfinite(heard).all() and np.abs(heard).max() <= 1 and heard[:FRAME].std() > 0.01
    stats = speaker.stats()
    assert (stats["sentences"], stats["frames"]) == (2, 2)
    assert stats["tokens"] >= 2 * 6, "start, four codes, end"
    assert 0 < stats["first_audio_ms"] <= 1e3 * stats["seconds"] and stats["times_real_time"] > 0


def test_a_seed_says_the_same_again_and_another_something_else(speaker):
    runs = [samples(spoken(speaker, "Hi.", sampling=SOON_OVER | {"seed": seed})) for seed in (3, 3, 4)]
    assert runs[0].tobytes() == runs[1].tobytes() != runs[2].tobytes()


def test_speech_begins_before_the_sentence_is_complete(speaker):
    """The first samples come while tokens are still drawn, and together they are one decoding."""
    async def first_and_rest():
        async with aclosing(speaker.speak("Hm.", sampling={"seed": 5})) as stream:
            found = [await anext(stream)]
            early = speaker.timing.tokens
            found += [one async for one in stream]
            return found, early

    found, early = asyncio.run(first_and_rest())
    assert early < speaker.timing.tokens / 2 and len(found) > 3
    # nobody ended it: its length did, and that is told
    assert not found[-1].complete and all(p.complete for p in found[:-1])
    assert len(samples(found)) == FRAME * speaker.timing.frames


def test_a_stream_of_text_is_spoken_sentence_by_sentence(speaker):
    given, heard = [], []

    async def pieces():
        for piece in ("Hel", "lo. And mo", "re is com", "ing now. T", "he end"):
            given.append(piece)
            yield piece

    async def listen():
        async for one in speaker.speak(pieces(), sampling=SOON_OVER):
            heard.append((one.text, len(given)))

    asyncio.run(listen())
    assert heard[0] == ("Hello.", 3), "once what follows shows that it is whole"
    whole = samples(spoken(speaker, "Hello. And more is coming now. The end", sampling=SOON_OVER))
    assert len(dict.fromkeys(text for text, _ in heard)) == 3 and len(whole) == 3 * FRAME + 2 * PAUSE


def test_cancelling_ends_it(speaker):
    async def listen():
        cancel = CancelToken()
        found = []
        async for one in speaker.speak("One. Two. Three.", sampling={"seed": 1}, cancel=cancel):
            found.append(one)
            cancel.cancel()
        return found

    assert len(asyncio.run(listen())) == 1
    assert spoken(speaker, "Again.", sampling=SOON_OVER), "the next text is spoken"


@pytest.mark.parametrize("text", ["", "   \n", "\U0001f600\U0001f389", "...", "---"])
def test_a_text_without_words_is_refused(speaker, text):
    assert "input" in refused("E_BAD_REQUEST", lambda: spoken(speaker, text)).message


@pytest.mark.parametrize("text, said", [
    ("Hi \U0001f600 there.", "Hi there."), ("See https://example.com/x?y=1.", "See example.com."),
    ("\u041f\u0440\u0438\u0432\u0435\u0442!", "\u041f\u0440\u0438\u0432\u0435\u0442!")])
def test_odd_texts_are_said_as_far_as_they_can_be(speaker, text, said):
    assert [p.text for p in spoken(speaker, text, sampling=SOON_OVER)] == [said]


def test_a_long_text_is_spoken_to_its_end(speaker):
    """Its start, so that the test is quick; all of it with --long."""
    check_long(speaker, 120)


@pytest.mark.long
def test_five_thousand_words(speaker):
    check_long(speaker, 5000)


def check_long(speaker, words):
    text = " ".join(f"word{i}" + ("." if i % 17 == 16 else "") for i in range(words))
    texts = list(dict.fromkeys(p.text for p in spoken(speaker, text, sampling=SOON_OVER)))
    assert texts == split(text) and " ".join(texts) == text


def test_a_wrong_voice_and_wrong_sampling_are_refused(speaker):
    assert "voice" in refused("E_BAD_REQUEST", lambda: spoken(speaker, "Hi.", voice="x")).message
    refused("E_BAD_REQUEST", lambda: spoken(speaker, "Hi.", sampling={"temperature": -1}))
    refused("E_BAD_REQUEST", lambda: spoken(speaker, "Hi.", speaker=[0.5] * 10))
    assert spoken(speaker, "Hi.", voice="default", sampling=SOON_OVER)


def test_a_kani_tts_2_speaks_as_the_speaker_it_is_given(folders, goldens, tmp_path):
    here, given = device("numpy"), {"sampling": {"seed": 5}}
    second = opened(write_voice(goldens, tmp_path / "voice", **KANI_2), folders[1], here)
    ada, bob = ([0.3] * 10, [-0.3] * 10)
    first, other, none, again = (samples(spoken(second, "Hm.", speaker=who, **given)).tobytes()
                                 for who in (ada, bob, None, ada))
    assert first == again and len({first, other, none}) == 3
    for wrong in ([0.3] * 9, []):
        assert "voice" in refused("E_BAD_REQUEST", lambda: spoken(second, "Hm.", speaker=wrong)).message
    assert needs(*[asyncio.run(open_path(str(path))) for path in (tmp_path / "voice", folders[1])],
                 here.caps, quant="keep", context=512) == nbytes(second.stats())
    asyncio.run(second.close())


def test_a_codec_of_other_sizes_is_refused(folders, goldens, tmp_path):
    voice = write_voice(goldens, tmp_path / "voice", tokens_per_frame=8)
    before = device("numpy")
    refused("E_UNSUPPORTED_CONFIG", lambda: opened(voice, folders[1], before))
    refused("E_NO_TOKENIZER", lambda: opened(*folders, before, tokenizer=None))


def test_on_a_gpu_frames_are_those_that_the_reference_draws(folders, speaker):
    """Masks, sampling and codec on a device: the same tokens, so nearly the same samples."""
    native = opened(*folders, device("native"), kv="f32")
    given = {"seed": 3, "temperature": 0.0, "repetition_penalty": 1.1}
    try:
        pieces = [spoken(one, "Hm.", sampling=given) for one in (speaker, native)]
        assert native.timing.frames == speaker.timing.frames > 30
        a, b = (samples(p)[:10 * FRAME] for p in pieces)
        assert np.abs(a - b).max() < 1e-3, "the first ten frames"
    finally:
        asyncio.run(native.close())
