"""The sampling ops: greedy is `sample_argmax`, `sample_take`; sampled is `sample_prepare`, `_hist`,
`_topk`, `_topp`, `_pick`, `_finish`. Each reference does what its kernel does, to the word: only
the picks' score bits may differ in the last place.

The kept ids are a prefix of the (key, id) order; a key's high half picks a histogram bin, its low
half a bin inside it. Scratch (u32 words, `wgsl/common/sample_filter.wgsl`): SEL_* words, then five
histograms of BINS.
"""
from pyengine.decode import state as st
from pyengine.ir import sample_math as sm
from pyengine.ir.ops import ELEMENTWISE, EXACT, register
from pyengine.lazy import np

MAX_PARTIALS = 64        # sample_take reduces them in one workgroup of 64
IDS_PER_PARTIAL = 1024

LOW_BITS = 11
BINS = 1 << LOW_BITS
SEL_TOP, SEL_K_BIN, SEL_K_BEFORE, SEL_K_KEY, SEL_K_TIES, SEL_P_BIN, SEL_P_NEED = range(7)
SEL_KEY, SEL_TIES = 8, 9
COUNT, MASS_LOW, MASS_HIGH, K_COUNT, P_COUNT = (16 + BINS * i for i in range(5))
SCRATCH = 16 + 5 * BINS
ALL = 0xFFFFFFFF
NO_SCORE = -3.0e38


