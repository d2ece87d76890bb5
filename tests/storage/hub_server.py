"""A server of model files that can be told to fail, and that counts what it was asked for.

    hub = Hub({"m/model.gguf": data}); url, stop = serve_in_thread(root, fault=hub.answer)
    hub.fault = lambda asked: Fault(cut=1000) if asked.n == 3 else None
    hub.log -> [Asked]; hub.chunks("m/model.gguf") -> {chunk: times it was asked for}

Files lie below /hub/. `other_origin(hub)` serves the same files elsewhere, with CORS.
"""

import hashlib
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from app.build import server

CHUNK = 4 << 20
BLOCK = 1 << 16
EXPOSED = "ETag, Content-Range, Content-Length, Retry-After, Last-Modified"


@dataclass
class Asked:
    """One request: `n` counts those of a path from 1; start and end (exclusive) as asked for; when
    it came, in seconds."""

    path: str
    n: int
    start: int | None
    end: int | None
    headers: dict
    at: float = field(default_factory=time.monotonic)
    status: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Fault:
    """What is done instead of a right answer; the defaults change nothing."""

    status: int = 0  # refuse with this status
    headers: dict = field(default_factory=dict)
    cut: int | None = None  # reset the connection after so many bytes of the body
    short: int | None = None  # end the body cleanly after so many bytes, without Content-Length
    no_range: bool = False  # send all of it with 200
    hide_length: bool = False  # no Content-Length, chunked
    redirect: str = ""
    wait: float = 0.0  # seconds before the answer


def etag_of(data):
    return f'"{hashlib.sha256(data).hexdigest()[:20]}"'


class Hub:
    """Files by path, their faults, and a log; `rate`: bytes a second of all connections."""

    def __init__(self, files=None, rate=None):
        self.files = dict(files or {})
        self.fault = lambda asked: None
        self.log = []
        self.rate = rate
        self.json = {}
        self.run = 0
        self.released = threading.Event()  # ends what a fault waits for
        self._lock = threading.Lock()

    def again(self):
        """Begins an empty log of the specs that are made from now on.

        A connection that a browser gave up may still reach a busy server: it is of an older run.
        """
        with self._lock:
            self.run += 1
            self.log = []

    def hold(self, first):
        """Answers no range from chunk `first` on before `release()`: a transfer stays under way."""
        self.released.clear()
        self.fault = lambda asked: Fault(wait=600) if (asked.start or 0) >= first * CHUNK else None

    def release(self):
        self.fault = lambda asked: None
        self.released.set()

    def etag(self, path):
        return etag_of(self.files[path])

    def sha256(self, path):
        return hashlib.sha256(self.files[path]).hexdigest()

    def chunks(self, path, log=None):
        """{chunk: how often a range began in it} of the requests answered 206."""
        counts = {}
        for asked in self.log if log is None else log:
            if asked.path == path and asked.status == 206:
                chunk = asked.start // CHUNK
                counts[chunk] = counts.get(chunk, 0) + 1
        return counts

    def answer(self, handler):
        """The hook of app.build.server: True when the request was for a file of this hub."""
        name = unquote(urlsplit(handler.path).path)
        if not name.startswith("/hub/"):
            return False
        path = name.removeprefix("/hub/")
        asked = self._note(path, handler)
        fault = self.fault(asked) or Fault()
        self.released.wait(fault.wait)
        try:
            self._send(handler, asked, fault)
        except (ConnectionError, TimeoutError):
            handler.close_connection = True
        return True

    def _note(self, path, handler):
        value = server.parse_range(handler.headers.get("Range"), 1 << 60)
        start, end = (value[0], value[1] + 1) if value else (None, None)
        with self._lock:
            n = 1 + sum(1 for other in self.log if other.path == path)
            asked = Asked(path, n, start, end, dict(handler.headers))
            if urlsplit(handler.path).query in ("", f"run={self.run}"):
                self.log.append(asked)
        return asked

    def _send(self, handler, asked, fault):
        if fault.redirect:
            return self._head(
                handler, asked, 302, {"Location": fault.redirect, "Content-Length": "0"}
            )
        if fault.status or (asked.path not in self.files and asked.path not in self.json):
            return self._head(
                handler, asked, fault.status or 404, {"Content-Length": "0", **fault.headers}
            )
        data = self.json.get(asked.path) or self.files[asked.path]
        tag = None if asked.path in self.json else etag_of(data)  # the file may change meanwhile
        fresh = asked.headers.get("If-Range") in (None, tag)
        partial = asked.start is not None and fresh and not fault.no_range
        if partial and asked.start >= len(data):
            return self._head(
                handler,
                asked,
                416,
                {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"},
            )
        start, end = (asked.start, min(asked.end, len(data))) if partial else (0, len(data))
        headers = {"Content-Type": "application/octet-stream"}
        if tag:
            headers["ETag"] = tag
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        if fault.short is None and not fault.hide_length:
            headers["Content-Length"] = str(end - start)
        else:
            headers["Connection"] = "close"
        self._head(handler, asked, 206 if partial else 200, headers | fault.headers)
        if handler.command == "HEAD":
            return None
        stop = fault.cut if fault.cut is not None else fault.short
        self._body(handler, asked, memoryview(data)[start:end][:stop])
        if fault.cut is not None and fault.cut < end - start:
            # RST rather than FIN: the browser must not take what came for all of it.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            handler.close_connection = True
            handler.connection.close()
        return None

    def _head(self, handler, asked, status, headers):
        asked.status = status
        handler.send_response_only(status)
        headers = (
            {"Date": handler.date_time_string()}
            | headers
            | {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED}
        )
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()

    def _body(self, handler, asked, data):
        for at in range(0, len(data), BLOCK):
            block = data[at : at + BLOCK]
            if rate := self.rate:
                with self._lock:
                    time.sleep(len(block) / rate)
            asked.sent += len(block)  # before the browser can have it
            handler.wfile.write(block)


class _Elsewhere(server.Handler):
    """A hub on an origin of its own: answers preflights too."""

    def do_OPTIONS(self):
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "Authorization")
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def other_origin(hub, root):
    """The base URL of another origin that serves the hub's files."""
    site = server.Site(root, fault=hub.answer)
    httpd = server.Server(("127.0.0.1", 0), type("Elsewhere", (_Elsewhere,), {"site": site}))
    thread = threading.Thread(
        target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
