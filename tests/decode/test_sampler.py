"""The numpy oracle against probabilities worked out by hand, and the arithmetic it stands on."""

import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.decode.sampler import draw
from pyengine.decode.sampling import SamplingParams
from pyengine.ir import sample_math as sm

LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.25, 0.2], np.float32))  # already probabilities
EVEN = np.zeros(4, np.float32)


def params(**kwargs):
    return SamplingParams(**{"seed": 1, **kwargs})


def kept(logits, **kwargs):
    return np.flatnonzero(draw(logits, params(**kwargs)).kept).tolist()


def frequencies(draws, **kwargs):
    """How often each id comes out over `draws` positions of one seed."""
    p = params(**kwargs)
    return np.bincount(
        [draw(LOGITS, p, position=i).id for i in range(draws)], minlength=len(LOGITS)
    )


def chi_square(counts, probabilities):
    live = probabilities > 0
    assert counts[~live].sum() == 0
    expected = counts.sum() * probabilities[live]
    return float(((counts[live] - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    "kwargs, probabilities",
    [
        ({}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"temperature": 0.5}, np.array([0.0025, 0.16, 0.01, 0.0625, 0.04]) / 0.275),
        ({"top_k": 2}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_p": 0.8}, [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]),
        ({"min_p": 0.2}, np.array([0, 0.4, 0.1, 0.25, 0.2]) / 0.95),
    ],
)
def test_distribution(kwargs, probabilities):
    counts = frequencies(20_000, **kwargs)
    # 4 degrees of freedom: 99.99% of fair samplers stay under 23.5
    assert chi_square(counts, np.array(probabilities)) < 23.5, counts


def test_distribution_over_seeds():
    counts = np.bincount([draw(LOGITS, params(), seed=s).id for s in range(20_000)], minlength=5)
    assert chi_square(counts, np.array([0.05, 0.4, 0.1, 0.25, 0.2])) < 23.5, counts


@pytest.mark.parametrize(
    "kwargs, wanted",
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [1, 3, 4]),
        ({"top_k": 5}, [0, 1, 2, 3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.1}, [1]),
        ({"top_p": 0.39}, [1]),
        ({"top_p": 0.41}, [1, 3]),
        ({"top_p": 0.84}, [1, 3, 4]),
        ({"top_p": 0.96}, [0, 1, 2, 3, 4]),
        ({"top_p": 1e-12}, [1]),
        ({"min_p": 0.26}, [1, 3, 4]),
        ({"min_p": 0.24}, [1, 2, 3, 4]),
        ({"min_p": 1}, [1]),
        # top-p is of the mass that top-k kept: 0.4 / 0.65 = 0.615
        ({"top_k": 2, "top_p": 0.6}, [1]),
        ({"top_k": 2, "top_p": 0.63}, [1, 3]),
        # at temperature 1/2 the odds are squared: 0.58, 0.227, 0.145, 0.036, 0.009
        ({"temperature": 0.5, "top_p": 0.79}, [1, 3]),
        ({"temperature": 0.5, "min_p": 0.2}, [1, 3, 4]),
    ],
)
def test_filters_by_hand(kwargs, wanted):
    assert kept(LOGITS, **kwargs) == wanted


@pytest.mark.parametrize(
    "kwargs, wanted",
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_p": 0.5}, [0, 1]),
        ({"top_p": 0.51}, [0, 1, 2]),
        ({"min_p": 1}, [0, 1, 2, 3]),
    ],
)
def test_ties_keep_the_lowest_ids(kwargs, wanted):
    assert kept(EVEN, **kwargs) == wanted


def test_greedy():
    assert draw(LOGITS).id == draw(LOGITS, params(temperature=0)).id == 1
    assert draw(np.array([1, 3, 3, 2], np.float32)).id == 1
    assert draw(np.array([np.nan, -np.inf, -1e30, 0.0], np.float32)).id == 3
    assert draw(np.full(3, -np.inf, np.float32)).id == 0
    assert draw(np.array([1, 2.5, 2], np.float32)).score_margin == 0.5


def test_masked_ids_never_come():
    logits = np.array([-np.inf, 0, -1e30, np.nan, 0.5], np.float32)
    assert {draw(logits, params(temperature=100), position=i).id for i in range(200)} == {1, 4}


def test_penalties_by_hand():
    logits = np.array([2, -2, 2, 1, 0], np.float32)
    counts = np.frombuffer(st.pack_counts(5, [0, 1], [2, 2, 3]), np.uint32)
    words = np.frombuffer(
        st.pack_state(
            params=params(
                repetition_penalty=2,
                frequency_penalty=0.5,
                presence_penalty=0.25,
                logit_bias={4: 3},
            )
        ),
        np.uint32,
    )
    bias = np.frombuffer(st.pack_bias(5, {4: 3}), np.float32)
    # repetition on all four, frequency and presence on what was generated, then the bias
    assert sm.penalise(logits, counts, bias, words).tolist() == [
        1,
        -4,
        1 - 1 - 0.25,
        0.5 - 0.5 - 0.25,
        3,
    ]


def test_bias_moves_the_choice():
    assert draw(LOGITS, params(temperature=0, logit_bias={1: -100})).id == 3
    assert draw(LOGITS, params(temperature=0, logit_bias={0: 100})).id == 0


