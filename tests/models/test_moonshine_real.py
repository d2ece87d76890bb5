"""The real Moonshine tiny on two recordings: exact text, word errors by quantisation, and what a
stream hears against the whole file. Needs `python3 build.py fetch moonshine-tiny`."""
import asyncio
import json
import re

import numpy as np
import pytest

from app.build import made, settings
from app.build.fetch import Cache
from app.session import tokenizer_of
from pyengine.audio.resample import resample
from pyengine.audio.transcriber import RATE, Transcriber
from pyengine.audio.wav import read_wav
from tests.checkpoints import close, engine, folder
from tests.models.families import GOLDENS

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
WANT = json.loads((GOLDENS / "moonshine" / "transcripts.json").read_text())
STEP = 0.7  # seconds that a stream brings at once


@pytest.fixture(scope="module")
def path():
    found = made.made(Cache()).get(settings.MADE_MODELS[0])
    if found is None:
        pytest.skip("python3 build.py fetch moonshine-tiny makes it")
    return found


@pytest.fixture(scope="module", params=["keep", "affine8-g64"])
def hears(path, request):
    """(transcriber on the GPU, its quantisation)."""
    source = folder(path)
    one = engine(source, "native", quant=request.param, kv="f16")
    one.tokenizer = tokenizer_of(source, "moonshine-tiny")
    yield Transcriber(one, [2]), request.param
    close(one)


def samples(path, name):
    return resample(*read_wav((path / name).read_bytes()), RATE)


def heard(transcriber, x, **options):
    async def collect():
        return [p async for p in transcriber.transcribe(x, **options) if not isinstance(p, str)]
    return asyncio.run(collect())


def text_of(transcriber, x):
    return " ".join(one.text for one in heard(transcriber, x))


def words(text):
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def errors(got, want):
    """Words to insert, delete or replace: Levenshtein's distance."""
    row = list(range(len(want) + 1))
    for i, a in enumerate(got, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(want, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def clips(path):
    """{name: (samples, golden words)}."""
    cities = samples(path, "two_cities.wav")
    found = {}
    for name, text in WANT.items():
        cut = re.search(r"\[([\d.]+):([\d.]+)\]", name)
        x = samples(path, name) if cut is None else cities[
            int(float(cut[1]) * RATE):int(float(cut[2]) * RATE)]
        found[name] = x, words(text)
    return found


def test_the_sentence(hears, path):
    transcriber, quant = hears
    text = text_of(transcriber, samples(path, "beckett.wav"))
    assert text == WANT["beckett.wav"] or quant != "keep" and errors(
        words(text), words(WANT["beckett.wav"])) == 0


def test_word_errors_of_the_clips(hears, path):
    """At most 5% of the reference's words with the file's weights, a point more with 8 bits."""
    transcriber, quant = hears
    wrong = {name: errors(words(text_of(transcriber, x)), want)
             for name, (x, want) in clips(path).items()}
    rate = sum(wrong.values()) / sum(len(want) for _, want in clips(path).values())
    print(quant, wrong, rate)
    assert rate <= (0.05 if quant == "keep" else 0.06), wrong


def streamed(transcriber, x):
    """What a session makes of the recording: closed segments as they come, then the rest."""
    texts, begin = [], 0
    for end in range(int(STEP * RATE), len(x), int(STEP * RATE)):
        live = heard(transcriber, x[begin:end], live=True) if _closes(x[begin:end]) else []
        closed = [one.text for one in live if one.closed]
        texts += closed
        if closed:
            begin += transcriber.consumed(x[begin:end])
    return " ".join(texts + [one.text for one in heard(transcriber, x[begin:])])


def _closes(x):
    """Whether a segment of it is closed: open ones need not be heard for this test."""
    from pyengine.audio.segments import cut
    return any(one.closed for one in cut(x, RATE, live=True))


@pytest.mark.parametrize("name", ["beckett.wav", "two_cities.wav"])
def test_a_stream_hears_what_the_file_says(hears, path, name):
    transcriber, quant = hears
    if quant != "keep":
        pytest.skip("the cuts do not depend on it")
    x = samples(path, name)
    whole, stream = words(text_of(transcriber, x)), words(streamed(transcriber, x))
    print(name, errors(stream, whole), len(whole))
    assert errors(stream, whole) <= 0.05 * len(whole)


def test_a_long_recording_takes_as_long_as_its_speech(hears, path):
    """Half an hour with a minute of speech; noise and clipping are no trouble."""
    transcriber, quant = hears
    if quant == "keep":
        pytest.skip("once is enough")
    speech = samples(path, "beckett.wav")
    rng = np.random.default_rng(3)
    x = (1e-4 * rng.normal(size=1800 * RATE)).astype(np.float32)
    for minute in (1, 14, 28):
        x[minute * 60 * RATE:][:len(speech)] += speech
    found = heard(transcriber, x)
    assert [round(one.start / 60) for one in found] == [1, 14, 28]
    assert all(errors(words(one.text), words(WANT["beckett.wav"])) <= 1 for one in found)
    loud = np.clip(8 * speech, -1, 1)
    assert errors(words(text_of(transcriber, loud)), words(WANT["beckett.wav"])) <= 4
