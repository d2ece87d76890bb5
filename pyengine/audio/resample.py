"""Samples at another rate: a windowed sinc, evaluated at the places that the new rate needs (Smith
and Gossett 1984)."""
from math import gcd

from pyengine.lazy import np

ZEROS = 16        # of the sinc on each side
BETA = 8.0        # of the Kaiser window: 80 dB
PASS = 0.94       # of the lower Nyquist frequency: the rest is the transition
ROWS = 1 << 14    # outputs made at once


def _filters(up, down):
    """(up, taps): the taps of each phase; row p is for outputs that lie p / up behind a sample."""
    slower = max(1.0, down / up)
    half = int(np.ceil(ZEROS * slower / PASS))
    places = np.arange(-half + 1, half + 1)[None] - np.arange(up)[:, None] / up
    cutoff = PASS / slower
    window = np.i0(BETA * np.sqrt(np.clip(1 - (places / half) ** 2, 0, 1))) / np.i0(BETA)
    taps = cutoff * np.sinc(cutoff * places) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32), half


def resample(samples, rate, wanted):
    """Mono f32 `samples` of `rate` a second at `wanted` a second: (ceil(n * wanted / rate),)."""
    if rate == wanted or not len(samples):
        return samples
    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    taps, half = _filters(up, down)
    padded = np.concatenate([np.zeros(half, np.float32), samples.astype(np.float32),
                             np.zeros(half + 1, np.float32)])
    count = -(-len(samples) * up // down)
    out, reach = np.empty(count, np.float32), np.arange(1, 2 * half + 1)
    for start in range(0, count, ROWS):
        places = np.arange(start, min(start + ROWS, count)) * down
        seen = padded[(places // up)[:, None] + reach]
        out[start:start + len(places)] = np.einsum("ij,ij->i", seen, taps[places % up])
    return out
