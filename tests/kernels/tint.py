"""Compiles shaders with Chromium's WGSL front end, by `tint_check.mjs` in Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("tint_check.mjs")


def errors(shaders, types=("error",)):
    """{name: [messages of those types]} of `shaders` {name: WGSL}, where there are any; skips the
    test where Tint is not to be had."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on this machine")
    lines = "\n".join(json.dumps({"name": name, "code": code}) for name, code in shaders.items())
    done = subprocess.run(
        [node, str(SCRIPT), str(SCRIPT.parent)], input=lines, text=True,
        capture_output=True, timeout=240, check=False
    )
    if done.returncode == 3:
        pytest.skip("the npm package webgpu (Tint) is not installed")
    # Dawn writes warnings to stdout too, as plain text
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name":')]
    assert done.returncode in (0, 1) and len(answers) == len(shaders), done.stderr[-2000:]
    found = {a["name"]: [m for m in a["messages"] if m["type"] in types] for a in answers}
    return {name: messages for name, messages in found.items() if messages}
