"""512 tokens in a row: the cache written token by token says what a prefill of the same ids says,
the native device what numpy says, and nothing is made or grown on the way."""
import asyncio
from collections import Counter

import numpy as np
import pytest

from pyengine.decode.sampling import SamplingParams
from tests.checkpoints import GREEDY, checkpoint, close, config, engine, first_logits, generated

IDS = [5, 17, 82, 3, 42, 7, 8]
COUNT = 512
LOGITS = 1e-3  # f32 sums in another order over two layers; f16 in the cache adds its rounding
SOURCE = checkpoint(config(max_position_embeddings=1024))


@pytest.fixture
def created(monkeypatch):
    """Counts every GPU object that wgpu-py makes, but for the encoder and pass of each submit."""
    wgpu = pytest.importorskip("wgpu")
    from wgpu.backends.wgpu_native import GPUDevice
    counts = Counter()
    for name in ("_create_buffer", "create_bind_group", "create_compute_pipeline",
                 "create_shader_module", "create_query_set", "create_bind_group_layout"):
        def counting(self, *args, _name=name, _original=getattr(GPUDevice, name), **options):
            counts[_name] += 1
            return _original(self, *args, **options)
        monkeypatch.setattr(GPUDevice, name, counting)
    assert wgpu.GPUDevice is not None
    return counts


@pytest.mark.parametrize("kv, limit", [("f32", LOGITS), ("f16", 2e-2)])
def test_no_drift(kv, limit, created):
    one = engine(SOURCE, "native", kv=kv, context=1024)
    generated(one, IDS, max_tokens=3)
    before, live, memory = dict(created), dict(one.live()), one.stats()["bytes"]
    assert before["_create_buffer"] > 10 and before["create_bind_group"] > 10
    ids, reason = generated(one, IDS, max_tokens=COUNT)
    assert len(ids) == COUNT and reason == "length"
    assert dict(created) == before, "a steady state makes no GPU objects"
    assert dict(one.live()) == live and one.stats()["bytes"] == memory
    stepped = first_logits(one, IDS + ids)  # only the last id is new: the rest was decoded
    assert one.stats()["reused_tokens"] == len(IDS) + COUNT - 1
    close(one)
    found = {}
    for on in ("native", "numpy"):
        fresh = engine(SOURCE, on, kv=kv, context=1024)
        found[on] = first_logits(fresh, IDS + ids)
        assert fresh.stats()["reused_tokens"] == 0
        close(fresh)
    assert np.isfinite(stepped).all()
    assert np.abs(stepped - found["native"]).max() < limit
    assert np.abs(stepped - found["numpy"]).max() < limit
    assert np.ptp(stepped) > 1


def test_sampling_makes_no_gpu_objects(created):
    one = engine(SOURCE, "native", context=256)
    params = SamplingParams(temperature=1.0, seed=7, top_k=5, top_p=0.9)
    generated(one, IDS, params, max_tokens=2)
    before = dict(created)
    assert len(generated(one, IDS[::-1], params, max_tokens=64)[0]) == 64
    assert len(generated(one, IDS, GREEDY, max_tokens=64)[0]) == 64
    assert dict(created) == before
    close(one)


def test_the_counter_sees_a_buffer(created):
    one = engine(SOURCE, "native", context=64)
    before = created["_create_buffer"]
    asyncio.run(one._runner.read(one.model.plan.buffer("logits"), 0, 83 * 4 // 4 * 4))
    assert created["_create_buffer"] == before + 1  # the larger readback, made once
    asyncio.run(one._runner.read(one.model.plan.buffer("logits"), 0, 83 * 4 // 4 * 4))
    assert created["_create_buffer"] == before + 1
    close(one)
