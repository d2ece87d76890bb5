"""Samples in and out of WAV files, and at other rates."""
import struct

import numpy as np
import pytest

from pyengine.audio.resample import resample
from pyengine.audio.wav import read_wav, write_wav
from tests.checkpoints import refused

RNG = np.random.default_rng(7)
CODES = {(1, 8): lambda x: np.round(x * 127 + 128).astype(np.uint8).tobytes(),
         (1, 16): lambda x: np.round(x * 32767).astype("<i2").tobytes(),
         (1, 24): lambda x: np.round(x * 8388607).astype("<i4").view(np.uint8).reshape(
             -1, 4)[:, :3].tobytes(),
         (1, 32): lambda x: np.round(x * (2.0**31 - 1)).astype("<i4").tobytes(),
         (3, 32): lambda x: x.astype("<f4").tobytes(), (3, 64): lambda x: x.astype("<f8").tobytes()}


def wav(data, kind=1, channels=1, rate=16000, bits=16, size=None, before=b""):
    """A WAV file of bytes; `size`: what the data chunk claims; `before`: chunks before it."""
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * bits // 8,
                       channels * bits // 8, bits)
    body = b"fmt " + struct.pack("<I", 16) + form + before + b"data" + struct.pack(
        "<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


@pytest.mark.parametrize("kind, bits", CODES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_form_of_sample(kind, bits, channels):
    x = RNG.uniform(-1, 1, (83, channels))
    data = wav(CODES[kind, bits](x.reshape(-1)), kind, channels, 44100, bits,
               before=b"LIST\x03\x00\x00\x00abc\x00")
    found, rate = read_wav(data)
    assert rate == 44100 and found.dtype == np.float32
    assert np.abs(found - x.mean(axis=1)).max() < (0.02 if bits == 8 else 1e-4)


def test_what_is_written_is_read():
    x = np.array([0, 0.5, -0.5, 1, -1, 3, -3], np.float32)
    found, rate = read_wav(write_wav(x, 22050))
    assert rate == 22050 and np.abs(found - np.clip(x, -1, 1)).max() < 1e-4


def test_a_recorder_that_crashed_left_what_it_had():
    data = struct.pack("<5h", 1, 2, 3, 4, 5)
    assert len(read_wav(wav(data, size=0xFFFFFFF0) + b"\x01")[0]) == 5


@pytest.mark.parametrize("data, said", [
    (b"", "no WAV"), (b"ID3\x03" + bytes(60), "no WAV"), (wav(b""), "no samples"),
    (wav(bytes(8), kind=2), "format 2"), (wav(bytes(8), channels=0), "0 channels"),
    (wav(bytes(8), rate=0), "at 0"), (wav(bytes(8), bits=12), "12 bits"),
    (wav(np.full(4, np.nan, "<f4").tobytes(), 3, bits=32), "no numbers"),
    (wav(bytes(8))[:36], "no samples"), (wav(bytes(8))[:30], "too short"),
    (b"RIFF\x0c\x00\x00\x00WAVEdata\x00\x00\x00\x00", "before their format"),
])
def test_what_is_no_recording_is_refused(data, said):
    assert said in refused("E_BAD_AUDIO", lambda: read_wav(data)).message


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_a_tone_stays_a_tone(rate):
    """What the lower rate can hold comes out as it was; what it cannot is gone."""
    t, seconds = np.arange(rate) / rate, np.arange(16000) / 16000
    found = resample(np.sin(2 * np.pi * 440 * t).astype(np.float32), rate, 16000)
    assert len(found) == 16000
    inside = slice(200, -200)
    assert np.abs(found - np.sin(2 * np.pi * 440 * seconds))[inside].max() < 2e-3
    if rate > 20000:
        high = resample(np.sin(2 * np.pi * 9500 * t).astype(np.float32), rate, 16000)
        assert np.abs(high[inside]).max() < 5e-3


@pytest.mark.parametrize("count", [1, 2, 7, 83])
def test_few_samples(count):
    assert len(resample(np.ones(count, np.float32), 44100, 16000)) == -(-count * 160 // 441)
    assert resample(np.zeros(0, np.float32), 44100, 16000).size == 0
