"""Seeded mutations of a stored manifest, torn ones and ones with the right checksum: it counts as
none, or says sizes that can be, within 2 s and 64 MB of JavaScript's heap. `--long`: 1,000."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
STORAGE = HERE.parents[1] / "pwa_shell/js/storage"


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_a_mutated_manifest_is_read_or_counts_as_none(count):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, "--max-old-space-size=64", str(HERE / "manifest_mutations.mjs"), str(STORAGE),
               str(count), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(f"\n| manifest | {count} | {found['taken']} | {found['refused']} | {found['slowest'] / 1e3:.2f} | |")
    assert found["slowest"] < 2000
    assert found["refused"] > count // 4 and found["taken"] > count // 20
