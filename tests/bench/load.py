"""How long the default model takes from this browser's storage to ready, beside booting Pyodide alone, as JSON.

    python3 tests/bench/load.py [--browser "chromium --user-data-dir={profile} {url}"] [--repeats 5] [--most 3000]

Needs `dist/` (python3 build.py build) and a browser. The model is stored first; each round boots Pyodide alone in a worker of its own,
then loads the model in a new engine worker. `over_ms` is median ready less median boot; with --most, more than that is a failure.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from speed import SWIFTSHADER, measured  # noqa: E402  this folder is no package of its own


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--browser", default=SWIFTSHADER)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--most", type=float, help="fail when ready comes more than so many ms after a boot alone")
    parser.add_argument("--seconds", type=int, default=600, help="give up after this long")
    o = parser.parse_args()
    answer = measured(f"load.html?repeats={o.repeats}", o.browser, o.seconds)
    print(json.dumps(answer, indent=1))
    if not answer or "error" in answer:
        return 1
    return int(o.most is not None and answer["over_ms"] > o.most)


if __name__ == "__main__":
    sys.exit(main())
