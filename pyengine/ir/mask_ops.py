"""Masks: a dispatch before the sampling ops, while a grammar is active or a voice model speaks."""
from pyengine.decode import state as st
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


@register("speech_mask", _infer_nothing, EXACT, mutates=(0,))
def speech_mask(attrs, logits, ids, state):
    """logits (1, V), in place, of a model that speaks frames of `groups` codes: whatever may not
    follow the last valid of ids u32 (T,) gets the lowest logit.

    A code of group g has the ids `audio` + g * `codebook` onward. Group g follows group g - 1, the
    first follows `start` and a whole frame, which `end` may follow too; before speech there are
    `opening`, once, and `start`."""
    last, vocab = int(ids[max(int(state[st.N]), 1) - 1]), np.arange(logits.shape[1])
    audio, codebook, groups = (attrs[k] for k in ("audio", "codebook", "groups"))
    spoken = audio <= last < audio + groups * codebook
    if spoken or last == attrs["start"]:
        group = ((last - audio) // codebook + 1) % groups if spoken else 0
        allowed = (vocab - audio) // codebook == group
        allowed = allowed | ((vocab == attrs["end"]) & (spoken and group == 0))
    else:
        allowed = (vocab == attrs["start"]) | ((vocab == attrs["opening"]) & (vocab != last))
    logits[0, ~allowed] = -sm.LOGIT_LIMIT
    return ()