def partials(vocab):
    """Workgroups that share the vocabulary, `chunk(vocab)` consecutive ids each."""
    return min(MAX_PARTIALS, -(-vocab // IDS_PER_PARTIAL))


def chunk(vocab):
    """Ids of one workgroup; the last may have fewer, or none."""
    return -(-vocab // partials(vocab))


def _chunks(vocab):
    size = chunk(vocab)
    return [slice(p * size, min((p + 1) * size, vocab)) for p in range(partials(vocab))]


def _infer_picks(words):
    return lambda attrs, logits, *_: [((partials(logits.shape[1]), words), "u32")]


def _infer_nothing(attrs, *_):
    return []


def _float(words, index):
    return words.view(np.float32)[index]


def _bits(value):
    return np.float32(value).view(np.uint32)


def _by_count(state, vocab):
    return 0 < state[st.TOP_K] < vocab


def _best(scores, ids):
    """(score bits, id) of the highest score, first of equals; NO_SCORE and no id of nothing."""
    if not len(ids):
        return _bits(NO_SCORE), st.NO_ID
    index = int(np.argmax(scores))
    return _bits(scores[index]), ids[index]


def _finish_step(token, ring, tokens, state):
    if state[st.STEP] < len(ring):
        ring[state[st.STEP]] = token
    tokens[0] = token
    state[st.POS] += state[st.N]
    state[st.N] = 1
    state[st.STEP] += 1
    if token in state[st.STOP_IDS:st.SOURCE]:
        state[st.STOPPED] = 1


@register("sample_argmax", _infer_picks(2), EXACT)
def sample_argmax(attrs, logits, state):
    """logits (1, V) -> per chunk (logit bits, id) of the largest logit, lowest id of equals; NaN
    counts as -1e30."""
    x = sm.clean(logits[0])
    return (np.array([_best(x[s], np.arange(len(x))[s]) for s in _chunks(len(x))], np.uint32),)


@register("sample_take", _infer_nothing, EXACT, mutates=(1, 2, 3))
def sample_take(attrs, picks, ring, tokens, state):
    """The best pick becomes ring[step] and tokens[0]; pos += n, n = 1, step += 1, stopped if it is
    a stop id."""
    if state[st.STOPPED] == 0:
        picks = np.ascontiguousarray(picks)
        _finish_step(picks[np.argmax(picks.view(np.float32)[:, 0]), 1], ring, tokens, state)
    return ()


def _infer_prepare(attrs, logits, counts, bias, state):
    return [((partials(logits.shape[1]),), "f32"), ((SCRATCH,), "u32")]


@register("sample_prepare", _infer_prepare, ELEMENTWISE, mutates=(0,))
def sample_prepare(attrs, logits, counts, bias, state):
    """logits (1, V) become penalised and biased in place -> each chunk's maximum, zeroed
    scratch."""
    logits[0] = sm.penalise(logits[0], counts, bias, state)
    tops = [logits[0, s].max(initial=np.float32(-sm.LOGIT_LIMIT)) for s in _chunks(logits.shape[1])]
    return np.array(tops, np.float32), np.zeros(SCRATCH, np.uint32)


@register("sample_hist", _infer_nothing, EXACT, mutates=(2,))
def sample_hist(attrs, logits, tops, scratch, state):
    """Scratch gets the maximum and, by the keys' high halves, counts (with top-k) and masses (with
    top-p)."""
    scratch[SEL_TOP] = _bits(tops.max())
    scale = _float(state, st.KEY_SCALE)
    if scale != 0:
        key = sm.keys(logits[0], tops.max(), scale)
        if _by_count(state, logits.shape[1]):
            scratch[COUNT:MASS_LOW] = np.bincount(key >> LOW_BITS, minlength=BINS)
        if state[st.TOP_P_Q32]:
            masses = np.zeros(BINS, np.uint64)
            np.add.at(masses, key >> LOW_BITS, sm.mass(key))
            scratch[MASS_LOW:MASS_HIGH] = masses & 0xFFFFFFFF
            scratch[MASS_HIGH:K_COUNT] = masses >> 32
    return ()


def _find(bins, wanted):
    """First bin where the running sum reaches `wanted`, and the sum before it."""
    sums = np.cumsum(bins, dtype=np.uint64)
    index = int(np.searchsorted(sums, wanted))
    return index, int(sums[index]) - int(bins[index])


def _low_counts(logits, scratch, state, high):
    key = sm.keys(logits[0], _float(scratch, SEL_TOP), _float(state, st.KEY_SCALE))
    return np.bincount(key[key >> LOW_BITS == high] & (BINS - 1), minlength=BINS)


def _low_masses(scratch, at, high):
    """Mass of each low-half bin inside `high`, from its counts at scratch[at:]: equal keys have
    equal mass."""
    return scratch[at:at + BINS].astype(np.uint64) * sm.mass((high << LOW_BITS) + np.arange(BINS))


@register("sample_topk", _infer_nothing, EXACT, mutates=(1,))
def sample_topk(attrs, logits, scratch, state):
    """Scratch gets the bin of high halves where top-k ends, the ids before it, and counts by low
    half inside it."""
    if _float(state, st.KEY_SCALE) != 0 and _by_count(state, logits.shape[1]):
        high, before = _find(scratch[COUNT:MASS_LOW], int(state[st.TOP_K]))
        scratch[[SEL_K_BIN, SEL_K_BEFORE]] = high, before
        scratch[K_COUNT:P_COUNT] = _low_counts(logits, scratch, state, high)
    return ()


@register("sample_topp", _infer_nothing, EXACT, mutates=(1,))
def sample_topp(attrs, logits, scratch, state):
    """Scratch gets top-k's last key and its kept ties; the bin of high halves where top-p, of the
    mass that top-k keeps, ends, the mass wanted from there on, and counts by low half inside it."""
    if _float(state, st.KEY_SCALE) == 0:
        return ()
    masses = scratch[MASS_LOW:MASS_HIGH] + (scratch[MASS_HIGH:K_COUNT].astype(np.uint64) << 32)
    total = int(masses.sum())
    if _by_count(state, logits.shape[1]):
        high, wanted = int(scratch[SEL_K_BIN]), int(state[st.TOP_K]) - int(scratch[SEL_K_BEFORE])
        low, before = _find(scratch[K_COUNT:P_COUNT], wanted)
        ties, key = wanted - before, (high << LOW_BITS) | low
        scratch[[SEL_K_KEY, SEL_K_TIES]] = key, ties
        inside = int(_low_masses(scratch, K_COUNT, high)[:low].sum()) + ties * int(sm.mass(key))
        total = int(masses[:high].sum()) + inside
    if state[st.TOP_P_Q32]:
        wanted = max(1, -(-total * int(state[st.TOP_P_Q32]) >> 32))
        high, before = _find(masses, wanted)
        need = wanted - before
        scratch[[SEL_P_BIN, SEL_P_NEED, SEL_P_NEED + 1]] = high, need & 0xFFFFFFFF, need >> 32
        scratch[P_COUNT:SCRATCH] = _low_counts(logits, scratch, state, high)
    return ()


def _top_p_end(scratch):
    high = int(scratch[SEL_P_BIN])
    need = int(scratch[SEL_P_NEED]) | int(scratch[SEL_P_NEED + 1]) << 32
    low, before = _find(_low_masses(scratch, P_COUNT, high), need)
    key = (high << LOW_BITS) | low
    return key, -(-(need - before) // int(sm.mass(key)))


def _scores(logits, scratch, state):
    """-> keys u32 (V,), scores f32 (V,): `-distance / temperature + noise`, `-distance` at
    temperature 0."""
    x, top, scale = logits[0], _float(scratch, SEL_TOP), _float(state, st.KEY_SCALE)
    key, distance = sm.keys(x, top, scale), sm.distances(x, top)
    if scale == 0:
        return key, -distance
    noise = sm.gumbel(state[st.SEED], state[st.POS] + state[st.N], np.arange(len(x)))
    return key, (noise - distance.astype(np.float64) * scale / st.KEYS_PER_NAT).astype(np.float32)


@register("sample_pick", _infer_picks(5), EXACT, mutates=(1,))
def sample_pick(attrs, logits, scratch, state):
    """Scratch gets the last kept key of all filters and how many of its ids are kept -> per chunk
    (score bits, id) of the best id before that key, the same of all ids at it, and how many those
    are."""
    last = (st.MAX_KEY, ALL)
    if _float(state, st.KEY_SCALE) != 0:
        last = (int(state[st.MIN_P_KEY]), ALL)
        if _by_count(state, logits.shape[1]):
            last = min(last, (int(scratch[SEL_K_KEY]), int(scratch[SEL_K_TIES])))
        if state[st.TOP_P_Q32]:
            last = min(last, _top_p_end(scratch))
    scratch[[SEL_KEY, SEL_TIES]] = last
    key, scores = _scores(logits, scratch, state)
    rows = []
    for s in _chunks(logits.shape[1]):
        ids = np.arange(logits.shape[1])[s]
        groups = [ids[key[s] < last[0]], ids[key[s] == last[0]]]
        rows.append([v for group in groups for v in _best(scores[group], group)] + [len(groups[1])])
    return (np.array(rows, np.uint32),)


@register("sample_finish", _infer_nothing, EXACT, mutates=(3, 4, 5, 6))
def sample_finish(attrs, logits, picks, scratch, ring, tokens, counts, state):
    """The best kept id ends the step as in `sample_take`, and its count grows (saturating at
    65535)."""
    if state[st.STOPPED] == 0:
        key, scores = _scores(logits, scratch, state)
        at_last = np.flatnonzero(key == scratch[SEL_KEY])[:scratch[SEL_TIES]]
        kept = key < scratch[SEL_KEY]
        kept[at_last] = True
        token = int(np.argmax(np.where(kept, scores, np.float32(NO_SCORE))))
        _finish_step(token, ring, tokens, state)
        counts[token] += np.uint32((counts[token] & st.COUNT_MASK) != st.COUNT_MASK)
    return ()
