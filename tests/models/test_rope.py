"""YaRN's frequencies and attention factor, as its reference computes them (transformers'
_compute_yarn_parameters), on paper and through a model."""
import numpy as np
import pytest

from pyengine.models.blocks.rope import RopeTables
from tests.checkpoints import checkpoint, config, logits, reference_logits, tensors

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def yarn(d, theta, p):
    """The reference's vectors: a mask of what is extrapolated, over both kinds of frequencies."""
    base, original = theta ** (np.arange(0, d, 2) / d), p["original_max_position_embeddings"]

    def dim_of(turns):
        return d * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(theta))

    low = max(np.floor(dim_of(p.get("beta_fast", 32))), 0)
    high = min(np.ceil(dim_of(p.get("beta_slow", 1))), d - 1)
    mask = 1 - np.clip((np.arange(d // 2) - low) / max(high - low, 0.001), 0, 1)
    return (1 / (p["factor"] * base)) * (1 - mask) + (1 / base) * mask


@pytest.mark.parametrize("changes", [
    {}, {"beta_fast": 8, "beta_slow": 2}, {"factor": 1.0}, {"original_max_position_embeddings": 32768},
])
def test_yarn_frequencies(changes):
    p = {**YARN, **changes}
    found = RopeTables(64, {"rope_theta": 10000.0, **p})
    assert np.allclose(found.frequencies, yarn(64, 10000.0, p), rtol=1e-12)
    assert found.size == pytest.approx(0.1 * np.log(p["factor"]) + 1)


@pytest.mark.parametrize("given, size", [
    ({"attention_factor": 1.25}, 1.25),
    ({"mscale": 0.707, "mscale_all_dim": 1.0}, (0.0707 * np.log(4) + 1) / (0.1 * np.log(4) + 1)),
])
def test_yarn_attention_factors(given, size):
    assert RopeTables(16, {"rope_theta": 1e4, **YARN, **given}).size == pytest.approx(size)


def test_yarn_in_a_model():
    """Rotated q and k are longer by the factor: the scores by its square."""
    c = config(rope_scaling=YARN)
    w, ids = tensors(c), 12 * [3, 82, 0, 7, 7, 41, 19]
    size = 0.1 * np.log(4) + 1
    longer = {name: a * np.float32(size) if "q_proj" in name or "k_proj" in name else a
              for name, a in w.items()}
    found = logits(checkpoint(c, w), ids)
    want = reference_logits(c, longer, ids, yarn(16, c["rope_theta"], YARN))
    assert np.abs(found - want).max() < 1e-4
