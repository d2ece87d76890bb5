"""Zeros after any number of dispatches of a submit in the browser's own WebGPU: the self-test finds a
layout in which the text is right, and the table of docs/reliability.md says what that costs (-s)."""
from pathlib import Path

import numpy as np
import pytest

from pyengine import selftest as st
from tests.browser import faults_in_page as in_page
from tests.browser.test_gpu_faults import TINY, engine, module_serve  # noqa: F401  fixtures
from tests.test_selftest import POWERS, SEEDED

COUNT, RUNS = 200, 2


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_zeros_after_any_number_and_what_the_small_submits_cost(engine, goldens):  # noqa: F811
    golden = np.load(goldens / TINY / "golden.npz")
    engine.page.evaluate((Path(__file__).parent / "kept_gpu.js").read_text())
    run = {"folder": TINY, "ids": golden["ids"].tolist(), "count": COUNT, "runs": RUNS}
    engine.run(in_page.written, options={}, **run)  # shaders are compiled
    calm = engine.run(in_page.written, options={}, **run)
    print(f"\n| zeros after | dispatches a submit | tok/s |\n|---|---|---|\n| never | {st.WHOLE} | "
          f"{calm['tps']:.0f} |")
    assert calm["texts"][0][:32] == golden["greedy32"].tolist() and len(calm["texts"][0]) == COUNT
    for most in sorted({*POWERS, *SEEDED}):
        found = engine.run(in_page.written, options={"zerosAfter": most}, **run)
        layout = found["device"]["dispatches_per_submit"]
        print(f"| {most} | {layout} | {found['tps']:.0f} |", flush=True)
        assert found["texts"] == calm["texts"], most
        assert layout == max(n for n in (*st.SIZES, st.WHOLE) if n <= most)
