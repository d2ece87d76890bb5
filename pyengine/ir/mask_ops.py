"""The grammar's mask: one dispatch before the sampling ops, only while a grammar is active."""
from pyengine.ir import sample_math as sm
from pyengine.ir.ops import EXACT, register
from pyengine.lazy import np


def mask_words(vocab):
    """u32 words of a bit for each id."""
    return -(-vocab // 32)


def _infer_nothing(attrs, *_):
    return []


@register("mask_logits", _infer_nothing, EXACT, mutates=(0,))
def mask_logits(attrs, logits, mask, state):
    """logits (1, V), in place: an id whose bit is 0 (bit i % 32 of word i / 32 of mask u32
    (ceil(V / 32),)) gets the lowest logit, which no penalty or bias makes likely again."""
    bits = np.unpackbits(np.ascontiguousarray(mask).view(np.uint8), bitorder="little")
    logits[0, bits[:logits.shape[1]] == 0] = -sm.LOGIT_LIMIT
    return ()
