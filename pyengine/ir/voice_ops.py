"""Ops of a voice model whose positions count by frame and whose speakers are vectors (Kani-TTS 2),
with numpy references."""
from pyengine.decode import state as st
from pyengine.ir.codec_ops import lanes
from pyengine.ir.ops import EXACT, REDUCTION, _want, register, valid_rows
from pyengine.lazy import np


@register("frame_start", lambda attrs, ids, state: [], EXACT, mutates=(1,))
def frame_start(attrs, ids, state):
    """SOURCE of the state becomes the position behind the last text token of ids u32 (T,): where
    frames begin. Text is what lies below the first `audio` token; without any it stays."""
    n = valid_rows(state, len(ids))
    text = np.flatnonzero(ids[:n] < attrs["audio"])
    if len(text):
        state[st.SOURCE] = state[st.POS] + text[-1] + 1
    return ()


def _infer_speaker(attrs, x, ids, speaker, weight, state):
    _want(weight.shape == (x.shape[1], lanes(speaker.shape[1])) and speaker.shape[0] == 1
          and ids.shape == (x.shape[0],),
          f"speaker_rows: x {x.shape}, speaker {speaker.shape}, weight {weight.shape}")
    return []


@register("speaker_rows", _infer_speaker, REDUCTION, mutates=(0,))
def speaker_rows(attrs, x, ids, speaker, weight, state):
    """Rows of x (T, H) whose id is `token` become weight (H, D) times the speaker's vector
    (1, D); weight's rows are padded to a multiple of 4."""
    n = valid_rows(state, len(x))
    x[:n][ids[:n] == attrs["token"]] = weight[:, :speaker.shape[1]] @ speaker[0]
    return ()
