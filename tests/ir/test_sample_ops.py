"""The sampling ops' references, step by step, against the sorting oracle; no GPU needed
(tests/kernels has the kernels)."""

import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.ir import sample_ops as so
from pyengine.ir.ops import OPS
from pyengine.ir.sample_math import keys
from tests.kernels.sample_steps import (
    CASES,
    GREEDY,
    KINDS,
    SAMPLED,
    Reference,
    check_step,
    dtype,
    inputs,
    shapes,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocab", [1, 7, 83, 769, 5125])
def test_draws(vocab, kind):
    machine = Reference(vocab)
    rng = np.random.default_rng([vocab, KINDS.index(kind), 1])
    for case in CASES:
        buffers, params, want = inputs(kind, case, vocab, rng)
        check_step(machine, SAMPLED, buffers, want)
        if params.needs_sampler:
            assert kept_ids(machine) == np.flatnonzero(want.kept).tolist(), case
        else:
            check_step(machine, GREEDY, buffers, want)


def kept_ids(machine):
    """What the last key and its ties in scratch keep."""
    scratch, state, logits = (machine.read(n) for n in ("scratch", "state", "logits"))
    key = keys(
        logits[0], scratch.view(np.float32)[so.SEL_TOP], state.view(np.float32)[st.KEY_SCALE]
    )
    tied = np.flatnonzero(key == scratch[so.SEL_KEY])[: scratch[so.SEL_TIES]]
    return sorted([*np.flatnonzero(key < scratch[so.SEL_KEY]), *tied])


def test_histograms_by_hand():
    """Probabilities 1/2, 1/4, 1/4 (ids 1, 0, 2): top-k 2 keeps 3/4, half of which is in front of id
    0."""
    machine = Reference(3)
    logits = np.array([0, np.log(2), 0], np.float32)
    words = np.zeros(st.WORDS, np.uint32)
    words.view(np.float32)[st.KEY_SCALE] = 2**17
    words[[st.TOP_K, st.TOP_P_Q32, st.MIN_P_KEY, st.N]] = 2, 3 << 30, st.MAX_KEY, 1
    machine.write(
        logits=logits, counts=np.zeros(3, np.uint32), bias=np.zeros(3, np.float32), state=words
    )
    machine.run(SAMPLED[:5])
    scratch = machine.read("scratch").astype(np.int64)
    key = int(np.float32(np.log(2)) * 2**17)
    high, low = key >> so.LOW_BITS, key & (so.BINS - 1)
    assert scratch[[so.COUNT, so.COUNT + high]].tolist() == [1, 2]
    assert scratch[so.MASS_LOW] == 2**30 and abs(scratch[so.MASS_LOW + high] - 2**30) < 2**14
    assert scratch[[so.SEL_K_BIN, so.SEL_K_BEFORE, so.SEL_K_KEY, so.SEL_K_TIES]].tolist() == [
        high,
        1,
        key,
        1,
    ]
    assert scratch[so.K_COUNT + low] == 2
    # top-p 3/4 of 3/4 is 9/16: 1/16 more than id 1 has
    assert scratch[so.SEL_P_BIN] == high and abs(scratch[so.SEL_P_NEED] - 2**30 / 8) < 2**14
    assert scratch[[so.SEL_KEY, so.SEL_TIES]].tolist() == [key, 1]
    assert machine.read("picks5")[0, [1, 3, 4]].tolist() == [1, machine.read("picks5")[0, 3], 2]


def test_infer_gives_the_shapes_that_references_return():
    for vocab in (1, 769, 49152, 248320):
        values = {
            name: type("V", (), {"shape": shape, "dtype": np.dtype(dtype(name)).name})
            for name, shape in shapes(vocab).items()
        }
        for op, names, outputs in GREEDY + SAMPLED:
            got = OPS[op].infer({}, *[values[n] for n in names])
            want = [(values[n].shape, "f32" if dtype(n) is np.float32 else "u32") for n in outputs]
            assert list(got) == want, op
