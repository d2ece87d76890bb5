"""The fault matrix: each kind of failure at seeded points of load, prefill and decode on the tiny
model. The text equals the fault-free run's, or a coded error comes soon; nothing is left behind.

`--long` tries 50 points of each; run with -s to see the table."""
import asyncio
import random
from pathlib import Path

import pytest

from app.steady import load_steadily
from pyengine.errors import EngineError
from pyengine.formats.checkpoint import open_path
from tests.checkpoints import GREEDY
from tests.faults import KINDS, Faults
from tests.support import own_seconds

TINY = Path(__file__).resolve().parents[1] / "goldens/models-tiny/llama"
IDS = [5, 17, 99, 3, 42, 7, 8]
LENGTH = 17
SOON = 5
STAGES = ("load", "prefill", "decode")
CODES = {"E_DEVICE_LOST", "E_GPU", "E_NO_ANSWER", "E_OUT_OF_MEMORY"}


async def run(faults, checkpoint, stage=None, plant=None):
    """Load and generate; the plant goes in before `stage`. -> (ids, {stage: calls})."""
    calls, begun = {}, len(faults.calls)

    def enter(name):
        nonlocal begun
        calls["last"], begun = len(faults.calls) - begun, len(faults.calls)
        if plant and name == stage:
            faults.plant(*plant)
        return calls.pop("last")

    enter("load")
    engine = await load_steadily(checkpoint, faults.open, quant="keep", kv="f32", context=96,
                                 burst=2)
    try:
        found = []
        calls["load"] = enter("prefill")
        async for batch in engine.generate_ids(IDS, GREEDY, max_tokens=LENGTH):
            if not found:
                calls["prefill"] = enter("decode")
            found += batch.ids
        calls["decode"] = enter(None)
        return found, calls
    finally:
        await engine.close()


def outcome(checkpoint, want, stage, kind, at, times):
    """"survived" or "coded" of one failure."""
    faults, began = Faults(), own_seconds()
    try:
        got = asyncio.run(run(faults, checkpoint, stage, (kind, at, times)))[0]
        assert got == want, (stage, kind, at, times)
        found = "survived"
    except EngineError as error:
        assert error.code in CODES and error.next_step
        found = "coded"
    assert own_seconds() - began < SOON and faults.live == 0, (stage, kind, at, times)
    assert faults.calls and len(faults.calls) > at
    return found


def matrix(points):
    """{(stage, kind, times): [tried, survived, coded]}; a failure that comes `times` times."""
    checkpoint = asyncio.run(open_path(str(TINY)))
    want, calls = asyncio.run(run(Faults(), checkpoint))
    rng, table = random.Random(769), {}
    for stage in STAGES:
        for kind in KINDS:
            for number in range(points):
                times = (1, 1, 1, 2, 12)[number % 5]
                row = table.setdefault((stage, kind, times), [0, 0, 0])
                found = outcome(checkpoint, want, stage, kind, rng.randrange(calls[stage]), times)
                row[0] += 1
                row[1 + (found == "coded")] += 1
    return table


def show(table):
    """The table of docs/reliability.md: a line for each kind, stages together."""
    print("\n| failure | times | tried | survived | coded |\n|---|---|---|---|---|")
    for kind, times in sorted({(kind, times) for _, kind, times in table}):
        rows = [table[stage, kind, times] for stage in STAGES if (stage, kind, times) in table]
        print(f"| {kind} | {times} |", " | ".join(map(str, map(sum, zip(*rows)))), "|")


@pytest.mark.parametrize("points", [5, pytest.param(0, marks=pytest.mark.long)])
def test_each_failure_is_survived_or_told(points, request):
    points = points or request.config.getoption("--fault-points")
    table = matrix(points)
    show(table)
    assert sum(row[0] for row in table.values()) == len(STAGES) * len(KINDS) * points
    for (_, kind, times), (tried, survived, _) in table.items():
        if times == 1:
            assert survived == tried, kind
        if times == 12:
            assert survived == 0, kind  # it never stops failing: that is told
