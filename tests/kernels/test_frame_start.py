"""`frame_start`, which changes the state itself: where a voice model's frames begin."""
import asyncio

import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.decode import state as st
from tests.checkpoints import device
from tests.models import kani_2 as kani

TEXT, AUDIO = kani.AUDIO - 1, kani.AUDIO
BEFORE = 5   # what the state says until then
CASES = {   # ids, valid rows, what the state says then at position 83
    "a text token": ([TEXT], 1, 84), "a code": ([AUDIO], 1, BEFORE), "text": ([0, TEXT, 3], 3, 86),
    "speech behind text": ([0, TEXT, AUDIO, AUDIO + 9], 4, 85), "codes": ([AUDIO] * 7, 7, BEFORE),
    "rows that are not valid": ([TEXT, AUDIO, TEXT], 2, 84), "many": ([AUDIO] * 60 + [7] * 9, 69, 152)}


async def started(on, ids, n, stopped=False):
    """The whole state behind the op, in the program that holds `ids`."""
    model = compile_model(kani.CONFIG, caps=on.caps, context=769)
    runner = await on.prepare(model.plan)
    name = "decode" if n == 1 else "prefill16" if len(ids) <= 16 else "prefill128"
    (step,) = [i for i, d in enumerate(model.plan.programs[name]) if d.node.op == "frame_start"]
    words = np.zeros(st.WORDS, np.uint32)
    words[[st.POS, st.N, st.STOPPED, st.SOURCE]] = 83, n, stopped, BEFORE
    runner.write(model.plan.buffer("state"), 0, words.tobytes())
    runner.write(model.plan.buffer("tokens"), 0, np.array(ids, np.uint32).tobytes())
    await runner.clock(name, [step])
    found = np.frombuffer(await runner.read(model.plan.buffer("state"), 0, st.NBYTES), np.uint32)
    runner.close()
    assert (np.delete(found, st.SOURCE) == np.delete(words, st.SOURCE)).all()
    return found[st.SOURCE]


@pytest.mark.parametrize("on", ["numpy", "native"])
@pytest.mark.parametrize("case", CASES)
def test_frames_begin_behind_the_last_text_token(on, case):
    ids, n, want = CASES[case]
    assert asyncio.run(started(device(on), ids, n)) == want


def test_a_stopped_one_changes_nothing():
    assert asyncio.run(started(device("native"), [TEXT], 1, stopped=True)) == BEFORE
