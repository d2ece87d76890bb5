"""The state buffer's words: the two files that name them agree, and packing puts each value where
kernels read it."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError

WGSL = Path(__file__).resolve().parents[2] / "wgsl" / "common" / "state.wgsl"


def test_wgsl_names_the_same_words():
    words = dict(re.findall(r"const S_(\w+): u32 = (\d+)u;", WGSL.read_text()))
    assert len(words) == 19
    assert {name: getattr(st, name) for name in words} == {
        name: int(value) for name, value in words.items()
    }


def test_every_parameter_has_its_word():
    params = SamplingParams(
        temperature=0.5,
        top_k=40,
        top_p=0.75,
        min_p=0.25,
        repetition_penalty=1.5,
        frequency_penalty=-0.5,
        presence_penalty=2.0,
        seed=0xDEADBEEF,
        logit_bias={3: 1.0},
    )
    data = st.pack_state(pos=7, n=3, params=params, stop_ids=(2, 9))
    assert len(data) == st.NBYTES == 128
    integers, floats = struct.unpack("<32I", data), struct.unpack("<32f", data)
    assert integers[:5] == (7, 3, 0, 0, 0xDEADBEEF)
    assert floats[5] == 0.5 and integers[6] == 40
    assert floats[7:12] == (0.75, 0.25, 1.5, -0.5, 2.0)
    assert integers[12] == st.FLAG_PENALTIES | st.FLAG_BIAS
    assert floats[13] == 2**18
    assert integers[14] == int(np.log(4) * 2**17)
    assert integers[15] == 3 << 30
    assert integers[16:] == (2, 9) + (st.NO_ID,) * 13 + (0,)


def test_off_is_off():
    for params in (None, SamplingParams(temperature=0)):
        words = np.frombuffer(st.pack_state(params=params), np.uint32)
        assert words[st.KEY_SCALE] == 0 and words[st.TOP_K] == 0 and words[st.TOP_P_Q32] == 0
        assert words[st.MIN_P_KEY] == st.MAX_KEY and words[st.FLAGS] == 0


def test_seed_argument_wins():
    words = np.frombuffer(st.pack_state(params=SamplingParams(seed=5), seed=6), np.uint32)
    assert words[st.SEED] == 6


def test_top_p_is_never_rounded_to_off():
    assert st.top_p_q32(1e-300) == 1
    assert st.top_p_q32(1 - 1e-16) == 2**32 - 1
    assert st.top_p_q32(1.0) == 0


def test_stop_ids_beyond_sixteen_are_left_to_the_cpu():
    words = np.frombuffer(st.pack_state(stop_ids=[1, 1, *range(2, 40)], source=83), np.uint32)
    assert words[st.STOP_IDS :].tolist() == [*range(1, 16), 83]


@pytest.mark.parametrize("bad", [-1, 2**32 - 1, True, 1.0, "1"])
def test_bad_stop_ids(bad):
    with pytest.raises(EngineError) as error:
        st.pack_state(stop_ids=[bad])
    assert error.value.code == "E_BAD_REQUEST" and error.value.facts["param"] == "stop_ids"


def test_counts_mark_the_prompt_and_count_the_rest():
    counts = np.frombuffer(st.pack_counts(7, [1, 1, 3], [3, 3, 6]), np.uint32)
    assert counts.tolist() == [0, st.IN_PROMPT, 0, st.IN_PROMPT | 2, 0, 0, 1]
    assert np.frombuffer(st.pack_counts(2, (), [1] * 70000), np.uint32).tolist() == [0, 65535]
    for prompt, generated in (([7], []), ([], [7])):
        with pytest.raises(IndexError):
            st.pack_counts(7, prompt, generated)


def test_bias_is_dense():
    assert np.frombuffer(st.pack_bias(4, ((1, -100.0), (3, 2.5))), np.float32).tolist() == [
        0,
        -100,
        0,
        2.5,
    ]
