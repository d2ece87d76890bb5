"""A threaded static file server: correct MIME types, Range, ETag. Standard library only."""
import hashlib
import os
import re
import socket
import threading
import urllib.parse
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from app.build.console import BuildError

TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json", ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm", ".svg": "image/svg+xml", ".png": "image/png",
    ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
    ".zip": "application/zip", ".whl": "application/zip", ".gguf": "application/octet-stream",
    ".safetensors": "application/octet-stream",
}
CHUNK = 1 << 18


@dataclass
class Request:
    """One answered request: method, path as sent, Range header, status, body bytes sent."""
    method: str
    path: str
    range: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Site:
    """What a server shows: `root` below `prefix`. `log` grows by one Request each.

    `fault` is for tests: called with the handler first, it may answer itself and return True.
    """
    root: Path
    prefix: str = "/"
    log: list = field(default_factory=list)
    fault: object = None


def etag(stat):
    """Strong enough for Range: changes when the file is replaced or rewritten."""
    text = f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def parse_range(header, size):
    """(start, end) inclusive of one range, None to send all, False for 416 (RFC 9110, 14.2)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if not match or match.group(0) == "bytes=-":
        return None          # absent, malformed or several ranges: the whole file is allowed
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size - 1) if int(last) and size else False
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return (start, end) if start < size else False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "jird"
    sys_version = ""
    disable_nagle_algorithm = True  # a body behind its head would wait 40 ms
    site: Site

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def log_message(self, *args):
        """Silent: `Site.log` holds the requests."""

    def answer(self, body):
        self.entry = Request(self.command, self.path, self.headers.get("Range"))
        self.site.log.append(self.entry)
        if self.site.fault and self.site.fault(self):
            return
        path, redirect = self.resolve()
        if redirect:
            self.head(HTTPStatus.MOVED_PERMANENTLY, {"Location": redirect, "Content-Length": "0"})
            return
        try:
            file = open(path, "rb") if path else None
        except OSError:
            file = None
        if file is None:
            self.refuse(HTTPStatus.NOT_FOUND, body)
            return
        with file:
            self.send_file(file, path, body)

    def resolve(self):
        """(file path or None, redirect target or None); nothing outside the root is reached."""
        url = urllib.parse.urlsplit(self.path)
        name, prefix = urllib.parse.unquote(url.path), self.site.prefix
        if name + "/" == prefix:
            return None, prefix
        if not name.startswith(prefix) or "\0" in name:
            return None, None
        root = self.site.root.resolve()
        path = (root / name[len(prefix):].lstrip("/")).resolve()
        if path != root and root not in path.parents:
            return None, None
        if path.is_dir():
            if not name.endswith("/"):
                return None, "./" + urllib.parse.quote(path.name) + "/"
            path = path / "index.html"
        return path, None

    def send_file(self, file, path, body):
        """200, 206, 304 or 416 for an open file."""
        stat = os.fstat(file.fileno())
        tag, modified = etag(stat), formatdate(stat.st_mtime, usegmt=True)
        headers = {"ETag": tag, "Last-Modified": modified, "Accept-Ranges": "bytes",
                   "Cache-Control": "no-cache",
                   "Content-Type": TYPES.get(path.suffix.lower(), "application/octet-stream")}
        if self.unchanged(tag, modified):
            self.head(HTTPStatus.NOT_MODIFIED, headers)
            return
        wanted = None
        if self.headers.get("If-Range") in (None, tag, modified):
            wanted = parse_range(self.headers.get("Range"), stat.st_size)
        if wanted is False:
            self.refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, body,
                        {"Content-Range": f"bytes */{stat.st_size}"})
            return
        start, end = wanted or (0, stat.st_size - 1)
        headers["Content-Length"] = str(end - start + 1)
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{end}/{stat.st_size}"
        self.head(HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK, headers)
        if body:
            self.copy(file, start, end - start + 1)

    def unchanged(self, tag, modified):
        """True when the client's copy is current; If-None-Match wins over If-Modified-Since."""
        if (tags := self.headers.get("If-None-Match")) is not None:
            known = [t.strip().removeprefix("W/") for t in tags.split(",")]
            return "*" in known or tag in known
        return self.headers.get("If-Modified-Since") == modified

    def copy(self, file, start, length):
        file.seek(start)
        while length and (piece := file.read(min(CHUNK, length))):
            self.wfile.write(piece)
            length -= len(piece)
            self.entry.sent += len(piece)

    def head(self, status, headers):
        self.entry.status = int(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def refuse(self, status, body, headers=None):
        text = f"{int(status)} {status.phrase}\n".encode()
        self.head(status, {"Content-Type": TYPES[".txt"], "Content-Length": str(len(text)),
                           "Cache-Control": "no-store"} | (headers or {}))
        if body:
            self.wfile.write(text)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A browser that closes a connection is no error of ours; anything else is shown."""
        import sys
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class ServerV6(Server):
    address_family = socket.AF_INET6


def make_server(site, host, port, kinds=(Server, ServerV6)):
    """A bound server for `site`, one of `kinds` for IPv4 and IPv6.

    Raises BuildError when the port is taken, naming a free one.
    """
    handler = type("SiteHandler", (Handler,), {"site": site})
    kind = kinds[":" in host]
    try:
        return kind((host, port), handler)
    except OSError as error:
        free = next_free_port(host, port)
        raise BuildError(
            f"Port {port} of {host} cannot be used: {error.strerror}.",
            f"Stop what uses it, or run: python3 build.py serve --port {free}") from error


def next_free_port(host, port):
    """The first port after `port` that can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port + 1, min(port + 200, 65536)):
        with socket.socket(family) as s:
            try:
                s.bind((host, candidate))
                return candidate
            except OSError:
                continue
    return 0


def serve_in_thread(root, prefix="/", host="127.0.0.1", fault=None):
    """Serve `root` on a free port in a thread: (url, stop); `stop.site` has `log` and `fault`."""
    site = Site(Path(root), prefix, fault=fault)
    server = make_server(site, host, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05},
                              daemon=True)
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    stop.site = site
    return f"http://{host}:{server.server_address[1]}{prefix}", stop
