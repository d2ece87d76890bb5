"""The fault matrix on the browser's own way: each kind of failure at seeded calls of WebGPU while the
tiny model loads, reads a prompt and writes. `--long` with `--fault-points N`; -s shows the table."""
import random

import numpy as np
import pytest

from tests.app.test_fault_matrix import CODES, SOON, STAGES, show
from tests.browser import faults_in_page as in_page
from tests.browser.test_gpu_faults import (  # noqa: F401  fixtures
    COUNT, TINY, engine, module_serve)
from tests.faults import KINDS


def points(kinds, calls, each):
    """(stage, plant) of every point; as in the numpy device's matrix, some come again and again."""
    rng = random.Random(769)
    for stage in STAGES:
        for kind in kinds:
            for number in range(each):
                plant = {"kind": kind, "after": rng.randrange(calls[stage]),
                         "times": (1, 1, 1, 2, 12)[number % 5]}
                if kind == "map":
                    plant |= {"call": "mapAsync", "after": plant["after"] % 2}
                yield stage, plant


def outcome(engine, run, want, stage, plant):  # noqa: F811
    found = engine.run(in_page.staged, **run, stage=stage, plant=plant)
    assert found["seconds"] < 12 * SOON and not any(found.get("live", {}).values()), (plant, found)
    if "code" in found:
        assert found["code"] in CODES and found["next_step"], (plant, found)
        return found["code"], found["seconds"]
    assert found["ids"] == want, (stage, plant, found)
    return "survived", found["seconds"]


@pytest.mark.parametrize("each", [1, pytest.param(0, marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_each_failure_of_webgpu_is_survived_or_told(engine, goldens, each, request):  # noqa: F811
    sample, each = bool(each), each or request.config.getoption("--fault-points")
    golden = np.load(goldens / TINY / "golden.npz")
    run = {"folder": TINY, "ids": golden["ids"].tolist(), "count": COUNT}
    calm = engine.run(in_page.staged, **run)
    want = golden["greedy32"][:COUNT].tolist()
    assert calm["ids"] == want and all(calm["calls"][stage] > 5 for stage in STAGES)
    table, slowest = {}, {}
    for number, (stage, plant) in enumerate(points(KINDS, calm["calls"], each)):
        if sample and number % 3:  # the others are in test_gpu_faults.py
            continue
        found, seconds = outcome(engine, run, want, stage, plant)
        row = table.setdefault((stage, plant["kind"], plant["times"]), [0, 0, 0])
        row[0] += 1
        row[1 + (found != "survived")] += 1
        slowest[found] = max(slowest.get(found, 0), seconds)
        if plant["times"] == 1:
            assert found == "survived", (stage, plant, found)
    show(table)
    print("slowest:", slowest)
