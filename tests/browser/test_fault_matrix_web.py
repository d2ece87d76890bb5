"""The fault matrix on the browser's own way: each kind of failure at seeded calls of WebGPU while the
tiny model loads, reads a prompt and writes. Pipelines are compiled once (kept_gpu.js) but for lost devices, which are real.

`--long` tries 50 points of each kind and stage (`-k "lost and load"`: some of them); run with -s to see the table."""
import random
from pathlib import Path

import numpy as np
import pytest

from tests.app.test_fault_matrix import CODES, SOON, STAGES
from tests.browser import faults_in_page, matrix_in_page
from tests.browser.test_gpu_faults import (  # noqa: F401  fixtures
    COUNT, TINY, engine, module_serve)
from tests.faults import KINDS

SAMPLE = 5  # points of each in the quick tier; of lost devices, which compile anew, one
EVER = 9999
SILENT_S, TOGETHER = 1.5, 5  # how long a GPU may answer nothing; so many hangs at once
LONG = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def matrix(engine, goldens):  # noqa: F811
    """A page with the GPUs of kept_gpu.js: (several(points), calls of each stage, the ids, table,
    seconds within which a code must come)."""
    golden = np.load(goldens / TINY / "golden.npz")
    run = {"folder": TINY, "ids": golden["ids"].tolist(), "count": COUNT}
    engine.page.evaluate((Path(__file__).parent / "kept_gpu.js").read_text())
    engine.run(faults_in_page.tested, options={})  # writes the module that the other one imports
    calm, = engine.run(matrix_in_page.several, points=[[None, None]], **run)
    # Kept pipelines: no call takes 1.5 s, but where five whole runs at once do.
    usual = engine.run(matrix_in_page.several, points=[[None, None]] * TOGETHER, **run)
    slowest = max(SILENT_S, *(found["seconds"] for found in usual))
    run["silent_ms"], soon = round(1000 * slowest), SOON + slowest - SILENT_S
    want, table = golden["greedy32"][:COUNT].tolist(), {}
    assert calm["ids"] == want and all(calm["calls"][stage] > 5 for stage in STAGES)

    def several(points):
        found = engine.run(matrix_in_page.several, points=points, **run)
        return found, engine.run(matrix_in_page.leaks)

    yield several, calm["calls"], want, table, soon
    show(table)


def plants(kind, stage, calls, count):
    """Some come twice, at two calls in a row, some at every call from then on."""
    rng = random.Random(f"{kind} {stage}")
    for number in range(count):
        plant = {"kind": kind, "after": rng.randrange(calls), "times": (1, 1, 1, 2, EVER)[number % 5]}
        if kind == "map":
            plant |= {"call": "mapAsync", "after": plant["after"] % 3}
        yield plant


def outcome(found, want, point):
    """"survived", "coded" or "hung"; and what it took from the last failure to the end."""
    if found is None:
        return "hung", None
    assert found["since"] == found["since"], ("never met", point)
    assert not any(found.get("live", {}).values()), (point, found)
    if "code" in found:
        assert found["code"] in CODES and found["next_step"], (point, found)
        return "coded", found["since"]
    assert found["ids"] == want, (point, found)
    return "survived", found["since"]


def show(table):
    """The table of docs/reliability.md."""
    print("\n| failure | while | tried | survived | coded | hung | leaked | most seconds until the code |")
    print("|---|---|---|---|---|---|---|---|")
    for (kind, stage), row in sorted(table.items()):
        counts = " | ".join(str(row[name]) for name in ("tried", "survived", "coded", "hung", "leaked"))
        print(f"| {kind} | {stage} | {counts} | {row['seconds']:.1f} |")


def tried(matrix, kind, stage, count):
    several, calls, want, table, soon = matrix
    together = TOGETHER if kind == "hang" else 1  # those only wait
    points = [[stage, plant] for plant in plants(kind, stage, calls[stage], count)]
    for at in range(0, count, together):
        batch = points[at:at + together]
        answers, left = several(batch)
        for point, found in zip(batch, answers, strict=True):
            row = table.setdefault((kind, stage), dict.fromkeys(
                ("tried", "survived", "coded", "hung", "leaked", "seconds"), 0))
            how, seconds = outcome(found, want, point)
            row["tried"] += 1
            row[how] += 1
            row["leaked"] += bool(left["buffers"] or left["devices"])
            row["seconds"] = max(row["seconds"], seconds if how == "coded" else 0)
            assert left == {"buffers": 0, "devices": 0, "errors": []}, (point, left)
            assert how != "hung" and row["seconds"] < soon, (point, found)
            if point[1]["times"] == 1:
                assert how == "survived", (point, found)
            if point[1]["times"] == EVER:
                assert how == "coded", (point, found)  # it never stops: that is told


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_failure_of_webgpu_is_survived_or_told(matrix, kind, stage):
    tried(matrix, kind, stage, 1 if kind == "lost" else SAMPLE)


@pytest.mark.parametrize("stage", [pytest.param(stage, marks=LONG) for stage in STAGES])
@pytest.mark.parametrize("kind", KINDS)
def test_many_failures_of_webgpu(matrix, kind, stage, request):
    tried(matrix, kind, stage, request.config.getoption("--fault-points"))
