"""Where the autotuner's choices are kept, and when it runs."""

import asyncio

import pytest

from app import settings, tuning
from pyengine.errors import EngineError
from pyengine.flags import Hybrid
from pyengine.kernels.spec import Caps
from pyengine.laps import Laps
from pyengine.selftest_kernels import MODELS


def test_a_file_keeps_texts_by_key(tmp_path):
    cache = tuning.FileCache(tmp_path / "new" / "tuning.json")
    assert asyncio.run(cache.get("a")) is None
    asyncio.run(cache.put("a", "1"))
    asyncio.run(cache.put("b", "2"))
    asyncio.run(cache.put("a", "3"))
    again = tuning.FileCache(tmp_path / "new" / "tuning.json")
    assert [asyncio.run(again.get(key)) for key in "abc"] == ["3", "2", None]
    assert tuning.MOST > 2 * len(MODELS)  # a whole self-test must not drive the tuner's choices out
    for i in range(tuning.MOST):
        asyncio.run(cache.put(str(i), "x"))
    assert asyncio.run(again.get("a")) is None and asyncio.run(again.get("0")) == "x"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["tuning.json"]


@pytest.mark.parametrize("text", ["no json", "[]", "\xff"])
def test_a_damaged_file_is_an_empty_one(tmp_path, text):
    (tmp_path / "t").write_text(text, encoding="latin-1")
    cache = tuning.FileCache(tmp_path / "t")
    assert asyncio.run(cache.get("a")) is None
    asyncio.run(cache.put("a", "1"))
    assert asyncio.run(cache.get("a")) == "1"


def test_who_tunes():
    gpu = Caps(backend="webgpu")
    assert tuning.wanted(None, gpu) and tuning.wanted(True, Caps(software=True))
    assert not tuning.wanted(False, gpu) and not tuning.wanted(None, Caps(software=True))
    assert not tuning.wanted(None, Caps(backend="numpy"))
    assert settings.load_tune({}) is None and settings.load_tune({"tune": False}) is False
    with pytest.raises(EngineError):
        settings.load_tune({"tune": "yes"})


def test_hybrid_layers_can_be_taken_apart_for_measuring():
    found = settings.load_options({"apart": "norm,stack", "delta_state": "f16x2"})
    assert found == {"hybrid": Hybrid(("norm", "stack"), "f16x2")}
    assert settings.load_options({"apart": "conv"}) == {"hybrid": Hybrid(("conv",), "f32")}
    assert settings.load_options({}) == {}
    for bad in ({"apart": "norm,cnov"}, {"apart": 7}, {"delta_state": "f16"}):
        with pytest.raises(EngineError, match="apart|delta_state"):
            settings.load_options(bad)


def test_laps_add_up():
    times = iter([1.0, 1.5, 1.75, 2.75, 3.0])
    laps = Laps({"boot": 40.04}, clock=lambda: next(times))
    for name in ("read", "upload", "read", "warmup"):
        laps.mark(name)
    assert laps.report() == {"boot": 40.0, "read": 1500.0, "upload": 250.0, "warmup": 250.0,
                             "total": 2040.0}
