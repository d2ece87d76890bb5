"""The arithmetic that defines sampling, in numpy: penalties, keys, masses, noise.
`wgsl/common/sample.wgsl` is its twin.

Everything that decides which ids are kept is exact: keys are one f32 subtraction and one f32
multiplication (both correctly rounded by WGSL), masses and sums are integers. Only the penalties'
and the noise's last bits differ by device.
"""
from pyengine.decode import state as st
from pyengine.lazy import np

LOGIT_LIMIT = 1e30      # logits are clamped to +-this; NaN and -inf count as -LOGIT_LIMIT ("never")
DISTANCE_LIMIT = 1e9    # max - logit is capped here, so that products stay finite in f32

MASS_END = 2804940      # keys from here on (21.4 nats) have mass 0: the likeliest id has 2^30
LOG2E_Q31 = 3098164009
# 2^-f = 1 - f * (C0 - f * (C1 - ...)) for f in [0, 1), in units of 2^-32; Chebyshev fit, relative
# error 2^-32
EXP2_Q32 = (2977044471, 1031764940, 238387507, 41304538, 5712139, 639566, 48575)


def clean(logits):
    """Logits as f32 in [-LOGIT_LIMIT, LOGIT_LIMIT], NaN lowest and -0 as 0, so that comparisons are
    total."""
    x = np.asarray(logits, np.float32)
    x = np.where(np.isnan(x), np.float32(-LOGIT_LIMIT), x)
    return np.clip(x, np.float32(-LOGIT_LIMIT), np.float32(LOGIT_LIMIT)) + np.float32(0)


def penalise(logits, counts, bias, words):
    """Cleaned logits (V,) after the repetition penalty (Keskar et al. 2019), OpenAI's frequency and
    presence penalties, then the bias; `counts` u32 (V,), `bias` f32 (V,) and `words` (the state) as
    `decode/state.py` says."""
    f, x = words.view(np.float32), clean(logits)
    if words[st.FLAGS] & st.FLAG_PENALTIES:
        repetition = f[st.REPETITION_PENALTY]
        x = np.where(counts != 0, np.where(x < 0, x * repetition, x / repetition), x)
        generated = (counts & st.COUNT_MASK).astype(np.float32)
        x = x - f[st.FREQUENCY_PENALTY] * generated
        x = x - np.where(generated > 0, f[st.PRESENCE_PENALTY], np.float32(0))
    if words[st.FLAGS] & st.FLAG_BIAS:
        x = x + bias
    return clean(x)


def distances(x, top):
    """`top - x`, capped: f32."""
    return np.minimum(np.float32(top) - x, np.float32(DISTANCE_LIMIT))


def keys(x, top, scale):
    """22-bit keys u32 of cleaned logits `x` below the maximum `top`; `scale` is the state's
    KEY_SCALE."""
    scaled = distances(x, top) * np.float32(scale)
    return np.minimum(scaled, np.float32(st.MAX_KEY)).astype(np.uint32)


def mass(key):
    """exp(-key / 2^17) in units of 2^-30, rounded, as uint64; integer arithmetic, the same on every
    device."""
    key = np.asarray(key, np.uint64)
    live = key < MASS_END
    octaves = ((np.where(live, key, 0) << 10) * LOG2E_Q31) >> 32      # units of 2^-26
    f = (octaves & 0x3FFFFFF) << 6                                    # units of 2^-32
    poly = np.full(key.shape, EXP2_Q32[-1], np.uint64)
    for c in EXP2_Q32[-2::-1]:
        poly = c - ((f * poly) >> 32)
    poly = (1 << 31) - ((f * poly) >> 33)                             # units of 2^-31
    whole = octaves >> 26
    return np.where(live, (poly + (np.uint64(1) << whole)) >> (whole + 1), 0).astype(np.uint64)


def mix(x):
    """A 32-bit bijection with low bias: C. Wellons' "lowbias32" (public domain)."""
    x = np.atleast_1d(np.asarray(x, np.uint32))    # arrays wrap silently, numpy scalars warn
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def noise_keys(seed, position):
    """Two u32 whitening keys; (seed, position) -> keys is one to one.

    The second is two rounds away from the first: with one, `noise_hash` would cancel to 0 wherever
    id equals seed.
    """
    first = mix(np.uint32(position) ^ mix(np.uint32(seed) ^ np.uint32(0x9E3779B9)))
    return first, mix(mix(np.uint32(seed) ^ first) ^ np.uint32(0x85EBCA6B))


def noise_hash(seed, position, ids):
    """u32 hash of (seed, position, id): two keyed rounds of `mix`."""
    first, second = noise_keys(seed, position)
    return mix(mix(np.asarray(ids, np.uint32) ^ first) ^ second)


def gumbel(seed, position, ids):
    """Gumbel noise f64 (V,) of a counter: -log(-log(1 - v)), v = (hash + 0.5) / 2^32 in f32.

    The draws that win are those of v near 0, where f32 is finest; with u = 1 - v rounded to f32
    they would be coarse, and `log` near 1, which WGSL lets be 2^-21 off, would spoil them.
    """
    h = noise_hash(seed, position, ids).astype(np.float32)
    v = np.minimum((h + np.float32(0.5)) * np.float32(2.0 ** -32), np.float32(1 - 2.0 ** -24))
    return -np.log(-np.log1p(-v.astype(np.float64)))
