"""The start-up self-test on this machine's native GPU, as JSON: in new processes, as a first start has it, then as a whole.

    python3 tests/bench/selftest.py [--starts 3] [--variants f16,subgroups] [--model llama-mixed]

`ms` (chains of dispatches, features) and `kernels_ms` (known answers of the kernels) add up to what the test takes. Needs wgpu,
numpy and jinja2. In a browser any of speed.py's and load.py's results has the same under `device.selftest`, where `cached` is false.
"""
import argparse
import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from pyengine import flags, selftest  # noqa: E402  the tree is no package of its own
from pyengine.device.native import NativeDevice  # noqa: E402
from pyengine.selftest_kernels import MODELS  # noqa: E402


async def tested(full, variants, model):
    device = await NativeDevice.create()
    if variants:
        device.caps = replace(device.caps, variants=flags.variants_of(variants))
    uses = [name for name in flags.FEATURES if device.caps.uses(name)]
    report = asdict(await selftest.selftest(device, full=full, kernels=model))
    device.close()
    rows = report.pop("rows")
    wrong = [row for row in rows if not row["right"]]
    return {**device.info, "uses": uses, **report, "total_ms": report["ms"] + report["kernels_ms"],
            "right": len(rows) - len(wrong), "wrong": wrong}


def first_start(variants, model):
    """A process of its own: no shader is compiled yet, but what the driver keeps on disk."""
    command = [sys.executable, __file__, "--one", "--variants", variants, "--model", model]
    quiet = dict(os.environ, __GL_SHADER_DISK_CACHE="0", MESA_SHADER_CACHE_DISABLE="true")
    return json.loads(subprocess.run(command, env=quiet, stdout=subprocess.PIPE, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--variants", default="", help="features that kernels are to use; none at all: none")
    parser.add_argument("--model", default="llama-mixed", choices=MODELS, help="whose kernels a start tests")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(asyncio.run(tested(False, args.variants, args.model))))
        return
    found = {"starts": [first_start(args.variants, args.model) for _ in range(args.starts)],
             "whole": asyncio.run(tested(True, args.variants, args.model))}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
