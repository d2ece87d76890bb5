"""Runs the benchmark's pages in one browser and prints their figures as JSON: the kit's runner.

    python3 run.py [--browser "chromium --user-data-dir={profile} {url}"] [--only jird,wllama] ...

Standard library only, no network: it serves its own folder (made by `build.py bench --pack`) on
loopback, cross-origin isolated so that the peers have their threads, and starts the browser's
command with {url} and {profile} filled in. Pages post each figure when they have it; one that
says nothing for too long is ended with the browser, and the next one starts in a new browser.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import processes  # noqa: E402
import random_model  # noqa: E402
import serve  # noqa: E402

KIT = Path(__file__).resolve().parent
SWIFTSHADER = (
    "chromium --headless=new --no-sandbox --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader "
    "--disable-quic --disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --no-first-run --user-data-dir={profile} {url}"
)
PEERS = (
    "jird",
    "wllama",
    "transformers-webgpu",
    "transformers-jspi",
    "transformers-wasm",
    "wllama-wasm",
)
DEFAULT_PEERS = PEERS[:5]
QUICK = {
    "repeats": 1,
    "contexts": "64",
    "prefills": "128",
    "tokens": 9,
    "scaling_contexts": "64,256",
    "models": "smollm2-135m,smollm2-360m",
}
PAGES = ("limits", "compare", "scaling")
ENDED_S = 1.5
GRACE_S = 90  # a page says something at least every limit + this many seconds
FAMILIES = {"transformers": "transformers.js", "wllama": "wllama"}


class Run:
    """Results by peer as they come: `results[peer][measure] = value`; `ended()` is called whenever
    a peer's turn ends."""

    def __init__(self, pages, ended=lambda: None):
        self.pages, self._ended = pages, ended  # {peer: path with its query}
        self.results = {peer: {} for peer in pages}
        self.left = list(pages)
        self.heard = threading.Event()
        self.browser = None

    def report(self, body):
        """Takes one report; -> {next} of the page to open, and the browser's memory."""
        peer, measure = body["peer"], body["measure"]
        if peer not in self.left:
            return {"next": None}  # one that was given up on
        print(f"  {peer} {measure}: {json.dumps(body['value'])[:150]}", file=sys.stderr, flush=True)
        if measure in ("browser", "memory"):
            self.results[peer][f"vram_mb.{measure}"] = processes.gpu_memory_mb()
        if measure != "end":
            self.results[peer][measure] = body["value"]
            self.heard.set()
            return {"next": None}
        self.finish(peer)
        self.heard.set()
        return {"next": self.pages[self.left[0]] if self.left else None}

    def finish(self, peer, reason=None):
        """Ends a peer's turn."""
        self.left.remove(peer)
        if self.browser:
            self.results[peer]["processes"] = self.browser.peaks()
        if reason:
            self.results[peer].setdefault("failed", reason)
        self._ended()


def drive(run, command, base, patience):
    """Opens pages until none is left; a browser that goes silent is ended with its page."""
    while run.left:
        with contextlib.ExitStack() as stack:
            with processes.held_back(signal.SIGTERM):  # or a browser just begun would be left
                browser = processes.Browser(command, base + run.pages[run.left[0]])
                run.browser = stack.enter_context(browser)
            while run.left:
                reason = silence(run, patience)
                if reason:
                    run.finish(run.left[0], reason)
                    break
        run.browser = None


def silence(run, patience):
    """Waits for the next report; -> None, or why none is to be expected."""
    began = ended = time.monotonic()
    while time.monotonic() - began < patience:
        run.heard.clear()
        if run.heard.wait(0.5):
            return None
        if run.browser.poll() is None:
            ended = time.monotonic()
        elif time.monotonic() - ended > ENDED_S:  # its last reports may still be under way
            return f"the browser ended with status {run.browser.poll()}"
    return f"silent for {patience} s: ended"


def pages_of(o, kit):
    """{name: path with query} of what was asked for; absent peers get a page of None."""
    common = {
        "limit": o.limit,
        "repeats": o.repeats,
        "contexts": o.contexts,
        "tokens": o.tokens,
        "prefills": o.prefills,
        "threads": o.threads,
        "site": "/site/",
        **kit["query"],
    }
    found = {}
    for page in o.pages.split(","):
        names = o.only.split(",") if page == "compare" else [page]
        unknown = [name for name in names if name not in (*PEERS, "limits", "scaling")]
        if unknown or page not in PAGES:
            sys.exit(
                f"run.py: {(unknown or [page])[0]} is not one of {', '.join((*PAGES, *PEERS))}"
            )
        for name in names:
            query = {"peer": name, **common}
            if page == "scaling":
                query |= {"models": o.models, "contexts": o.scaling_contexts}
            found[name] = f"/{page}.html?{urllib.parse.urlencode(query)}"
    return found


def absent(name, kit):
    """Why a peer cannot run from this kit, or None."""
    return kit["absent"].get(FAMILIES.get(name.split("-")[0], name))


def options(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--browser", default=SWIFTSHADER, help="command with {url} and {profile}")
    parser.add_argument("--pages", default="limits,compare", help="of limits, compare, scaling")
    parser.add_argument("--only", default=",".join(DEFAULT_PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--contexts", default="64,512,2048", help="positions before decoding")
    parser.add_argument("--prefills", default="128,512,2048", help="prompt lengths")
    parser.add_argument("--tokens", type=int, default=129, help="tokens of each decoding run")
    parser.add_argument("--limit", type=int, default=120, help="seconds for one run of a measure")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the WASM peers")
    parser.add_argument(
        "--models",
        default="smollm2-135m,smollm2-360m,qwen3-0.6b,llama-3.2-1b",
        help="random-weight models of the scaling page, made when absent",
    )
    parser.add_argument("--scaling-contexts", default="64,256,512,1024,2048,4096")
    parser.add_argument("--quick", action="store_true", help="one short run of each measure")
    parser.add_argument("--out", type=Path, help="write the JSON here too, after each peer")
    parser.add_argument("--add", action="store_true", help="keep what --out has of other peers")
    parser.add_argument("--label", help="the machine, in words")
    if parser.parse_known_args(argv)[0].quick:      # what is given beside it still counts
        parser.set_defaults(**QUICK)
    return parser.parse_args(argv)


def main(argv=None):
    o = options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the browser is ended too
    kit = json.loads((KIT / "kit.json").read_text())
    pages = pages_of(o, kit)
    reasons = {name: absent(name, kit) for name in pages}
    if "scaling" in pages:
        random_model.ensure(KIT / "random", o.models.split(","))
    known = json.loads(o.out.read_text())["results"] if o.add and o.out.exists() else {}
    known |= {name: {"failed": reason} for name, reason in reasons.items() if reason}
    told = {key: value for key, value in vars(o).items() if key not in ("out", "label", "add")}
    facts = {"label": o.label, "options": told, "kit": kit, "machine": processes.machine()}

    def text():
        done = {name: found for name, found in run.results.items() if name not in run.left}
        return json.dumps({**facts, "results": known | done}, indent=1)

    def write():
        if o.out:
            o.out.parent.mkdir(parents=True, exist_ok=True)
            part = o.out.with_suffix(".part")
            part.write_text(text() + "\n")
            part.replace(o.out)

    run = Run({name: page for name, page in pages.items() if not reasons[name]}, write)
    drive(run, o.browser, serve.start(KIT, run.report), o.limit + GRACE_S)
    write()
    print(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
