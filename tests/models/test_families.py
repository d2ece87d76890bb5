"""Every family against its reference checkpoints, on the oracle and on the GPU: logits, each layer's
hidden state, greedy text, chunks of a prompt, long decodes, and turns that go back."""
import numpy as np
import pytest

from pyengine.compile import compile_model
from tests.checkpoints import close, engine, first_logits, generated
from tests.models.families import CONTEXT, LIMITS, ROWS, TIE, hidden_states


def named(rows):
    return {"params": rows, "ids": lambda row: row.path.replace("/", "-")}


@pytest.fixture(scope="module", **named(ROWS))
def row(request):
    return request.param


@pytest.fixture(scope="module", params=LIMITS)
def golden(row, request):
    """(engine of the checkpoint as it is with an f32 cache, golden arrays, logit limit)."""
    one = engine(row.checkpoint(), request.param, burst=16, context=CONTEXT)
    yield one, row.golden(), LIMITS[request.param]
    close(one)


@pytest.mark.parametrize("ids, want", [("ids", "logits_last"), ("long_ids", "long_logits_last")])
def test_logits(golden, ids, want):
    one, arrays, limit = golden
    assert np.abs(first_logits(one, arrays[ids]) - arrays[want]).max() < limit


def test_hidden_state_of_each_layer(row):
    """Of the last token; the last state is behind the final norm. The first difference names its
    layer."""
    arrays = row.golden()
    found = hidden_states(row.checkpoint(), arrays["ids"])
    assert list(found) == [f"hidden {i}" for i in range(len(arrays["hidden"]))]
    worst = {name: float(np.abs(found[name] - want).max())
             for name, want in zip(found, arrays["hidden"])}
    assert max(worst.values()) < LIMITS["numpy"], worst


def test_greedy_up_to_the_first_near_tie(golden):
    one, arrays, _ = golden
    until = next((i for i, m in enumerate(arrays["margins32"]) if m < TIE), 32)
    found = generated(one, arrays["ids"], max_tokens=32)[0]
    assert found[:until] == arrays["greedy32"][:until].tolist()


def test_every_clear_choice_is_the_reference_s(golden):
    """As above, but led back to the reference's ids after each near-tie."""
    one, arrays, _ = golden
    ids, greedy = arrays["ids"].tolist(), arrays["greedy32"].tolist()
    clear = [i for i, margin in enumerate(arrays["margins32"]) if margin >= TIE]
    found = [int(first_logits(one, ids + greedy[:i]).argmax()) for i in clear]
    assert len(clear) >= 24 and found == [greedy[i] for i in clear]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_of_a_prompt_give_the_same_logits(golden, size):
    """Each prefix is resident when the next chunk comes; windows are crossed within chunks and
    between them."""
    one, arrays, limit = golden
    ids, want = arrays["long_ids"].tolist(), arrays["long_logits_last"]
    one._loop.cache.trim(0)
    for end in (*range(size, 150, size), 150):
        found = first_logits(one, ids[:end])
        assert one.stats()["reused_tokens"] == (end - 1) // size * size
    assert np.abs(found - want).max() < limit


def test_a_long_decode_does_not_drift(golden):
    """512 steps in bursts leave the cache that one prefill of their ids fills; rings wrap."""
    one, arrays, limit = golden
    ids = arrays["long_ids"].tolist()
    ids += generated(one, ids, max_tokens=513)[0]
    stepped = first_logits(one, ids)
    assert len(ids) == 663 and one.stats()["reused_tokens"] == 662
    one._loop.cache.trim(0)
    assert np.abs(stepped - first_logits(one, ids)).max() < limit
    assert one.stats()["reused_tokens"] == 0


def test_a_turn_that_goes_back_gives_the_logits_of_a_fresh_one(golden):
    """To a place whose window is still there, and to one whose window is overwritten."""
    one, arrays, limit = golden
    long, ring = 5 * arrays["long_ids"].tolist(), one.model.ring
    for keep in (610, 3):
        one._loop.cache.trim(0)
        first_logits(one, long)
        found = first_logits(one, long[:keep] + long[:83])
        anew = any(one.model.plan.saved) or ring and keep == 3  # no copy lies before the place
        assert one.stats()["reused_tokens"] == (0 if anew else keep)
        one._loop.cache.trim(0)
        assert np.abs(found - first_logits(one, long[:keep] + long[:83])).max() < limit


def test_an_f16_cache_moves_logits_by_little(row):
    """Keys and values keep 11 bits."""
    arrays = row.golden()
    one = engine(row.checkpoint(), "native", kv="f16", context=CONTEXT)
    found = first_logits(one, arrays["long_ids"])
    assert 1e-5 < np.abs(found - arrays["long_logits_last"]).max() < 1e-2
    close(one)


def test_dispatches_of_a_step(row):
    config = row.checkpoint().config
    model = compile_model(config, context=CONTEXT)
    layer, beside = row.dispatches
    layers = config["num_hidden_layers"]
    assert model.plan.dispatches("decode", "greedy") <= layer * layers + beside
