"""The commands of build.py. They run inside the venv; build.py sees to that."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.build import browsers, node, server, settings, site
from app.build.console import BuildError, human_bytes, say, step


def fetch():
    """Every asset into the cache."""
    with site.build_lock():
        cache, _, _ = site.fetch()
    report(cache)


def build():
    """Write dist/."""
    start = time.monotonic()
    cache = site.build()
    report(cache)
    step(f"{settings.DIST.name}/ is ready: {human_bytes(site.total_bytes())}, "
         f"{time.monotonic() - start:.1f} s")


def report(cache):
    """One line on what was downloaded."""
    if cache.fetched:
        step("downloaded: " + ", ".join(name for name, _ in cache.fetched))
    else:
        step("every asset was in the cache")


def serve(host, port):
    """Build, then serve dist/ until SIGINT or SIGTERM."""
    here = server.Site(Path(settings.DIST))
    server.make_server(here, host, port).server_close()      # a taken port is told before the build
    build()
    http = server.make_server(here, host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    shown = "localhost" if host in ("", "127.0.0.1", "0.0.0.0", "::", "::1") else host
    say(f"\n  Jird is at http://{shown}:{http.server_address[1]}/   (Ctrl+C stops it)")
    if host not in ("", "127.0.0.1", "localhost", "::1"):
        say("  From other machines browsers give WebGPU only over https: put a TLS proxy in front.")
    try:
        http.serve_forever()
    except KeyboardInterrupt:
        say("")
    finally:
        http.server_close()


def test(arguments):
    """Get browsers and drivers, build the site, run pytest; returns its exit status."""
    browsers.ensure()
    build()
    try:
        node.ensure_modules(settings.TINT)
    except BuildError as error:  # its tests say that they are skipped
        step(f"no WGSL compiler for the tests: {error.what}")
    env = os.environ | browsers.lavapipe_environment() | {"JIRD_DIST_READY": "1"}
    command = [sys.executable, "-m", "pytest", *arguments]
    step("pytest " + " ".join(arguments))
    return subprocess.run(command, cwd=settings.ROOT, env=env).returncode