def test_seed_and_position_decide():
    logits = np.zeros(1000, np.float32)
    ids = [[draw(logits, params(), seed=s, position=p).id for p in range(20)] for s in (1, 1, 2)]
    assert ids[0] == ids[1] and len(set(ids[0])) > 15
    assert sum(a == b for a, b in zip(ids[0], ids[2], strict=True)) < 3


class TestMargin:
    def test_score(self):
        result = draw(LOGITS, params(seed=3), position=2)
        scores = LOGITS.astype(np.float64) + sm.gumbel(3, 2, np.arange(5))
        first, second = np.sort(scores)[::-1][:2]
        assert result.id == scores.argmax()
        assert (
            result.score_margin == pytest.approx(first - second, abs=1e-5)
            and result.filter_margin == np.inf
        )

    def test_no_rival(self):
        result = draw(LOGITS, params(top_k=1))
        assert result.score_margin == np.inf
        assert result.filter_margin == pytest.approx(np.log(0.4 / 0.25), abs=1e-5)

    def test_top_k_near_tie(self):
        result = draw(np.array([1, 1.001, 0], np.float32), params(top_k=1))
        assert result.id == 1 and result.filter_margin == pytest.approx(1e-3, rel=1e-3)

    def test_exact_tie_is_no_near_tie(self):
        assert draw(EVEN, params(top_k=2)).filter_margin == np.inf

    def test_top_p_edge_counts_where_it_matters(self):
        near = draw(LOGITS, params(top_p=0.4 + 1e-4, seed=0), position=0)
        for position in range(40):
            result = draw(LOGITS, params(top_p=0.4 - 1e-4), position=position)
            rival = LOGITS[3] + sm.gumbel(1, position, 3) > LOGITS[1] + sm.gumbel(1, position, 1)
            assert (result.filter_margin < 1e-3) == rival
        assert near.kept.sum() == 2

    def test_min_p_edge(self):
        result = draw(LOGITS, params(min_p=0.624, top_k=2))
        margins = [draw(LOGITS, params(min_p=0.624, top_k=2), position=i) for i in range(40)]
        assert result.kept.tolist() == [False, True, False, True, False]
        # logit 3 is ln(0.625 / 0.624) inside the edge: it matters whenever it is chosen
        assert all((m.filter_margin < 2e-3) == (m.id == 3) for m in margins)


def test_mass_is_a_rounded_exponential():
    keys = np.arange(0, st.MAX_KEY + 1, 97)
    exact = np.exp(-keys / 2**17) * 2**30
    got = sm.mass(keys).astype(np.float64)
    assert got[0] == 2**30 and np.abs(got - exact).max() < 16
    assert np.abs(got - exact)[exact < 1e6].max() < 0.55
    assert sm.mass(sm.MASS_END - 1) == 1 and sm.mass(sm.MASS_END) == 0


def test_keys():
    x = np.array([5, 5 - 2**-18, 4, -26.5, -28, -1e30], np.float32)
    assert sm.keys(x, np.float32(5), st.key_scale(1)).tolist() == [
        0,
        0,
        2**17,
        2**22 - 2**16,
        2**22 - 1,
        2**22 - 1,
    ]
    assert sm.keys(x, np.float32(5), st.key_scale(2))[2] == 2**16


def test_noise_is_gumbel():
    noise = sm.gumbel(123, 456, np.arange(1 << 20))
    assert np.isfinite(noise).all() and noise.max() < 23
    for x in (-1.5, -0.5, 0.0, 1.0, 3.0, 6.0):
        expected = np.exp(-np.exp(-x))
        assert np.mean(noise < x) == pytest.approx(
            expected, abs=5 * np.sqrt(expected * (1 - expected) / 2**20)
        )


@pytest.mark.parametrize("which", ["seed", "position", "id"])
def test_noise_avalanche(which):
    """Flipping any input bit flips each output bit half of the time."""
    rng = np.random.default_rng(7)
    seed, position = (int(v) for v in rng.integers(2**32, size=2, dtype=np.uint64))
    ids = rng.integers(2**20, size=4096, dtype=np.uint32)
    base = sm.noise_hash(seed, position, ids)
    for bit in range(18):
        flip = 1 << bit
        other = sm.noise_hash(
            seed ^ flip if which == "seed" else seed,
            position ^ flip if which == "position" else position,
            ids ^ np.uint32(flip) if which == "id" else ids,
        )
        changed = np.unpackbits((base ^ other).view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
        assert np.abs(changed - 0.5).max() < 0.05, (bit, changed)


def test_no_id_is_favoured_at_every_position():
    ids = np.arange(64)
    for seed in range(64):
        hashes = (
            np.stack([sm.noise_hash(seed, p, ids) for p in range(64)]).astype(np.float64) / 2**32
        )
        assert (
            np.abs(hashes.mean(axis=0) - 0.5).max() < 0.2
            and np.abs(hashes.mean(axis=1) - 0.5).max() < 0.2
        )


def test_noise_of_neighbours_is_independent():
    ids = np.arange(1 << 16)
    rows = [
        sm.noise_hash(s, p, ids).astype(np.float64)
        for s, p in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    ]
    rows += [np.roll(rows[0], 1)]
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / 256
