"""Turns of a model whose state can only be extended: going on, regenerating, editing and overruns
give what a fresh engine gives, and compute no more than they must."""
import asyncio
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from pyengine.decode import loop as loop_module
from pyengine.decode import snapshots
from pyengine.decode.loop import CancelToken
from pyengine.decode.snapshots import StateCache
from tests.checkpoints import GREEDY, close, engine, folder, generated


GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
FAMILIES = ("lfm2", "qwen3_5_text")
BURSTS = (1, 4, 16)
ON = ("numpy", "native")
LONG = np.load(GOLDENS / "models-tiny" / "lfm2" / "golden.npz")["long_ids"].tolist()


def fresh(family, ids, count, on="numpy"):
    """What a new engine makes of `ids`, one step a burst."""
    one = engine(folder(GOLDENS / "models-tiny" / family), on, context=256, burst=1)
    found = generated(one, ids, max_tokens=count)[0]
    close(one)
    return found


@pytest.fixture(params=[(f, k, "numpy") for f in FAMILIES for k in BURSTS]
                + [(f, 4, "native") for f in FAMILIES], ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}")
def turn(request):
    """(engine, function: ids, count -> what a fresh engine makes)."""
    family, burst, on = request.param
    one = engine(folder(GOLDENS / "models-tiny" / family), on, context=256, burst=burst)
    yield one, lambda ids, count: fresh(family, ids, count)
    close(one)


def reused(one):
    return one.stats()["reused_tokens"]


def test_a_conversation_goes_on_where_it_was(turn):
    one, want = turn
    first = LONG[:20]
    answer = generated(one, first, max_tokens=9)[0]
    assert answer == want(first, 9)
    second = first + answer + LONG[20:31]
    found = generated(one, second, max_tokens=9)[0]
    assert reused(one) == len(first) + 8 and found == want(second, 9)


def test_a_stop_id_in_a_burst_leaves_the_state_at_its_place(turn):
    one, want = turn
    ids, stop = LONG[:20], want(LONG[:20], 7)[-1]
    answer, reason = generated(one, ids, max_tokens=30, stop_ids=[stop])
    assert reason == "stop" and answer[-1] == stop
    second = ids + answer + LONG[20:24]
    found = generated(one, second, max_tokens=5)[0]
    assert reused(one) == len(ids) + len(answer) - 1 and found == want(second, 5)


def test_regenerate_and_edit_begin_at_the_turn(turn):
    one, want = turn
    first = LONG[:20]
    answer = generated(one, first, max_tokens=9)[0]
    assert generated(one, first, max_tokens=9)[0] == answer  # again, from the end of its prompt
    assert reused(one) == len(first) - 1
    second = first + answer + LONG[20:60]
    begun = len(first) + 8
    reply = generated(one, second, max_tokens=5)[0]
    assert reused(one) == begun and reply == want(second, 5)
    assert generated(one, second, max_tokens=5)[0] == reply
    assert reused(one) == begun
    edited = second[:begun + 6] + LONG[90:103]
    assert generated(one, edited, max_tokens=5)[0] == want(edited, 5)
    assert reused(one) == begun


def test_another_prompt_begins_anew(turn):
    one, want = turn
    generated(one, LONG[:40], max_tokens=5)
    other = LONG[60:75]
    assert generated(one, other, max_tokens=5)[0] == want(other, 5)
    assert reused(one) == 0
    assert generated(one, LONG[:40], max_tokens=5)[0] == want(LONG[:40], 5)


async def left_after(one, ids, batches, cancel=None):
    """The ids of the first batches of a long answer, whose reader then leaves or cancels."""
    found = []
    async with aclosing(one.generate_ids(ids, GREEDY, max_tokens=60, cancel=cancel)) as stream:
        async for batch in stream:
            found += batch.ids
            batches -= 1
            if batches == 0 and cancel is None:
                break
            if batches == 0:
                cancel.cancel()
    return found


def run_ahead(one, monkeypatch):
    """Two bursts under way at once, each computed when it is submitted, as a GPU does."""
    async def landed(data):
        return data

    def submit(sequence, read=None):
        running = one._runner.run(sequence, read)
        try:
            while True:
                running.send(None)  # it may give the loop a turn
        except StopIteration as done:
            return landed(done.value)

    monkeypatch.setattr(one._runner, "ahead", 2, raising=False)
    monkeypatch.setattr(one._runner, "submit", submit)
    monkeypatch.setattr(loop_module, "BURST_SECONDS", 1e6)


@pytest.mark.parametrize("how", ["leaves", "cancels"])
def test_what_ran_past_the_kept_ids_is_taken_back(turn, how, monkeypatch):
    """Two bursts are under way when the reader stops: the state is beyond what was kept."""
    one, want = turn
    run_ahead(one, monkeypatch)
    ids = LONG[:20]
    kept = asyncio.run(left_after(one, ids, 3, CancelToken() if how == "cancels" else None))
    assert kept == want(ids, len(kept))
    for second in (ids + kept + LONG[20:25], ids + kept[:2] + LONG[30:35]):
        assert generated(one, second, max_tokens=6)[0] == want(second, 6)
        assert 0 < reused(one) < len(ids) + len(kept)


def test_a_long_common_part_moves_the_copy_up(monkeypatch):
    """A template that rewrites the answer makes every turn go back: by one turn, not to the first."""
    monkeypatch.setattr(snapshots, "ADVANCE", 8)
    one = engine(folder(GOLDENS / "models-tiny" / "qwen3_5_text"), context=256, burst=4)
    history, begun = LONG[:12], []
    for i in range(4):
        generated(one, history + [250, 251], max_tokens=4)
        begun.append(reused(one))
        history = history + LONG[20 + 12 * i:32 + 12 * i]
    assert begun == [0, 0, 12, 24]
    assert generated(one, history, max_tokens=4)[0] == fresh("qwen3_5_text", history, 4)
    close(one)


# ---- what is kept --------------------------------------------------------------------------------


def test_copies_go_with_their_kv():
    cache = StateCache(2)
    assert cache.to_save([1, 2, 3, 4], 0) == {3: 0}
    cache.extend([1, 2, 3])
    cache.saved(0)
    cache.extend([4, 5, 6])
    assert cache.reusable([1, 2, 3, 4, 5, 6, 7]) == 6 and cache.slot_at(6) is None
    assert cache.reusable([1, 2, 3, 9, 9]) == 3 and cache.slot_at(3) == 0
    assert cache.to_save([1, 2, 3, 4, 5, 6, 7, 8], 6) == {6: 0, 7: 1}
    assert cache.reusable([1, 2, 9]) == 0
    cache.trim(2)
    assert cache.reusable([1, 2, 3, 4]) == 2 and cache.slot_at(2) is None
    cache.trim(0)
    assert cache.reusable([1, 2]) == 0 and cache.to_save([5], 0) == {}


def test_an_overrun_is_no_place_to_go_on_from():
    cache = StateCache(1)
    cache.extend([1, 2])
    cache.saved(0)
    cache.begin(4)
    cache.extend([3])
    assert cache.unsettled and cache.reusable([1, 2, 3, 4]) == 2
    cache.settle(6)
    assert cache.unsettled and cache.slot_at(2) == 0
    cache.settle(3)
    assert not cache.unsettled and cache.reusable([1, 2, 3, 4]) == 3
