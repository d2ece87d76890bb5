"""Sounds for tests of speech: a voice-like one (a buzz through three formants, in syllables), and WAV
files."""
import wave

import numpy as np

FORMANTS = ((700, 90), (1220, 110), (2600, 170))  # Hz and their widths: the vowel of "father"


def voice(seconds, rate=16_000, pitch=120.0, seed=0):
    """f32 of `seconds` of syllables, 0.25 s each with 0.05 s between them."""
    rng, n = np.random.default_rng(seed), int(seconds * rate)
    t = np.arange(n) / rate
    phase = np.cumsum(pitch * (1 + 0.05 * np.sin(2 * np.pi * 3 * t))) / rate
    source = (np.diff(np.floor(phase), prepend=0) > 0).astype(float) + 0.002 * rng.normal(size=n)
    spectrum = np.fft.rfft(source)
    f = np.fft.rfftfreq(n, 1 / rate)
    shape = sum(1 / (1 + ((f - centre) / width) ** 2) for centre, width in FORMANTS)
    found = np.fft.irfft(spectrum * shape, n)
    syllables = np.clip(np.minimum(t % 0.3, 0.25 - t % 0.3) / 0.02, 0, 1)
    found *= syllables
    return (0.5 * found / np.abs(found).max()).astype(np.float32)


def write_wav(path, samples, rate=16_000):
    """16-bit PCM, one channel; -> `path`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
