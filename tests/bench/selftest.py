"""The start-up self-test on this machine's GPU, as JSON: as a first start has it, and as a whole.

    python3 tests/bench/selftest.py [--starts 3] [--models llama-mixed,qwen3_5-mlx4] [--variants f16,subgroups]
    python3 tests/bench/selftest.py --browser "chromium --user-data-dir={profile} {url}" [--starts 3] [--models all]

Natively each start is a new process (needs wgpu, numpy and jinja2); in a browser a new profile that loads the tiny model from the built
site (needs `dist/`). `ms` (chains of dispatches, features) and `kernels_ms` (known answers of the kernels) add up to what the test takes;
`ready_ms`: from the page's start until the model is ready, `load_ms` its parts. Without `dist/selftest.json` nothing is compiled while Python boots.
"""
import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from speed import measured  # noqa: E402  this folder is no package of its own
from pyengine import flags, selftest, selftest_kernels  # noqa: E402  the tree is none either


async def tested(full, variants, model):
    """One test on a native device."""
    from pyengine.device.native import NativeDevice

    device = await NativeDevice.create()
    if variants:
        device.caps = replace(device.caps, variants=flags.variants_of(variants))
    uses = [name for name in flags.FEATURES if device.caps.uses(name)]
    report = await selftest.selftest(device, full=full, kernels=model)
    device.close()
    return {**device.info, "uses": uses, **summary(asdict(report))}


def summary(report):
    """A report with its rows counted, but for the wrong ones."""
    rows = report.pop("rows", [])
    wrong = [row for row in rows if not row["right"]]
    return {**report, "total_ms": report["ms"] + report["kernels_ms"],
            "right": len(rows) - len(wrong), "wrong": wrong}


def first_start(variants, model):
    """A process of its own: no shader is compiled yet, but what the driver keeps on disk."""
    command = [sys.executable, __file__, "--one", "--variants", variants, "--models", model]
    quiet = dict(os.environ, __GL_SHADER_DISK_CACHE="0", MESA_SHADER_CACHE_DISABLE="true")
    return json.loads(subprocess.run(command, env=quiet, stdout=subprocess.PIPE, check=True).stdout)


def in_browser(browser, model, whole, seconds):
    """One first start in a new profile, whose model is the tiny one itself."""
    files = selftest_kernels.files(selftest_kernels.known(model))
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        page = "selftest.html?whole" if whole else "selftest.html"
        answer = measured(page, browser, seconds, Path(folder)) or {"error": "no answer"}
    if "error" in answer:
        return answer
    device = answer["device"]
    found = {"vendor": device["vendor"], "f16": device["f16"], "subgroups": device["subgroups"],
             **device["selftest"]}
    found["total_ms"] = found["ms"] + found["kernels_ms"]
    found |= {"ready_ms": answer["ready_ms"], "load_ms": answer["load_ms"]}
    return {**found, "whole": summary(answer["whole"])} if whole else found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--models", default="llama-mixed", help="whose kernels a start tests: names, or all")
    parser.add_argument("--variants", default="", help="natively: features that kernels are to use; none at all: none")
    parser.add_argument("--browser", help="its command; else natively")
    parser.add_argument("--seconds", type=int, default=300, help="give a browser up after this long")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    models = selftest_kernels.MODELS if o.models == "all" else o.models.split(",")
    if o.one:
        print(json.dumps(asyncio.run(tested(False, o.variants, models[0]))))
        return
    found = {}
    for model in models:
        if o.browser:
            found[model] = [in_browser(o.browser, model, i == 0, o.seconds) for i in range(o.starts)]
        else:
            found[model] = [first_start(o.variants, model) for _ in range(o.starts)]
    if not o.browser:
        found["whole"] = asyncio.run(tested(True, o.variants, models[0]))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
