"""`stride_rows`, which changes the state itself: samples become rows, convolution by convolution."""
import asyncio

import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.decode import state as st
from pyengine.models import moonshine
from tests.checkpoints import device
from tests.models.faults import config_of


async def rows_of(on, samples, stopped=False):
    """What the state's N is behind every `stride_rows` of the encoder."""
    model = compile_model(config_of("moonshine"), caps=on.caps)
    runner = await on.prepare(model.plan)
    state = model.plan.buffer("state")
    steps = [i for i, dispatch in enumerate(model.plan.programs["encode176000"])
             if dispatch.node.op == "stride_rows"]
    words = np.zeros(st.WORDS, np.uint32)
    words[[st.N, st.STOPPED]] = samples, stopped
    runner.write(state, 0, words.tobytes())
    await runner.clock("encode176000", steps)
    found = np.frombuffer(await runner.read(state, 0, st.NBYTES), np.uint32)
    runner.close()
    assert len(steps) == 3 and (np.delete(found, st.N) == np.delete(words, st.N)).all()
    return found[st.N]


@pytest.mark.parametrize("on", ["numpy", "native"])
@pytest.mark.parametrize("samples", [126, 127, 894, 895, 16001, 176000])
def test_samples_become_rows(on, samples):
    found = asyncio.run(rows_of(device(on), samples))
    assert found == moonshine.frames(samples)


def test_a_stopped_one_changes_nothing():
    assert asyncio.run(rows_of(device("native"), 16001, stopped=True)) == 16001
