"""Helpers that several test folders share."""
import contextlib
import os
import shutil
import socketserver
import threading
import time
from pathlib import Path

# How long a test waits for a state: what ends it is a hang, never a slow or busy machine.
WAIT_S = 60
WAIT_MS = 1000 * WAIT_S

# What Chromium asks for itself at a start, whatever the page; its switches do not stop these.
BROWSER_OWN = ("accounts.google.com", "content-autofill.googleapis.com", "update.googleapis.com",
               "clients2.google.com", "optimizationguide-pa.googleapis.com",
               "android.clients.google.com", "safebrowsingohttpgateway.googleapis.com")


def wait_until(true, seconds=WAIT_S):
    """-> what `true()` answers once it is true."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "never true"
        time.sleep(0.02)
    return found


def wait_without_workers(page):
    """Until the browser has told of the end of every worker of this page."""
    def gone():
        page.wait_for_timeout(50)  # in which its messages come
        return not page.workers

    wait_until(gone)


def own_seconds():
    """A clock that stands while other programs have this thread's CPU (Linux says for how long;
    elsewhere it is the plain clock): what the thread computes and what it sleeps count."""
    ready = 0
    with contextlib.suppress(OSError, IndexError):
        ready = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    return time.perf_counter() - ready / 1e9


LINKED = (".gguf", ".safetensors", ".wasm", ".whl")  # large, and nobody writes to them


def link_site(dist, root, left_out=("*.gguf",)):
    """The built site at `root`, whose small files may be written to; -> `root`."""
    ignore = shutil.ignore_patterns(*left_out)
    return shutil.copytree(dist, root, ignore=ignore, copy_function=_link_or_copy)


def _link_or_copy(source, target):
    if source.endswith(LINKED):
        with contextlib.suppress(OSError):  # another disk
            return os.link(source, target)
    return shutil.copy(source, target)


class _Refuse(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self):
        line = self.rfile.readline(4096).decode("latin-1").strip()
        if line and not any(f" {host}:443 " in line or f"//{host}/" in line for host in BROWSER_OWN):
            self.server.seen.append(line)
        if line:
            self.wfile.write(b"HTTP/1.1 502 Refused\r\nContent-Length: 0\r\n"
                             b"Connection: close\r\n\r\n")


class RefusingProxy:
    """An HTTP proxy on loopback that notes each request line in `seen` and answers 502."""

    def __init__(self):
        self.seen = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Refuse)
        self._server.daemon_threads = True
        self._server.seen = self.seen
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
