"""WAV files to samples and back: RIFF with integer or float PCM, as Microsoft's "New Multimedia
Data Types" (1994) and its WAVEFORMATEXTENSIBLE lay it out."""
import struct

from pyengine.errors import EngineError
from pyengine.lazy import np

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
MOST_RATE, MOST_CHANNELS = 768_000, 64


def _bad(detail):
    return EngineError("E_BAD_AUDIO", detail=detail)


def _chunks(data):
    """(id, its bytes) of each chunk; the last may be cut short, as by recorders that crash."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8:at + 8 + size]
        at += 8 + size + size % 2


def _format(chunk):
    """(format, channels, rate, bits of a sample)."""
    if len(chunk) < 16:
        raise _bad("its format chunk is too short")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == EXTENSIBLE and len(chunk) >= 26:
        kind, = struct.unpack_from("<H", chunk, 24)
    if not 1 <= channels <= MOST_CHANNELS or not 1 <= rate <= MOST_RATE:
        raise _bad(f"it claims {channels} channels at {rate} samples a second")
    if (kind, bits) not in ((PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)):
        raise _bad(f"its samples are of format {kind} with {bits} bits")
    return kind, channels, rate, bits


def _numbers(raw, kind, bits):
    """f32 samples in -1 .. 1 of interleaved PCM bytes, a part of a sample at the end left out."""
    raw = raw[:len(raw) // (bits // 8) * (bits // 8)]
    if kind == FLOAT:
        return np.frombuffer(raw, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    return np.frombuffer(raw, f"<i{bits // 8}").astype(np.float32) / 2 ** (bits - 1)


def read_wav(data):
    """(mono f32 samples, rate) of a WAV file's bytes; channels are averaged. Raises `E_BAD_AUDIO`
    for anything else, and for samples that are no numbers."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise _bad("it is no WAV file")
    found = None
    for name, chunk in _chunks(data):
        if name == b"fmt ":
            found = _format(chunk)
        elif name == b"data":
            if found is None:
                raise _bad("its samples come before their format")
            kind, channels, rate, bits = found
            samples = _numbers(chunk, kind, bits)
            samples = samples[:len(samples) // channels * channels].reshape(-1, channels)
            return checked(samples.mean(axis=1, dtype=np.float32)), rate
    raise _bad("it holds no samples")


def checked(samples):
    """`samples` (f32, mono). Raises `E_BAD_AUDIO` where there are none, or some are no numbers."""
    if not len(samples):
        raise _bad("it holds no samples")
    if not np.isfinite(samples).all():
        raise _bad("some of its samples are infinite or no numbers")
    return samples


def write_wav(samples, rate):
    """The bytes of a WAV file of mono f32 `samples`, 16 bits each, clipped at 1."""
    scaled = np.round(np.clip(np.asarray(samples, np.float32), -1, 1) * 32767)
    data = scaled.astype("<i2").tobytes()
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, PCM, 1,
                       rate, 2 * rate, 2, 16, b"data", len(data)) + data
