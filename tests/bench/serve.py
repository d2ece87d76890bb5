"""A folder on loopback for a benchmark's pages, with ranges and reports. Standard library only."""

import json
import os
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
CHUNK = 1 << 20


class Handler(SimpleHTTPRequestHandler):
    """Files below the server's folder, cross-origin isolated; a POST goes to `server.report`."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES
    protocol_version = "HTTP/1.1"

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = json.dumps(self.server.report(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        path = self.translate_path(self.path)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not match or not os.path.isfile(path):
            super().do_GET()
            return
        size = os.path.getsize(path)
        start = int(match[1])
        end = min(int(match[2]) if match[2] else size - 1, size - 1)
        if start > end:
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.send_part(path, start, end - start + 1)

    def send_part(self, path, start, left):
        """`left` bytes of a file from `start`."""
        with open(path, "rb") as f:
            f.seek(start)
            while left and (data := f.read(min(left, CHUNK))):
                self.wfile.write(data)
                left -= len(data)

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            pass  # the browser was ended

    def log_message(self, *_):
        pass


def start(folder, report):
    """A running server of `folder`; `report(body)` answers a page's POST. -> its base address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(folder)))
    server.daemon_threads, server.report = True, report
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
