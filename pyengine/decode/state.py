"""The state buffer: the 32 words on the GPU that steer a burst, and how Python fills them. Plain
Python: the first token must not wait for numpy's import.

`wgsl/common/state.wgsl` names the same words; `tests/decode/test_state.py` compares the two files.
"""
import math
import struct
from array import array

from pyengine.errors import EngineError

WORDS = 32
NBYTES = 4 * WORDS

POS = 0                  # position of the first row of the next run
N = 1                    # valid rows of the next run
STOPPED = 2              # 1 after a stop id: every kernel of the rest of the burst returns at once
STEP = 3                 # ids written to the ring so far
SEED = 4
TEMPERATURE = 5          # f32; 0 is argmax
TOP_K = 6                # 0 is off
TOP_P = 7                # f32, 1 is off; kernels use TOP_P_Q32
MIN_P = 8                # f32, 0 is off; kernels use MIN_P_KEY
REPETITION_PENALTY = 9   # f32, 1 is off
FREQUENCY_PENALTY = 10   # f32, 0 is off
PRESENCE_PENALTY = 11    # f32, 0 is off
FLAGS = 12
KEY_SCALE = 13           # f32 2^17 / temperature: keys per unit of logit; 0 at temperature 0
MIN_P_KEY = 14           # largest key that min-p keeps
TOP_P_Q32 = 15           # top_p * 2^32; 0 is off
STOP_IDS = 16            # .. 30
SOURCE = 31              # rows of an encoder's output, which its decoder attends to

MAX_STOP_IDS = SOURCE - STOP_IDS
NO_ID = 0xFFFFFFFF

FLAG_PENALTIES = 1       # the counts buffer is worth reading
FLAG_BIAS = 2            # the bias buffer is worth reading

# A key is floor((max - logit) / temperature * 2^17), at most MAX_KEY: 32 nats in 22 bits.
KEY_BITS = 22
KEYS_PER_NAT = 1 << 17
MAX_KEY = (1 << KEY_BITS) - 1

# Below this the noise (22.9 at most) cannot change an f32 decision that matters, and 2^17 /
# temperature stays finite.
MIN_TEMPERATURE = 1e-4

COUNT_MASK = 0xFFFF      # counts[id]: times generated, saturating
IN_PROMPT = 0x80000000   # counts[id]: the id occurs in the prompt


def pack_state(pos=0, n=1, params=None, stop_ids=(), seed=None, source=0):
    """The whole state buffer as 128 little-endian bytes, `stopped` and `step` zero.

    `params` is a `SamplingParams` (None: greedy); `seed` overrides `params.seed` (None there means
    0 here: draw one first with `params.with_seed()`); `source` rows of an encoder. Only the first
    `MAX_STOP_IDS` distinct stop ids fit: the decode loop checks every id it reads against the full
    set, so that further ones stop the text too, only the rest of their burst was computed in vain.
    """
    kept = kept_stops(stop_ids)
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < NO_ID for i in kept):
        raise EngineError("E_BAD_REQUEST", param="stop_ids", got=kept, wanted="token ids")
    stops = kept + [NO_ID] * (MAX_STOP_IDS - len(kept))
    return struct.pack("<32I", pos, n, 0, 0, *sampling_words(params, seed), *stops, source)


def kept_stops(stop_ids):
    """Those of the stop ids that the state has room for, a list."""
    return list(dict.fromkeys(stop_ids))[:MAX_STOP_IDS]


def sampling_words(params, seed=None):
    """Words SEED .. STOP_IDS - 1 of the state for `params` (None: greedy): 12 integers."""
    words = [0] * STOP_IDS
    words[TOP_P] = words[REPETITION_PENALTY] = _bits(1.0)
    words[MIN_P_KEY] = MAX_KEY
    if params is not None:
        words[SEED] = (params.seed or 0) if seed is None else seed
        words[TEMPERATURE] = _bits(params.temperature)
        words[TOP_K] = params.top_k
        words[TOP_P], words[MIN_P] = _bits(params.top_p), _bits(params.min_p)
        words[REPETITION_PENALTY] = _bits(params.repetition_penalty)
        words[FREQUENCY_PENALTY] = _bits(params.frequency_penalty)
        words[PRESENCE_PENALTY] = _bits(params.presence_penalty)
        words[FLAGS] = FLAG_PENALTIES * params.has_penalties + FLAG_BIAS * bool(params.logit_bias)
        words[KEY_SCALE] = _bits(key_scale(params.temperature))
        words[MIN_P_KEY] = min_p_key(params.min_p)
        words[TOP_P_Q32] = top_p_q32(params.top_p)
    return words[SEED:]


def _bits(value):
    """The f32 nearest to `value`, as its 32 bits."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def key_scale(temperature):
    """Keys per unit of logit, rounded to the f32 that every device multiplies by; 0 means
    argmax."""
    scale = KEYS_PER_NAT / temperature if temperature >= MIN_TEMPERATURE else 0.0
    return struct.unpack("<f", struct.pack("<f", scale))[0]


def min_p_key(min_p):
    """The largest key whose probability is at least `min_p` of the likeliest id's."""
    if min_p <= 0:
        return MAX_KEY
    return min(MAX_KEY, int(-math.log(min_p) * KEYS_PER_NAT))


def top_p_q32(top_p):
    """`top_p` in units of 2^-32, at least 1; 0 for "off"."""
    return 0 if top_p >= 1 else max(1, min((1 << 32) - 1, round(top_p * (1 << 32))))


def pack_counts(vocab, prompt_ids=(), generated_ids=()):
    """The counts buffer, u32 (vocab,) as bytes: IN_PROMPT for ids of the prompt, plus how often
    each was generated.

    Generated ids saturate at 65535. Ids outside the vocabulary are an `IndexError`.
    """
    counts = array("I", bytes(4 * vocab))
    for token in generated_ids:
        counts[_inside(token, vocab)] += counts[token] < COUNT_MASK
    for token in prompt_ids:
        counts[_inside(token, vocab)] |= IN_PROMPT
    return counts.tobytes()


def _inside(token, vocab):
    if not 0 <= token < vocab:
        raise IndexError(f"id {token} is outside a vocabulary of {vocab}")
    return token


def pack_bias(vocab, logit_bias=()):
    """The bias buffer, f32 (vocab,) as bytes, from (id, value) pairs or a mapping that
    `check_vocab` passed."""
    bias = array("f", bytes(4 * vocab))
    for token, value in dict(logit_bias).items():
        bias[token] = value
    return bias.tobytes()
