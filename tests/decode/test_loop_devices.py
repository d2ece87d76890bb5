"""The decode loop on devices that compute: the text does not depend on the burst, on what ran
before, nor, up to a close draw, on the device."""
import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyengine.decode import state as st
from pyengine.decode.loop import CancelToken
from pyengine.decode.sampler import draw
from pyengine.decode.sampling import SamplingParams
from tests.checkpoints import (
    GREEDY,
    batches,
    close,
    engine,
    first_logits,
    folder,
    generated,
)

TINY = Path(__file__).resolve().parents[1] / "goldens" / "models-tiny" / "llama"
SAMPLED = SamplingParams(temperature=0.9, top_k=40, top_p=0.95, min_p=0.02, seed=11)
PENALISED = SamplingParams(
    temperature=1.1,
    repetition_penalty=1.3,
    frequency_penalty=0.4,
    presence_penalty=0.2,
    logit_bias={7: 2.0, 8: -3.0},
    seed=12,
)
IDS = [5, 17, 99, 3, 42, 7, 8]
LENGTH = 37


@pytest.fixture(scope="module", params=["numpy", "native"])
def engines(request):
    """(device name, {K: engine})."""
    found = {k: engine(folder(TINY), request.param, burst=k, context=128) for k in (1, 4, 16)}
    yield request.param, found
    close(*found.values())


@pytest.mark.parametrize(
    "params", [GREEDY, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalised"]
)
def test_text_does_not_depend_on_the_burst(engines, params):
    texts = [generated(one, IDS, params, max_tokens=LENGTH) for one in engines[1].values()]
    assert texts[0][1] == "length" and len(texts[0][0]) == LENGTH
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(
    "params", [GREEDY, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalised"]
)
def test_text_does_not_depend_on_what_ran_before(engines, params):
    one = engines[1][4]
    want = generated(one, IDS, params, max_tokens=LENGTH)
    token = CancelToken()

    async def cancelled():
        async for batch in one.generate_ids(IDS, params, cancel=token):
            token.cancel()
        return batch

    assert asyncio.run(cancelled()).finish_reason == "cancel"
    assert generated(one, IDS, params, max_tokens=LENGTH) == want
    generated(one, [9, *IDS], SAMPLED, max_tokens=5, stop_ids=range(256))  # stops at once
    assert generated(one, IDS, params, max_tokens=LENGTH) == want


def test_a_stop_id_ends_a_burst_on_the_device(engines):
    one = engines[1][16]
    text = generated(one, IDS, max_tokens=LENGTH)[0]
    stop = text[11]
    ids, reason = generated(one, IDS, stop_ids=(stop,))
    assert reason == "stop" and ids == text[:text.index(stop) + 1]
    assert generated(one, IDS, max_tokens=LENGTH)[0] == text


def test_a_context_filled_to_the_last_place(engines):
    ids = [i % 256 for i in range(120)]
    texts = [generated(one, ids) for one in engines[1].values()]
    assert len(texts[0][0]) == 9 and texts[0] == texts[1] == texts[2]


def test_seeds_matter(engines):
    one = engines[1][16]
    texts = {
        tuple(generated(one, IDS, SamplingParams(temperature=1, seed=s), max_tokens=12)[0])
        for s in range(5)
    }
    assert len(texts) == 5


@pytest.fixture(scope="module")
def oracle():
    one = engine(folder(TINY), "numpy", context=128)
    yield one
    close(one)


@pytest.mark.parametrize("params", [SAMPLED, PENALISED, SamplingParams(temperature=0.7, seed=1)],
                         ids=["sampled", "penalised", "plain"])
def test_devices_agree_up_to_the_first_close_draw(engines, oracle, params):
    """Each id is the sorting oracle's draw from the oracle's logits, up to a margin under 1e-2."""
    ids = generated(engines[1][16], IDS, params, max_tokens=LENGTH)[0]
    for i, token in enumerate(ids):
        logits = first_logits(oracle, IDS + ids[:i])
        counts = np.frombuffer(st.pack_counts(256, IDS, ids[:i]), np.uint32)
        want = draw(logits, params, position=len(IDS) + i, counts=counts)
        if want.margin < 1e-2:
            break
        assert token == want.id, i
    assert i >= 5, "the texts must be compared over more than a few ids"


@pytest.mark.parametrize("params", [GREEDY, SAMPLED, PENALISED],
                         ids=["greedy", "sampled", "penalised"])
def test_logprobs_are_of_the_model_s_own_logits(engines, params):
    """Of each id, whatever the burst, with the same text as without; a stop id has its own."""
    asked = replace(params, top_logprobs=4)
    want, _ = generated(engines[1][4], IDS, params, max_tokens=LENGTH)
    stops = (want[20],)
    found = []
    for one in engines[1].values():
        made = asyncio.run(batches(one, IDS, asked, max_tokens=LENGTH, stop_ids=stops))
        told = [entry for batch in made for entry in batch.logprobs]
        assert [entry.id for entry in told] == [i for batch in made for i in batch.ids]
        found.append(told)
    told = found[0]
    assert [e.id for e in told] == want[:want.index(stops[0]) + 1] and made[-1].finish_reason == "stop"
    for other in found[1:]:
        assert [(e.id, [i for i, _ in e.top]) for e in other] == [
            (e.id, [i for i, _ in e.top]) for e in told]
        assert np.allclose([e.logprob for e in other], [e.logprob for e in told], atol=1e-4)
    for at in (0, 7, len(told) - 1):
        x = first_logits(engines[1][4], IDS + want[:at]).astype(np.float64)
        logs = x - x.max() - np.log(np.exp(x - x.max()).sum())
        assert abs(told[at].logprob - logs[told[at].id]) < 1e-3
        assert told[at].top[0][0] == logs.argmax() and len(told[at].top) == 4


def test_without_logprobs_nothing_more_runs(engines):
    plan = engines[1][4].model.plan
    assert plan.dispatches("logprob_top", "logprob_take") == 2
    made = asyncio.run(batches(engines[1][4], IDS, GREEDY, max_tokens=3))
    assert all(batch.logprobs is None for batch in made)
