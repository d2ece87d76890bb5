"""`serve --https`: TLS for the site, and a plain page beside it that explains how to trust it."""

import html
import io
import re
import socket
import ssl
import string
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from app.build import lan, server
from app.build.console import BuildError, say, step

HANDSHAKE_S = 20
PAIRS = 20  # tries to find two neighbouring ports for --port 0
TLS_HANDSHAKE = b"\x16"  # the first byte of every TLS connection
CA_PATH = "/jird-ca.crt"
CA_TYPE = "application/x-x509-ca-cert"  # what makes iOS offer it as a profile
PAGE = Path(__file__).with_name("trust.html")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]")


class TlsServer(server.Server):
    """Speaks TLS; a plain request to the same port is sent on to https."""

    context: ssl.SSLContext

    def finish_request(self, request, client_address):
        """Runs in the connection's own thread, so that a slow handshake holds up nobody else."""
        request.settimeout(HANDSHAKE_S)
        first = request.recv(1, socket.MSG_PEEK)
        if first != TLS_HANDSHAKE:
            if first:
                ToHttps(request, client_address, self)
            return
        with self.context.wrap_socket(request, server_side=True) as tls:
            tls.settimeout(None)
            self.RequestHandlerClass(tls, client_address, self)

    def handle_error(self, request, client_address):
        """Devices that do not trust the authority yet break off: said once each, not as a crash."""
        import sys

        error = sys.exc_info()[1]
        if not isinstance(error, ssl.SSLError):
            super().handle_error(request, client_address)
        elif "ALERT" in (error.reason or "") and client_address[0] not in self.refused:
            self.refused.add(client_address[0])
            step(f"{client_address[0]} does not trust this server's certificate yet")

    def __init__(self, *args):
        self.refused = set()
        super().__init__(*args)


class TlsServerV6(TlsServer):
    address_family = socket.AF_INET6


class ToHttps(BaseHTTPRequestHandler):
    """Answers a plain request with the https address of the same page."""

    server_version, sys_version = "jird", ""

    def do_GET(self):
        host, _, port = _host_of(self).rpartition(":")
        host, port = (host, port) if port.isdigit() else (_host_of(self), "")
        path = self.path if self.path.startswith("/") else "/"
        self.send_response(HTTPStatus.TEMPORARY_REDIRECT)
        self.send_header("Location", f"https://{host}{':' + port if port else ''}{path}")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        """Silent, as the site's own handler is."""


class HelpHandler(BaseHTTPRequestHandler):
    """The page that explains trusting the authority, and the authority itself."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "jird", ""
    timeout = HANDSHAKE_S

    def do_GET(self, body=True):
        path = self.path.partition("?")[0]
        if path == CA_PATH:
            self.answer(HTTPStatus.OK, CA_TYPE, self.server.certificates.ca, body)
        elif path in ("/", "/index.html"):
            self.answer(HTTPStatus.OK, server.TYPES[".html"], self.page().encode(), body)
        else:
            self.answer(HTTPStatus.NOT_FOUND, server.TYPES[".txt"], b"404 Not Found\n", body)

    def do_HEAD(self):
        self.do_GET(body=False)

    def page(self):
        """The page for the name under which it was asked for, so that its link works there too."""
        host = _host_of(self)
        name = host if _HOST.fullmatch(host) else host.rpartition(":")[0]
        site = f"https://{name or lan.in_url(self.server.names.shown)}:{self.server.https_port}/"
        return string.Template(PAGE.read_text(encoding="utf-8")).substitute(
            site=html.escape(site, quote=True),
            ca=CA_PATH,
            name=html.escape(self.server.certificates.name),
            fingerprint=self.server.certificates.fingerprint,
        )

    def answer(self, status, kind, data, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args):
        """Silent, as the site's own handler is."""


class HelpServer(server.Server):
    """`certificates`, `names` and `https_port` are what the page tells."""


class HelpServerV6(HelpServer):
    address_family = socket.AF_INET6


def _host_of(handler):
    """The request's Host header with its port, or "" where it is none that could be meant."""
    host = (handler.headers.get("Host") or "").strip()
    return host if re.fullmatch(rf"(?:{_HOST.pattern})(?::\d{{1,5}})?", host) else ""


def make_servers(site, host, port, certificates, names):
    """(site over TLS, help page one port on), both bound. Raises BuildError for a taken one."""
    for left in reversed(range(1 if port else PAIRS)):  # any free port may have a taken neighbour
        https = server.make_server(site, host, port, (TlsServer, TlsServerV6))
        try:
            help_page = _help_server(host, https.server_address[1])
            break
        except BuildError:
            https.server_close()
            if not left:
                raise
    https.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    https.context.minimum_version = ssl.TLSVersion.TLSv1_2
    https.context.load_cert_chain(certificates.chain)
    help_page.certificates, help_page.names = certificates, names
    return https, help_page


def _help_server(host, https_port):
    kind = HelpServerV6 if ":" in host else HelpServer
    try:
        found = kind((host, https_port + 1), HelpHandler)
    except (OSError, OverflowError) as error:
        raise BuildError(
            f"Port {https_port + 1} of {host}, for the page that explains trusting the "
            f"certificate, cannot be used: {error}.",
            "Choose another --port: it and the next one must be free.",
        ) from error
    found.https_port = https_port
    return found


def qr_text(text):
    """A QR code for a terminal, as lines of half blocks."""
    import segno

    out = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(out=out, compact=True, border=2)
    return out.getvalue().rstrip("\n")


def announce(host, names, https_port, certificates):
    """What a person must know: the addresses, who can reach them, and how to trust them."""
    site = f"https://{lan.in_url(names.shown)}:{https_port}/"
    help_url = f"http://{lan.in_url(names.shown)}:{https_port + 1}/"
    say(f"\n  Jird is at {site}   (Ctrl+C stops it)")
    if not names.listed:
        say("  Only this machine reaches it.")
    elif host in lan.EVERY:
        say(f"  On this machine: https://localhost:{https_port}/")
        say("  It listens on every network of this machine; --host 127.0.0.1 keeps it here.")
    say(f"\n  Each device must trust it once: {help_url} explains how, and then leads to Jird.")
    say(f"  The certificate's SHA-256 is {certificates.fingerprint}")
    say("\n" + qr_text(help_url))
