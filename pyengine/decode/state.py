"""The state buffer: the 32 words on the GPU that steer a burst, and how Python fills them.

`wgsl/common/state.wgsl` names the same words; `tests/decode/test_state.py` compares the two files.
"""
from pyengine.errors import EngineError
from pyengine.lazy import np

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
STOP_IDS = 16            # .. 31

MAX_STOP_IDS = WORDS - STOP_IDS
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


def pack_state(pos=0, n=1, params=None, stop_ids=(), seed=None):
    """The whole state buffer as 128 little-endian bytes, `stopped` and `step` zero.

    `params` is a `SamplingParams` (None: greedy); `seed` overrides `params.seed` (None there means
    0 here: draw one first with `params.with_seed()`). Only the first `MAX_STOP_IDS` distinct stop
    ids fit: the decode loop checks every id it reads against the full set, so that further ones
    stop the text too, only the rest of their burst was computed in vain.
    """
    words = np.zeros(WORDS, np.uint32)
    words[[POS, N]] = pos, n
    words[STOP_IDS:] = NO_ID
    kept = list(dict.fromkeys(stop_ids))[:MAX_STOP_IDS]
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < NO_ID for i in kept):
        raise EngineError("E_BAD_REQUEST", param="stop_ids", got=kept, wanted="token ids")
    words[STOP_IDS:STOP_IDS + len(kept)] = kept
    words[SEED:STOP_IDS] = sampling_words(params, seed)
    return words.astype("<u4").tobytes()


def sampling_words(params, seed=None):
    """Words SEED .. STOP_IDS - 1 of the state for `params` (None: greedy), uint32 (12,)."""
    words = np.zeros(WORDS, np.uint32)
    put = words.view(np.float32)
    put[[TOP_P, REPETITION_PENALTY]] = 1.0
    words[MIN_P_KEY] = MAX_KEY
    if params is not None:
        words[SEED] = (params.seed or 0) if seed is None else seed
        put[TEMPERATURE] = params.temperature
        words[TOP_K] = params.top_k
        put[TOP_P], put[MIN_P] = params.top_p, params.min_p
        put[REPETITION_PENALTY] = params.repetition_penalty
        put[FREQUENCY_PENALTY] = params.frequency_penalty
        put[PRESENCE_PENALTY] = params.presence_penalty
        words[FLAGS] = FLAG_PENALTIES * params.has_penalties + FLAG_BIAS * bool(params.logit_bias)
        put[KEY_SCALE] = key_scale(params.temperature)
        words[MIN_P_KEY] = min_p_key(params.min_p)
        words[TOP_P_Q32] = top_p_q32(params.top_p)
    return words[SEED:STOP_IDS]


def key_scale(temperature):
    """Keys per unit of logit, the f32 that every device multiplies by; 0 means argmax."""
    return np.float32(KEYS_PER_NAT / temperature if temperature >= MIN_TEMPERATURE else 0)


def min_p_key(min_p):
    """The largest key whose probability is at least `min_p` of the likeliest id's."""
    if min_p <= 0:
        return MAX_KEY
    return min(MAX_KEY, int(-np.log(np.float64(min_p)) * KEYS_PER_NAT))


def top_p_q32(top_p):
    """`top_p` in units of 2^-32, at least 1; 0 for "off"."""
    return 0 if top_p >= 1 else max(1, min((1 << 32) - 1, round(top_p * (1 << 32))))


def pack_counts(vocab, prompt_ids=(), generated_ids=()):
    """The counts buffer, u32 (vocab,) as bytes: IN_PROMPT for ids of the prompt, plus how often
    each was generated.

    Generated ids saturate at 65535. Ids outside the vocabulary are an `IndexError`.
    """
    counts = np.bincount(np.asarray(generated_ids, np.int64), minlength=vocab)
    if len(counts) > vocab:
        raise IndexError(f"id {len(counts) - 1} is outside a vocabulary of {vocab}")
    counts = np.minimum(counts, COUNT_MASK).astype("<u4")
    counts[np.asarray(prompt_ids, np.int64)] |= np.uint32(IN_PROMPT)
    return counts.tobytes()


def pack_bias(vocab, logit_bias=()):
    """The bias buffer, f32 (vocab,) as bytes, from (id, value) pairs or a mapping that
    `check_vocab` passed."""
    bias = np.zeros(vocab, "<f4")
    for token, value in dict(logit_bias).items():
        bias[token] = value
    return bias.tobytes()
