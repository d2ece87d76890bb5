"""The grammar's mask on a GPU and its reference: the same logits to the bit, and sampling keeps to it."""

import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.decode.sampling import SamplingParams
from pyengine.ir.mask_ops import mask_words
from tests.checkpoints import device as open_device
from tests.kernels.sample_steps import GREEDY, MASKED, SAMPLED, Gpu, Reference

VOCABS = (1, 7, 83, 769, 49152, 248320)
HARD = {"temperature": 3.0, "repetition_penalty": 0.01, "top_k": 0, "top_p": 0.5, "seed": 3}


@pytest.fixture(scope="module", params=VOCABS)
def machines(request):
    gpu = Gpu(open_device("native").device, request.param)
    yield request.param, (Reference(request.param), gpu)
    gpu.close()


def random_mask(vocab, rng, allowed):
    """Words with at least one bit of an id; bits behind the vocabulary are set, to no effect."""
    bits = np.zeros(32 * mask_words(vocab), bool)
    bits[:vocab] = rng.random(vocab) < allowed
    bits[rng.integers(vocab)] = bits[vocab:] = True
    return np.packbits(bits, bitorder="little").view(np.uint32), bits[:vocab]


@pytest.mark.parametrize("allowed", [0, 0.01, 0.5, 1])
def test_logits(machines, allowed):
    vocab, found = machines
    rng = np.random.default_rng([vocab, int(100 * allowed)])
    words, bits = random_mask(vocab, rng, allowed)
    logits = rng.normal(size=vocab).astype(np.float32)
    state = np.frombuffer(st.pack_state(), np.uint32)
    for machine in found:
        machine.write(logits=logits, mask=words, state=state)
        machine.run(MASKED)
        got = machine.read("logits")[0]
        assert (got[bits] == logits[bits]).all() and (got[~bits] == np.float32(-1e30)).all()


def test_nothing_happens_after_a_stop(machines):
    vocab, found = machines
    state = np.frombuffer(st.pack_state(), np.uint32).copy()
    state[st.STOPPED] = 1
    gpu = found[1]
    logits = np.arange(vocab, dtype=np.float32)
    gpu.write(logits=logits, mask=np.zeros(mask_words(vocab), np.uint32), state=state)
    gpu.run(MASKED)
    assert (gpu.read("logits")[0] == logits).all()


@pytest.mark.parametrize("program", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_only_allowed_ids_are_drawn(machines, program):
    """Whatever penalties and bias the forbidden ones have."""
    vocab, found = machines
    rng = np.random.default_rng(vocab)
    for seed in range(5):
        words, bits = random_mask(vocab, rng, 0.02)
        bias = {int(i): 100.0 for i in np.flatnonzero(~bits)[:40]}
        params = SamplingParams(**{**HARD, "seed": seed}, logit_bias=bias)
        counts = np.frombuffer(st.pack_counts(vocab, range(vocab)), np.uint32)
        buffers = {
            "logits": np.where(bits, 0, 1e4) + rng.normal(size=vocab), "mask": words,
            "state": np.frombuffer(st.pack_state(9, 1, params), np.uint32),
            "counts": counts, "bias": np.frombuffer(st.pack_bias(vocab, bias), np.float32),
        }
        buffers["logits"] = buffers["logits"].astype(np.float32)
        for machine in found:
            machine.write(**buffers)
            machine.run(MASKED + program)
            assert bits[machine.read("tokens")[0]], (vocab, seed, machine)
