"""The engine: load, inspect, generate ids and text, stats, one generation at a time, and
release."""
import asyncio
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from pyengine.decode.loop import CancelToken
from pyengine.device.null import NullDevice
from pyengine.engine import inspect, load
from tests.checkpoints import (
    CONFIG,
    GREEDY,
    checkpoint,
    close,
    device,
    engine,
    first_logits,
    folder,
    generated,
    refused,
)

TINY = Path(__file__).resolve().parent / "goldens" / "models-tiny" / "llama"
IDS = [5, 17, 99, 3, 42, 7, 8]
DEVICES = ("numpy", "native")


class Letters:
    """A tokenizer of one letter per id, as `TextStream` asks it."""

    def tokens(self, ids):
        return [chr(0x100 + i) for i in ids]

    def detokenizer(self, continues):
        return self

    def push(self, token):
        return token

    def flush(self):
        return ""


@pytest.fixture(scope="module", params=DEVICES)
def tiny(request):
    one = engine(folder(TINY), request.param, burst=4, context=128, tokenizer=Letters())
    yield one
    close(one)


async def pieces(one, **options):
    async with aclosing(one.generate(IDS, GREEDY, **options)) as stream:
        return [piece async for piece in stream]


def text_of(found):
    return "".join(piece.text for piece in found)


# ---- load ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", DEVICES)
def test_load_reports_its_stages(on):
    seen, source = [], checkpoint()
    one = asyncio.run(load(source, device(on), on_progress=lambda *event: seen.append(event)))
    uploads = [event[1:] for event in seen if event[0] == "upload"]
    total = sum(ref.nbytes for ref in source.tensors.values())
    assert uploads[-1] == (total, total) and uploads == sorted(uploads)
    compiles = [event[1:] for event in seen if event[0] == "compile"]
    assert compiles == (
        [] if on == "numpy" else [(i + 1, len(compiles)) for i in range(len(compiles))]
    )
    warmed = [event[1:] for event in seen if event[0] == "warmup"]
    assert warmed[-1][0] == warmed[-1][1] > one.model.plan.dispatches("decode")
    assert [event[0] for event in seen][-1] == "warmup"
    load_ms = one.stats()["load_ms"]
    assert set(load_ms) == {"compile", "upload", "tune", "warmup", "total"}
    assert all(ms >= 0 for ms in load_ms.values()) and load_ms["total"] > 0
    assert (one.model.quant, one.model.kv, one.context) == ("mixed4", "f16", 256)
    close(one)


def test_a_load_within_a_budget_quantises_further():
    one = asyncio.run(load(checkpoint(), device("numpy"), budget=1))
    assert one.model.quant == "affine4-g64"
    close(one)


@pytest.mark.parametrize("on", DEVICES)
def test_close_releases_everything(on):
    one = engine(checkpoint(), on)
    first_logits(one, [1, 2, 3])
    before = dict(one.live())
    kept = 2 if on == "native" else 0  # a larger readback, and the one of the timestamps
    assert before["buffers"] == len(one.model.plan.buffers) + kept
    generated(one, [1, 2, 3], max_tokens=9)
    first_logits(one, [1] * 40)
    assert dict(one.live()) == before  # running creates nothing that stays
    close(one)
    assert not any(one.live().values())


def test_an_engine_can_be_loaded_again():
    texts = []
    for _ in range(2):
        one = engine(folder(TINY), "native", burst=4)
        texts.append(generated(one, IDS, max_tokens=8))
        close(one)
    assert texts[0] == texts[1]


# ---- inspect -------------------------------------------------------------------------------------


def test_inspect_of_a_config_is_what_a_load_uses():
    source = checkpoint()
    for tensors in (None, source.tensors):
        seen = inspect(CONFIG, tensors, quant="keep", context=64, kv="f32")
        one = engine(source, NullDevice(), context=64)
        stats = one.stats()
        assert seen["bytes"] == stats["bytes"] and seen["plan_text"] == one.model.plan.text()
        assert seen["dispatches_per_token"] == stats["dispatches_per_token"] == 5 * 2 + 2 + 2
        assert seen["passes_per_token"] == stats["device"]["passes_per_submit"] == 1
        assert (seen["context"], seen["quant"], seen["kv"]) == (64, "keep", "f32")
    assert inspect(CONFIG)["quant"] == "mixed4" and inspect(CONFIG)["context"] == 256


