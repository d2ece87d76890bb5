"""The sampling kernels on a GPU and their op references, both against the sorting oracle; and on
both WGSL front ends."""

import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.decode.sampler import draw
from pyengine.decode.sampling import SamplingParams
from pyengine.ir import sample_ops
from pyengine.ir.logprob_ops import KEEP
from pyengine.kernels import sample
from pyengine.kernels.source import wgsl
from pyengine.kernels.spec import Launch
from tests.kernels import tint
from tests.kernels.sample_steps import (
    CASES,
    GREEDY,
    KINDS,
    NEAR_TIE,
    RING,
    SAMPLED,
    Gpu,
    Reference,
    check_step,
    inputs,
)

VOCABS = (1, 7, 83, 769, 49152, 248320)
SCORE_ERROR = 2e-5  # of f32 scores above -30 nats; WGSL's log is 3 ulp of at most 23, or 2^-21


@pytest.fixture(scope="module")
def device():
    wgpu = pytest.importorskip("wgpu")
    try:
        device = wgpu.gpu.request_adapter_sync().request_device_sync()
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no native GPU adapter: {error}")
    yield device
    device.destroy()


@pytest.fixture(scope="module", params=VOCABS)
def machines(request, device):
    """(vocab, the references, the GPU); scratch starts as garbage, since a replay must not depend
    on it."""
    gpu, reference = Gpu(device, request.param), Reference(request.param)
    garbage = np.full(sample_ops.SCRATCH, 0xABCDEF01, np.uint32)
    gpu.write(scratch=garbage)
    reference.write(scratch=garbage)
    yield request.param, reference, gpu
    gpu.close()


def compare_scores(want, got):
    """Score columns of two `picks`, where they agree on the id."""
    for column in (0, 2):
        same = want[:, column + 1] == got[:, column + 1]
        a, b = (np.ascontiguousarray(p[:, column]).view(np.float32)[same] for p in (want, got))
        live = a > -30
        assert (np.abs(a - b)[live] < SCORE_ERROR).all(), np.abs(a - b)[live].max()


@pytest.mark.parametrize("kind", KINDS)
def test_draws(machines, kind):
    vocab, reference, gpu = machines
    rng = np.random.default_rng([vocab, KINDS.index(kind)])
    decided = 0
    cases = CASES if vocab < 100_000 else CASES[KINDS.index(kind) :: 3]
    for case in cases:
        buffers, params, want = inputs(kind, case, vocab, rng)
        programs = (SAMPLED,) if params.needs_sampler else (GREEDY, SAMPLED)
        for program in programs:
            tokens = [check_step(machine, program, buffers, want) for machine in (reference, gpu)]
            if program is SAMPLED:
                if not params.has_penalties:
                    # keys, masses and sums are exact on every device
                    assert (reference.read("scratch") == gpu.read("scratch")).all(), case
                compare_scores(reference.read("picks5"), gpu.read("picks5"))
                grown = buffers["counts"].copy()
                grown[tokens[1]] += 1
                assert (gpu.read("counts") == grown).all()
        decided += want.margin > NEAR_TIE
    assert decided >= (0 if kind in ("even", "steps") else 0.7 * len(cases)), (
        "too few cases test anything"
    )


def test_replay_starts_clean(machines):
    vocab, _, gpu = machines
    rng = np.random.default_rng(vocab)
    buffers, _, _ = inputs("normal", CASES[9], vocab, rng)
    other, _, _ = inputs("steps", CASES[8], vocab, rng)
    seen = []
    for run in (buffers, other, buffers):
        gpu.write(**run)
        gpu.run(SAMPLED)
        seen.append(
            [
                gpu.read(name).tobytes()
                for name in ("scratch", "logits", "tokens", "state", "counts")
            ]
        )
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize("program", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_bursts_walk_positions_and_stop(machines, program):
    """Steps of one submit give what single steps give; after a stop id nothing moves."""
    vocab, reference, gpu = machines
    logits = np.zeros(vocab, np.float32)
    params = SamplingParams(seed=9) if program is SAMPLED else None
    wanted = [draw(logits, params, position=10 + i).id for i in range(5)]
    stop = wanted[3]
    length = wanted.index(stop) + 1
    for machine in (reference, gpu):
        machine.write(
            logits=logits,
            counts=np.zeros(vocab, np.uint32),
            bias=logits,
            ring=np.full(RING, 77, np.uint32),
            state=np.frombuffer(st.pack_state(7, 3, params, stop_ids=[vocab, stop]), np.uint32),
        )
        for _ in range(5):
            if (
                machine is gpu or machine.read("state")[st.STOPPED] == 0
            ):  # the interpreter skips stopped programs
                machine.run(program)
        state, ring = machine.read("state"), machine.read("ring")
        assert ring.tolist() == wanted[:length] + [77] * (RING - length)
        assert state[:4].tolist() == [10 + length - 1, 1, 1, length]
        if program is SAMPLED:
            assert machine.read("counts").sum() == length


def test_a_full_ring_drops_ids_and_counts_saturate(device):
    gpu, vocab = Gpu(device, 7), 7
    logits = np.array([0, 0, 9, 0, 0, 0, 0], np.float32)
    state = np.frombuffer(st.pack_state(params=SamplingParams(temperature=0)), np.uint32).copy()
    state[st.STEP] = RING
    gpu.write(
        logits=logits,
        state=state,
        ring=np.zeros(RING, np.uint32),
        bias=np.zeros(vocab, np.float32),
        counts=np.full(vocab, st.IN_PROMPT | 0xFFFF, np.uint32),
    )
    gpu.run(SAMPLED)
    assert (
        not gpu.read("ring").any()
        and gpu.read("tokens")[0] == 2
        and gpu.read("state")[st.STEP] == RING + 1
    )
    assert (gpu.read("counts") == st.IN_PROMPT | 0xFFFF).all()
    gpu.close()


def shaders():
    """Every sampling shader at every vocabulary size, with the constants that `launch` would
    give."""
    found = {}
    for vocab in VOCABS:
        constants = {
            "VOCAB": vocab,
            "PARTIALS": sample_ops.partials(vocab),
            "RING": RING,
            "SCRATCH": sample_ops.SCRATCH,
            "KEEP": KEEP,
        }
        for spec in sample.SPECS:
            found[f"{spec.op} {vocab}"] = wgsl(spec.stem, Launch({}, constants, (1, 1, 1)))
    return found


def test_tint_compiles_all():
    assert tint.errors(shaders()) == {}


def test_tint_check_sees_errors():
    broken = shaders()["sample_take 83"].replace(
        "workgroupUniformLoad(&stopped)", "state[S_STOPPED]"
    )
    assert "uniform control flow" in str(tint.errors({"early return before a barrier": broken}))


def test_chunks_cover_the_vocabulary():
    for vocab in (*VOCABS, 1023, 1024, 1025, 65537, 1 << 18):
        covered = np.concatenate([np.arange(vocab)[s] for s in sample_ops._chunks(vocab)])
        assert (covered == np.arange(vocab)).all() and 1 <= sample_ops.partials(
            vocab
        ) <= sample_ops.MAX_PARTIALS
