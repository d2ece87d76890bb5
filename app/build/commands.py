"""The commands of build.py. They run inside the venv; build.py sees to that."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from app.build import browsers, lan, made, node, server, settings, site, venv
from app.build.console import BuildError, human_bytes, say, step
from app.build.fetch import Cache


def fetch(names=()):
    """Every asset into the cache, or the named models, which the next build ships too."""
    with site.build_lock():
        if not names:
            cache, _, _ = site.fetch()
        for name in names:
            cache = Cache()
            path = made.make(cache, made.find(name))
            step(f"{name} is in {path}")
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
    """Build, then serve dist/ over http until SIGINT or SIGTERM."""
    here = server.Site(Path(settings.DIST))
    server.make_server(here, host, port).server_close()      # a taken port is told before the build
    build()
    http = server.make_server(here, host, port)
    shown = "localhost" if host in (*lan.EVERY, *lan.LOOPBACK) else lan.in_url(host)
    say(f"\n  Jird is at http://{shown}:{http.server_address[1]}/   (Ctrl+C stops it)")
    if host not in ("localhost", *lan.LOOPBACK):
        say("  From other machines browsers give WebGPU only over https: add --https.")
    run_until_stopped(http)


def serve_https(host, port):
    """Build, then serve dist/ over TLS, and a help page on the next port, until stopped."""
    venv.ensure("https")
    from app.build import certificates, https
    folder, names = settings.cache_dir() / "https", lan.names(host)
    with site.build_lock():
        own = certificates.ensure(folder, names)
    here = server.Site(Path(settings.DIST))
    for early in https.make_servers(here, host, port, own, names):
        early.server_close()
    build()
    servers = https.make_servers(here, host, port, own, names)
    https.announce(host, names, servers[0].server_address[1], own)
    run_until_stopped(*servers)


def run_until_stopped(*servers):
    """Serve until SIGINT or SIGTERM; the first in this thread."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for other in servers[1:]:
        threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        servers[0].serve_forever()
    except KeyboardInterrupt:
        say("")
    finally:
        for each in servers:
            each.server_close()


def test(arguments):
    """Get browsers and drivers, build the site, run pytest; returns its exit status."""
    browsers.ensure()
    build()
    for folder, what in ((settings.TINT, "WGSL compiler"), (settings.OPENAI, "OpenAI client"),
                         (settings.AXE, "axe-core")):
        try:
            node.ensure_modules(folder)
        except BuildError as error:  # its tests say that they are skipped
            step(f"no {what} for the tests: {error.what}")
    env = os.environ | browsers.lavapipe_environment() | {"JIRD_DIST_READY": "1"}
    command = [sys.executable, "-m", "pytest", *arguments]
    step("pytest " + " ".join(arguments))
    return subprocess.run(command, cwd=settings.ROOT, env=env).returncode