# ---- generate ------------------------------------------------------------------------------------


def test_ids_and_stats(tiny):
    ids, reason = generated(tiny, IDS, max_tokens=10)
    assert len(ids) == 10 and reason == "length"
    stats = tiny.stats()
    assert stats["tokens"] == 10 and stats["prompt_tokens"] == len(IDS)
    assert stats["submits_per_token"] == 3 / 9  # bursts of 4, 4 and 1
    assert stats["device"]["backend"] in DEVICES and stats["context"] == 128
    for name in ("ttft_ms", "prefill_tps", "decode_tps", "python_ms_per_token"):
        assert stats[name] > 0, name


def test_stats_before_anything_ran():
    one = engine(checkpoint(), NullDevice())
    stats = one.stats()
    assert (
        stats["tokens"] == 0
        and stats["bytes"]["total"] > 0
        and set(stats["load_ms"]) == {"compile", "upload", "tune", "warmup", "total"}
    )
    for name in (
        "submits_per_token",
        "ttft_ms",
        "prefill_tps",
        "decode_tps",
        "python_ms_per_token",
    ):
        assert stats[name] is None, name


def test_text_is_the_ids(tiny):
    found = asyncio.run(pieces(tiny, max_tokens=12))
    ids = generated(tiny, IDS, max_tokens=12)[0]
    assert text_of(found) == "".join(chr(0x100 + i) for i in ids)
    assert [i for piece in found for i in piece.ids] == ids
    assert [piece.finish_reason for piece in found] == [None] * (len(found) - 1) + ["length"]


def test_a_stop_string_ends_the_text(tiny):
    ids = generated(tiny, IDS, max_tokens=20)[0]
    letters = "".join(chr(0x100 + i) for i in ids)
    stop = letters[6:8]
    found = asyncio.run(pieces(tiny, max_tokens=20, stop=[stop]))
    assert text_of(found) == letters[:letters.index(stop)] and found[-1].finish_reason == "stop"
    assert generated(tiny, IDS, max_tokens=20)[0] == ids


def test_a_stop_id_is_no_text(tiny):
    ids = generated(tiny, IDS, max_tokens=20)[0]
    stop = ids[9]
    found = asyncio.run(pieces(tiny, stop_ids=(stop,)))
    kept = ids[:ids.index(stop)]
    assert text_of(found) == "".join(chr(0x100 + i) for i in kept)
    assert found[-1].finish_reason == "stop" and found[-1].ids[-1] == stop


def test_cancel_ends_the_text(tiny):
    token = CancelToken()

    async def read():
        async for piece in tiny.generate(IDS, GREEDY, cancel=token):
            token.cancel()
        return piece

    assert asyncio.run(read()).finish_reason == "cancel"


@pytest.mark.parametrize("stop", [[""], ["x"] * 17, [7], "x" * 2000])
def test_bad_stop_strings(tiny, stop):
    refused(
        "E_BAD_REQUEST",
        lambda: asyncio.run(pieces(tiny, stop=[stop] if isinstance(stop, str) else stop)),
    )
    assert generated(tiny, IDS, max_tokens=1)[1] == "length"


def test_one_generation_at_a_time(tiny):
    async def two():
        first = tiny.generate_ids(IDS, GREEDY)
        await anext(first)
        for second in (
            lambda: anext(tiny.generate_ids(IDS, GREEDY)),
            lambda: anext(tiny.generate(IDS, GREEDY)),
            lambda: tiny.first_logits(IDS),
        ):
            with pytest.raises(Exception) as info:
                await second()
            assert getattr(info.value, "code", None) == "E_BUSY"
        rest = [batch async for batch in first]
        return rest[-1].finish_reason

    assert asyncio.run(two()) == "length"


def test_a_refused_request_leaves_the_engine_free(tiny):
    refused("E_BAD_REQUEST", lambda: generated(tiny, [], max_tokens=1))
    refused("E_CONTEXT_FULL", lambda: generated(tiny, [1] * 129, max_tokens=1))
    refused("E_BAD_REQUEST", lambda: generated(tiny, IDS, max_tokens=0))
    assert generated(tiny, IDS, max_tokens=1)[1] == "length"


def test_first_logits_choose_the_first_id(tiny):
    found = first_logits(tiny, IDS)
    assert found.shape == (256,) and np.isfinite(found).all()
    assert generated(tiny, IDS, max_tokens=1)[0] == [int(found.argmax())]
