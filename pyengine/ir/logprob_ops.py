"""Log probabilities on request: `logprob_top` runs before the sampling ops, which change the logits
in place, `logprob_take` after them. They are of the model's own logits, before penalties, bias and
temperature.
"""
from pyengine.decode import state as st
from pyengine.decode.logprobs import KEEP
from pyengine.ir import sample_math as sm
from pyengine.ir.ops import ELEMENTWISE, register
from pyengine.ir.sample_ops import NO_SCORE, chunk, partials
from pyengine.lazy import np


def _infer_nothing(attrs, *_):
    return []


def _bits(values):
    return np.asarray(values, np.float32).view(np.uint32)


def _ranked(x, ids):
    """The KEEP best of (logit, id), lowest id of equals, padded with NO_SCORE and no id."""
    order = np.lexsort((ids, -x))[:KEEP]
    spare = KEEP - len(order)
    return (np.append(x[order], np.full(spare, np.float32(NO_SCORE))),
            np.append(ids[order], np.full(spare, st.NO_ID, np.uint32)))


@register("logprob_top", _infer_nothing, ELEMENTWISE, mutates=(1, 2))
def logprob_top(attrs, logits, raw, tops, state):
    """logits (1, V) -> a cleaned copy in raw; per chunk in tops (P, ENTRY) the highest logit, the
    sum of exp(logit - highest), then (logit bits, id) of its KEEP best."""
    raw[0] = sm.clean(logits[0])
    size = chunk(raw.shape[1])
    for p in range(partials(raw.shape[1])):
        x = raw[0, p * size:(p + 1) * size]
        best, ids = _ranked(x, np.arange(p * size, p * size + len(x), dtype=np.uint32))
        tops[p, 0] = _bits(best[0])
        tops[p, 1] = _bits(np.exp(x.astype(np.float64) - best[0]).sum())
        tops[p, 2::2], tops[p, 3::2] = _bits(best), ids
    return ()


@register("logprob_take", _infer_nothing, ELEMENTWISE, mutates=(3,), always=True)
def logprob_take(attrs, raw, tops, tokens, log_ring, state):
    """The entry of the step that just ended: its id and log probability, and the KEEP likeliest."""
    step = int(state[st.STEP])
    if not 0 < step <= len(log_ring):
        return ()
    floats = np.ascontiguousarray(tops).view(np.float32)
    highest = floats[:, 0].max()
    total = (floats[:, 1] * np.exp(floats[:, 0].astype(np.float64) - highest)).sum()
    real = tops[:, 3::2] != st.NO_ID
    best, ids = _ranked(floats[:, 2::2][real], tops[:, 3::2][real])
    entry = log_ring[step - 1]
    entry[0], entry[1] = tokens[0], _bits(raw[0, tokens[0]] - highest - np.log(total))
    entry[2::2], entry[3::2] = ids, _bits(best - highest - np.log(total))
    return ()
