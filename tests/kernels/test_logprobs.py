"""The log probability kernels on a GPU and their references, both against a plain log-softmax."""

import numpy as np
import pytest

from pyengine.decode import logprobs
from pyengine.decode import state as st
from pyengine.device.native import NativeDevice
from pyengine.ir import sample_math as sm
from pyengine.decode.logprobs import ENTRY, KEEP
from tests.checkpoints import device as open_device
from tests.kernels.sample_steps import LOGPROBS, RING, Gpu, Reference, logits_of

ERROR = 2e-5  # f32 logits of up to some ten, and a sum of exponentials in another order


@pytest.fixture(scope="module", params=(1, 7, 83, 769, 49152))
def machines(request):
    native = open_device("native")
    assert isinstance(native, NativeDevice)
    gpu = Gpu(native.device, request.param)
    yield request.param, (Reference(request.param), gpu)
    gpu.close()


def expected(logits):
    """(ids in order, log probability of every id) in double precision."""
    x = sm.clean(logits).astype(np.float64)
    logs = x - x.max() - np.log(np.exp(x - x.max()).sum())
    return np.lexsort((np.arange(len(x)), -x))[:KEEP], logs


def run(machine, logits, step=0, stopped=0):
    state = np.frombuffer(st.pack_state(5, 1), np.uint32).copy()
    state[[st.STEP, st.STOPPED]] = step, stopped
    machine.write(logits=logits, state=state)
    machine.run(LOGPROBS)
    return machine.read("log_ring")


@pytest.mark.parametrize("kind", ["normal", "even", "steps", "masked"])
def test_entries(machines, kind):
    vocab, found = machines
    logits = logits_of(kind, vocab, np.random.default_rng(vocab))
    order, logs = expected(logits)
    for machine in found:
        ring = run(machine, logits, step=3)
        entry, = logprobs.unpack(ring[3].tobytes(), 1, KEEP)
        assert entry.id == order[0] == machine.read("tokens")[0]
        assert [i for i, _ in entry.top] == list(order)
        assert np.allclose([value for _, value in entry.top], logs[order], atol=ERROR, rtol=ERROR)
        assert abs(entry.logprob - logs[order[0]]) < ERROR
        assert machine.read("raw").tobytes() == sm.clean(logits).tobytes()


def test_only_the_step_s_entry_is_written(machines):
    _, found = machines
    for machine in found:
        machine.write(log_ring=np.full((RING, ENTRY), 7, np.uint32))
        ring = run(machine, np.zeros(machines[0], np.float32), step=2)
        assert (ring[[0, 1, *range(3, RING)]] == 7).all() and (ring[2] != 7).any()
        machine.write(log_ring=np.full((RING, ENTRY), 7, np.uint32))
        assert (run(machine, np.zeros(machines[0], np.float32), step=RING) == 7).all()


def test_fewer_are_told_than_kept():
    words = np.zeros((2, ENTRY), np.uint32)
    words[:, 2::2] = np.arange(KEEP)
    assert [len(e.top) for top in (0, 3, KEEP) for e in logprobs.unpack(words.tobytes(), 2, top)] \
        == [0, 0, 3, 3, KEEP, KEEP]
    words[:, 4::2] = st.NO_ID
    assert logprobs.unpack(words.tobytes(), 1, 5)[0].top == ((0, 0.0),)
