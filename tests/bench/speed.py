"""Decode and prefill speed of the built site in one browser, as JSON: the figures of docs/performance.md.

    python3 tests/bench/speed.py [--browser "chromium --user-data-dir={profile} {url}"] [--repeats 5] ...

Needs `dist/` (python3 build.py build) and a browser; only the standard library. In the browser's command {url} and {profile} are
filled in; it is ended when the page has reported.
"""
import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from pyengine.profiler import table  # noqa: E402  the tree is no package of its own
SWIFTSHADER = ("chromium --headless=new --no-sandbox --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader "
               "--disable-quic --disable-background-networking --disable-component-update --disable-sync "
               "--user-data-dir={profile} {url}")
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


class Handler(SimpleHTTPRequestHandler):
    """`/bench/` is this folder, `/model/` that of --model, the rest is dist/; a POST is the page's answer."""
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES

    def translate_path(self, path):
        path = path.split("?")[0].lstrip("/")
        inside = path.removeprefix("bench/")
        if self.server.model and path.startswith("model/"):
            return str(self.server.model / path.removeprefix("model/"))
        return str(Path(__file__).parent / inside if inside != path else ROOT / "dist" / path)

    def do_POST(self):
        self.server.answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.answered.set()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A browser gives up the ranges that a server without ranges sends whole: no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--browser", default=SWIFTSHADER)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--contexts", default="64,512,2048", help="positions before decoding begins")
    parser.add_argument("--prefills", default="128,401,2048", help="prompt lengths")
    parser.add_argument("--tokens", type=int, default=257, help="tokens of each decoding run")
    parser.add_argument("--profile", action="store_true",
                        help="time each kernel instead, as a table on stderr and JSON")
    parser.add_argument("--long", metavar="N@C", help="instead decode N tokens from context C and compare with "
                        "fresh prefills, such as 2000@6000; give --context 8192")
    parser.add_argument("--json-mode", action="store_true", help="instead decode one token a burst with and without a "
                        "JSON schema, in turns")
    parser.add_argument("--model", type=Path, help="folder of a checkpoint; else the site's own model")
    parser.add_argument("--context", type=int, help="positions of the KV cache")
    parser.add_argument("--tune", choices=("on", "off"), help="the autotuner; else the device decides")
    parser.add_argument("--apart", help="hybrid layers' parts to leave apart: norm,conv,stack")
    parser.add_argument("--delta-state", choices=("f32", "f16x2"), help="of hybrid layers")
    parser.add_argument("--variants", help="features that kernels may use: f16, subgroups, both with a comma, or none")
    parser.add_argument("--seconds", type=int, default=900, help="give up after this long")
    return parser.parse_args()


def measured(page, browser, seconds, model=None):
    """What `page` (a path below /bench/ with its query) reports from `browser`, a command; None after `seconds`."""
    server = Server(("127.0.0.1", 0), Handler)
    server.answer, server.answered = None, threading.Event()
    server.model = model and model.resolve()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/bench/{page}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [part.format(profile=profile, url=url) for part in shlex.split(browser)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server.answered.wait(seconds)
        process.terminate()
        process.wait()
    return server.answer


def main():
    o = options()
    query = f"repeats={o.repeats}&contexts={o.contexts}&prefills={o.prefills}&tokens={o.tokens}"
    passed = ("profile", "long", "json_mode", "context", "tune", "apart", "delta_state", "variants")
    query += "".join(f"&{name}={value}" for name in passed if (value := getattr(o, name)))
    query += "&model=../model/" if o.model else ""
    answer = measured(f"speed.html?{query}", o.browser, o.seconds, o.model)
    print(json.dumps(answer, indent=1))
    for report in (answer or {}).get("profiles", ()):
        print(table(report), file=sys.stderr)
    return 0 if answer and "error" not in answer else 1


if __name__ == "__main__":
    sys.exit(main())
