"""The self-test on whatever GPU this machine has: the figures of docs/reliability.md. On a GPU the full
command buffer must be right, and the short test within its time."""
import asyncio

import pytest

from pyengine import selftest as st
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError

SHORT_MS = 300
MODEL = "qwen3_5-mlx4"  # the largest


async def reports():
    try:
        device = await NativeDevice.create()
    except EngineError as error:
        pytest.skip(str(error))
    await st.selftest(device, kernels=MODEL)  # a process's first pipelines also load the driver's compiler
    short = await st.selftest(device, kernels=MODEL)
    whole = await st.selftest(device, full=True, kernels=MODEL)
    software = device.caps.software
    device.close()
    return device.info["vendor"], software, short, whole


@pytest.mark.long
def test_the_self_test_of_this_gpu():
    vendor, software, short, whole = asyncio.run(reports())
    right = sum(row["right"] for row in whole.rows)
    print(f"\n{vendor}: full command buffer {whole.layout}, off {whole.off}, {right} of {len(whole.rows)} right; "
          f"short: chains {short.ms:.0f} ms, kernels {short.kernels_ms:.0f} ms; "
          f"whole: chains {whole.ms:.0f} ms, kernels {whole.kernels_ms:.0f} ms")
    assert whole.layout == (1, st.WHOLE) and right == len(whole.rows)
    assert software or short.ms + short.kernels_ms < SHORT_MS
