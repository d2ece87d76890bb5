"""Gemma 1 against formulas in f64: the test of the family that docs/new-family.md adds."""
import numpy as np
import pytest

from pyengine.compile import compile_model
from tests.checkpoints import checkpoint, close, config, engine, first_logits, generated
from tests.checkpoints import refused, tensors

IDS = 5 * [3, 82, 0, 7, 7, 41, 19]
GEMMA = {"model_type": "gemma", "hidden_act": None, "hidden_activation": "gelu_pytorch_tanh",
         "num_key_value_heads": 1, "head_dim": 24, "tie_word_embeddings": None}


def gemma(**changes):
    return config(**{**GEMMA, **changes})


def weights(c):
    """Random, gains less 1 as the family stores them."""
    return {name: array - 1 if array.ndim == 1 else array
            for name, array in tensors({"tie_word_embeddings": True, **c}).items()}


def reference(c, w, ids):
    """Logits after `ids`, straight from the paper's formulas."""
    w = {name: array.astype(np.float64) for name, array in w.items()}
    d, heads, n = c["head_dim"], c["num_attention_heads"], len(ids)
    angles = np.arange(n)[:, None] * c["rope_theta"] ** (-np.arange(0, d, 2) / d)
    turn = np.exp(1j * angles)[:, None]

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * (1 + w[name])

    def rotated(x):
        z = (x[..., :d // 2] + 1j * x[..., d // 2:]) * turn
        return np.concatenate([z.real, z.imag], -1)

    x = w["model.embed_tokens.weight"][ids] * c["hidden_size"] ** 0.5
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        h = norm(x, layer + "input_layernorm.weight")
        q, k, v = ((h @ w[f"{layer}self_attn.{p}_proj.weight"].T).reshape(n, -1, d) for p in "qkv")
        q, k = rotated(q), rotated(k)[:, 0]  # one key and value head
        scores = np.einsum("ihd,jd->hij", q, k) / np.sqrt(d)
        scores[:, ~np.tril(np.ones((n, n), bool))] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        h = np.einsum("hij,jd->ihd", p / p.sum(-1, keepdims=True), v[:, 0]).reshape(n, heads * d)
        x = x + h @ w[layer + "self_attn.o_proj.weight"].T
        h = norm(x, layer + "post_attention_layernorm.weight")
        gate = h @ w[layer + "mlp.gate_proj.weight"].T
        gate = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        x = x + (gate * (h @ w[layer + "mlp.up_proj.weight"].T)) @ w[layer + "mlp.down_proj.weight"].T
    return norm(x[-1], "model.norm.weight") @ w["model.embed_tokens.weight"].T


@pytest.mark.parametrize("on, limit", [("numpy", 1e-4), ("native", 2e-3)])
def test_logits_and_greedy(on, limit):
    c = gemma()
    w = weights(c)
    one = engine(checkpoint(c, w), on, context=64)
    for ids in (IDS[:7], IDS, IDS[:1]):
        assert np.abs(first_logits(one, ids) - reference(c, w, ids)).max() < limit
    ids = IDS[:7]
    for found in generated(one, ids, max_tokens=6)[0]:
        want = reference(c, w, ids)
        assert want.max() - want[found] < limit
        ids = [*ids, found]
    close(one)


@pytest.mark.parametrize("changes, field", [
    ({"hidden_activation": "gelu"}, "hidden_activation"),
    ({"hidden_activation": None, "hidden_act": "silu"}, "hidden_act"),
    ({"head_dim": None}, "head_dim"), ({"attention_bias": True}, "attention_bias"),
])
def test_config_faults(changes, field):
    error = refused("E_UNSUPPORTED_CONFIG", lambda: compile_model(gemma(**changes)))
    assert error.facts["field"] == field


def test_the_first_checkpoints_name_of_the_gate():
    first = compile_model(gemma(hidden_activation=None, hidden_act="gelu"))
    assert first.plan.text() == compile_model(gemma()).plan.text()
    assert len(first.graphs[0].nodes) <= 6 * 2 + 2
