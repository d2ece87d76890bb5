"""The numpy oracle of sampling: what one draw must give, by sorting, and how near the decision was.

The GPU never sorts (`pyengine/ir/sample_ops.py`); both keep the same prefix of the (key, id) order.
"""
from dataclasses import dataclass

from pyengine.decode import state as st
from pyengine.ir import sample_math as sm
from pyengine.lazy import np


@dataclass(frozen=True)
class Draw:
    """`id`; `kept`: bool (V,), the ids that the filters keep; `score_margin`: best minus second
    best score among them; `filter_margin`: how far, in nats, the filters' edge would have to move
    to change `id`. Both inf when nothing could."""
    id: int
    kept: object
    score_margin: float
    filter_margin: float

    @property
    def margin(self):
        """Two implementations whose scores differ by less than this agree on `id`."""
        return min(self.score_margin, self.filter_margin)


def draw(logits, params=None, *, position=0, seed=None, counts=None, bias=None):
    """One draw from raw logits (V,) at the position that the new id will take.

    `params` as `SamplingParams` (None: greedy); `counts` u32 (V,) and `bias` f32 (V,) as the GPU's
    buffers (`state.py`); `bias` defaults to the parameters' own. -> `Draw`.
    """
    x = np.asarray(logits, np.float32).reshape(-1)
    counts = np.zeros(len(x), np.uint32) if counts is None else counts
    if bias is None:
        bias = np.frombuffer(st.pack_bias(len(x), params.logit_bias if params else ()), np.float32)
    words = np.frombuffer(st.pack_state(params=params, seed=seed), np.uint32)
    return draw_words(x, words, position, counts, bias)


def draw_words(logits, words, position, counts, bias):
    """As `draw`, with the sampling parameters as state words (32,)."""
    x = sm.penalise(logits, counts, bias, words)
    top, scale = x.max(), words.view(np.float32)[st.KEY_SCALE]
    if scale == 0:
        return _decide(x.astype(np.float64), np.ones(len(x), bool), np.full(len(x), np.inf))
    nats = sm.distances(x, top).astype(np.float64) * scale / st.KEYS_PER_NAT
    kept, slack = _filter(sm.keys(x, top, scale), nats, words)
    return _decide(sm.gumbel(words[st.SEED], position, np.arange(len(x))) - nats, kept, slack)


def _filter(keys, nats, words):
    """-> kept bool (V,), slack f64 (V,): how many nats each id is from changing sides at the
    filters' edges.

    Per filter an id has a signed distance, positive inside; their minimum is its own: the nearest
    edge of a kept id, the last obstacle of a dropped one.
    """
    order = np.lexsort((np.arange(len(keys)), keys))
    length, top_k, limit = len(keys), int(words[st.TOP_K]), int(words[st.TOP_P_Q32])
    signed = np.full(len(keys), np.inf)
    if 0 < top_k < length:
        length = top_k
        signed = _signed(order, length, _edge_distance(order, nats, length))
    if limit:
        before, target = _mass_before(keys[order], length, limit)
        length = int(np.searchsorted(before[:length], target))      # ids with before < target
        by_mass = np.empty(len(keys))
        with np.errstate(divide="ignore"):
            by_mass[order] = np.abs(np.log(before / target))
        distance = np.minimum(by_mass, _edge_distance(order, nats, length))
        signed = np.minimum(signed, _signed(order, length, distance))
    kept = np.zeros(len(keys), bool)
    kept[order[:length]] = True
    if words[st.MIN_P_KEY] < st.MAX_KEY:
        inside = keys <= words[st.MIN_P_KEY]
        distance = np.abs((int(words[st.MIN_P_KEY]) + 1) / st.KEYS_PER_NAT - nats)
        signed = np.minimum(signed, np.where(inside, distance, -distance))
        kept &= inside
    return kept, np.abs(signed)


def _mass_before(sorted_keys, length, limit):
    """Mass in front of each place of the sorted order, and the mass that top-p wants of the first
    `length`."""
    total = np.cumsum(sm.mass(sorted_keys), dtype=np.uint64)
    before = np.concatenate([[0], total[:-1]]).astype(np.float64)
    target = max(1, -(-int(total[length - 1]) * limit >> 32))
    return before, target


def _signed(order, length, distance):
    inside = np.zeros(len(order), bool)
    inside[order[:length]] = True
    return np.where(inside, distance, -distance)


def _edge_distance(order, nats, length):
    """Nats from each kept id to the first dropped one and from each dropped id to the last kept
    one, for the prefix `length` of `order`. Ids of one logit keep their order on every device:
    across such a tie the next other logit counts."""
    if length == len(order):
        return np.full(len(order), np.inf)
    inside = np.zeros(len(order), bool)
    inside[order[:length]] = True
    distance = np.abs(nats - np.where(inside, nats[order[length]], nats[order[length - 1]]))
    others = np.abs(nats - nats[order[length]])
    others = others[others > 0]
    return np.where(distance > 0, distance, others.min() if len(others) else np.inf)


def _decide(scores, kept, slack):
    ranked = np.where(kept, scores, -np.inf)
    best = int(np.argmax(ranked))
    second = np.delete(ranked, best).max(initial=-np.inf)
    rivals = slack[~kept & (scores > ranked[best])]
    filter_margin = min(slack[best], rivals.min(initial=np.inf))
    return Draw(best, kept, float(ranked[best] - second), float(filter_margin))
