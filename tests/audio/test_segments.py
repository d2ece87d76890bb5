"""Where recordings are cut: at pauses, alike for a stream and a file, and never where nobody
speaks."""
import numpy as np
import pytest

from pyengine.audio.segments import MOST, PAD, consumed, cut, speaking, loudness

RATE = 16000
RNG = np.random.default_rng(11)


def speech(seconds, level=0.1):
    """Syllables: noise that swells and fades five times a second."""
    t = np.arange(int(seconds * RATE)) / RATE
    swell = np.clip(np.sin(2 * np.pi * 5 * t), 0.02, 1)
    return (level * swell * RNG.normal(size=len(t))).astype(np.float32)


def silence(seconds, level=1e-4):
    return (level * RNG.normal(size=int(seconds * RATE))).astype(np.float32)


def seconds(segments):
    return [(round(s.start / RATE, 1), round(s.end / RATE, 1)) for s in segments]


def test_speech_is_found_between_silences():
    x = np.concatenate([silence(1.5), speech(2), silence(3), speech(1), silence(1)])
    (a, b), (c, d) = seconds(cut(x, RATE))
    assert abs(a - (1.5 - PAD)) < 0.15 and abs(b - (3.5 + PAD)) < 0.3
    assert abs(c - (6.5 - PAD)) < 0.15 and abs(d - (7.5 + PAD)) < 0.3


@pytest.mark.parametrize("x", [
    np.zeros(RATE, np.float32), np.zeros(1, np.float32), np.zeros(0, np.float32), silence(30),
    np.full(RATE, 0.5, np.float32), (0.2 * RNG.normal(size=20 * RATE)).astype(np.float32),
    np.sin(np.arange(20 * RATE) * 0.1).astype(np.float32)],
    ids=["zeros", "one sample", "none", "silence", "an offset", "noise", "a tone"])
def test_nobody_speaks(x):
    """Steady noise may count as speech for the moment that its floor takes to be known."""
    assert sum(s.end - s.start for s in cut(x, RATE)) <= 26 * RATE


def test_long_speech_is_cut_where_it_is_quiet():
    x = np.concatenate([speech(12), silence(0.15), speech(30), silence(0.5), speech(20)])
    segments = cut(x, RATE)
    assert len(segments) >= 3 and max(s.end - s.start for s in segments) <= MOST * RATE
    assert all(a.end <= b.start for a, b in zip(segments, segments[1:]))
    covered = np.zeros(len(x), bool)
    for s in segments:
        covered[s.start:s.end] = True
    spoken = np.repeat(speaking(loudness(x, RATE)), int(RATE * 0.02))
    assert covered[:len(spoken)][spoken].mean() > 0.99


def test_a_full_segment_ends_at_a_short_pause():
    x = np.concatenate([speech(14.5), silence(0.6), speech(3)])
    first, second = cut(x, RATE)
    assert 14.4 < first.end / RATE < 15.1 and second.start >= first.end


def test_a_stream_is_cut_as_the_file():
    """However it comes in: closed segments of what is there are those of the whole."""
    x = np.concatenate([part for i in range(6) for part in (speech(3 + 2 * i), silence(0.5 + i % 3))])
    whole = cut(x, RATE)
    for end in range(RATE, len(x), 33333):
        closed = [s for s in cut(x[:end], RATE, live=True) if s.closed]
        assert closed == [s for s in whole[:len(closed)]]
    assert not cut(x[:5 * RATE], RATE, live=True)[-1].closed


def test_what_a_session_may_forget():
    x = np.concatenate([silence(2), speech(3), silence(3), speech(2)])
    assert consumed(silence(2), RATE, []) > RATE
    live = cut(x, RATE, live=True)
    assert not live[-1].closed and consumed(x, RATE, live) == live[-1].start
    assert consumed(x[:7 * RATE], RATE, cut(x[:7 * RATE], RATE, True)) > 5.2 * RATE
    assert consumed(np.zeros(3, np.float32), RATE, []) == 0
