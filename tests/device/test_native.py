"""The native device: what it does, each fault that a person can meet, and that nothing is left."""

import asyncio
import gc
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pyengine.decode.sampling import SamplingParams
from pyengine.device.native import NativeDevice
from pyengine.engine import load
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_path
from tests.checkpoints import device as open_device
from tests.device.plans import BROKEN, counter_plan

ROOT = Path(__file__).resolve().parents[2]
MISSING = """
import asyncio
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError
try:
    asyncio.run(NativeDevice.create())
except EngineError as error:
    print(error.code, error.next_step)
"""
EXHAUST = """
import asyncio, resource
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError
from tests.device.plans import counter_plan
device = asyncio.run(NativeDevice.create())
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (3 << 30),) * 2)
try:
    asyncio.run(device.prepare(counter_plan(sizes=(1 << 30,) * 8)))
except EngineError as error:
    print(error.code, error.facts["needed"])
runner = asyncio.run(device.prepare(counter_plan(sizes=(1 << 30,))))
print("then", runner.live()["buffers"])
"""


@pytest.fixture(scope="module")
def device():
    return open_device("native")


def test_a_closed_device_makes_no_runners():
    try:
        own = asyncio.run(NativeDevice.create())
    except EngineError as error:
        pytest.skip(str(error))
    own.close()
    with pytest.raises(EngineError):
        asyncio.run(own.prepare(counter_plan()))


def run_python(code, **env):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | env, text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def word(data):
    return struct.unpack("<I", data)[0]


# ---- programs ----------------------------------------------------------------------------------


async def count(device, plan):
    runner = await device.prepare(plan)
    try:
        await runner.ready()
        first = word(await runner.run([(("step",), 1)], read=(0, 0, 4)))
        runner.write(0, 0, struct.pack("<I", 40))
        burst = word(await runner.run([(("step",), 3), (("step", "step"), 2)], read=(0, 0, 4)))
        assert await runner.run([(("step",), 1)]) is None
        return first, burst, word(await runner.read(0, 0, 4))
    finally:
        runner.close()


def test_repeats_and_groups_run_in_order(device):
    assert asyncio.run(count(device, counter_plan())) == (1, 47, 48)


def test_progress_counts_pipelines(device):
    seen = []
    plan = counter_plan()
    plan.pipelines = plan.pipelines * 3
    asyncio.run(device.prepare(plan, lambda done, total: seen.append((done, total)))).close()
    assert seen == [(1, 3), (2, 3), (3, 3)]


# ---- faults ------------------------------------------------------------------------------------


def test_no_adapter(tmp_path):
    empty = tmp_path / "none.json"
    empty.write_text("")
    out = run_python(MISSING, VK_DRIVER_FILES=str(empty), VK_ICD_FILENAMES=str(empty))
    assert out.startswith("E_NO_WEBGPU "), out


def test_no_wgpu(tmp_path):
    (tmp_path / "wgpu.py").write_text("raise ImportError('no such package here')\n")
    out = run_python(MISSING, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert out.startswith("E_NO_WEBGPU "), out


def test_an_adapter_that_is_not_there(device):
    out = run_python(MISSING, JIRD_ADAPTER="no adapter is called this")
    assert out.startswith("E_NO_WEBGPU "), out


def test_a_kernel_that_does_not_compile_is_named(device):
    with pytest.raises(EngineError) as caught:
        asyncio.run(device.prepare(counter_plan(BROKEN)))
    assert caught.value.code == "E_GPU"
    assert "counter#1" in str(caught.value) and "no_such_name" in str(caught.value)
    assert ":3:" in str(caught.value)


def test_a_buffer_beyond_the_device_is_out_of_memory(device):
    huge = 1 << 46
    with pytest.raises(EngineError) as caught:
        asyncio.run(device.prepare(counter_plan(sizes=(256, huge))))
    assert caught.value.code == "E_OUT_OF_MEMORY" and caught.value.facts["needed"] > huge
    assert asyncio.run(count(device, counter_plan())) == (1, 47, 48)


def test_memory_that_runs_out_is_given_back(device):
    """The address space ends in the middle of the buffers; afterwards there is room again."""
    if not device.caps.software:
        pytest.skip("a GPU's memory is not bounded by the process's address space")
    pytest.importorskip("resource")
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    lines = run_python(EXHAUST).splitlines()
    assert lines[0].split()[0] == "E_OUT_OF_MEMORY" and int(lines[0].split()[1]) > 8 << 30
    assert lines[1].startswith("then ")


# ---- leaks -------------------------------------------------------------------------------------


async def generations(device, folder, times):
    """-> live objects after the first generation and after all, then after close."""
    checkpoint = await open_path(str(folder))
    engine = await load(checkpoint, device, kv="f32", context=256, burst=4)
    seen = []
    for i in range(times):
        params = SamplingParams(temperature=i % 2, seed=7)
        ids = [1 + i % 7, 2, 3, 4, 5, 6, i % 83][:1 + i % 7]
        got = [x async for batch in engine.generate_ids(ids, params, max_tokens=6) for x in batch.ids]
        assert len(got) == 6
        seen.append(dict(engine.live()))
    await engine.close()
    return seen, dict(engine.live())


def test_generations_leave_nothing(device, goldens):
    seen, closed = asyncio.run(generations(device, goldens / "models-tiny/llama", 50))
    assert seen[0]["buffers"] > 0 and all(live == seen[0] for live in seen)
    assert not any(closed.values())


def test_closed_runners_leave_no_wgpu_objects(device, goldens):
    """Objects that wgpu-py itself counts: the same after the second engine as after the first."""
    import wgpu
    counts = []
    for _ in range(3):
        asyncio.run(generations(device, goldens / "models-tiny/llama", 1))
        gc.collect()
        report = wgpu.diagnostics.object_counts.get_dict()
        counts.append({name: report[name]["count"] for name in ("Buffer", "BindGroup", "ComputePipeline",
                                                               "ShaderModule", "CommandEncoder")})
    assert counts[0] == counts[1] == counts[2], counts
