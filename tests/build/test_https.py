"""`serve --https`: certificates made, kept and renewed; TLS verified by Python's ssl; the page that
explains trust; the QR code."""

import contextlib
import datetime
import hashlib
import http.client
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

import build
from app.build import lan, server, settings
from app.build.console import BuildError

x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
pytest.importorskip("segno", reason="segno is not installed")

from app.build import certificates, https  # what these need is known to be there
from tests.support import WAIT_S

NAMES = lan.Names(
    ("localhost", "den", "den.local"), ("127.0.0.1", "::1", "192.168.7.83"), ("192.168.7.83",)
)
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def running(tmp_path):
    """start(names) -> (https port, Certificates): both servers on loopback, stopped afterwards."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<p>home")
    stops = []

    def start(names=NAMES, fault=None):
        own = certificates.ensure(tmp_path / "https", names)
        site = server.Site(tmp_path / "site", fault=fault)
        for each in (servers := https.make_servers(site, "127.0.0.1", 0, own, names)):
            threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
            stops.append(each)
        return servers[0].server_address[1], own

    yield start
    for each in stops:
        each.shutdown()
        each.server_close()


def trusting(own):
    """A client's TLS context that trusts this authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=own.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def ask(port, context, path="/", host="localhost", method="GET"):
    """(status, headers, body) over TLS or, without a context, in the clear; sent to loopback."""
    kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
    options = {"context": context} if context else {}
    connection = kind(host, port, timeout=WAIT_S, **options)
    connection._create_connection = lambda address, *rest: socket.create_connection(
        ("127.0.0.1", port), WAIT_S
    )
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), reply.read()
    finally:
        connection.close()


def leaf(own):
    return x509.load_pem_x509_certificate(own.chain.read_bytes())


def test_every_name_is_verified_by_a_strict_client(running):
    port, own = running()
    for host in ("localhost", "den.local", "127.0.0.1", "192.168.7.83"):
        assert ask(port, trusting(own), host=host)[::2] == (200, b"<p>home")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch|not valid for"):
        ask(port, trusting(own), host="other.local")


def test_a_client_that_does_not_trust_it_is_told_of_once(running, capsys):
    port, own = running()
    for _ in range(3):
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(port, ssl.create_default_context())
    assert ask(port, trusting(own))[0] == 200
    out, err = capsys.readouterr()
    assert out.count("127.0.0.1 does not trust") == 1 and err == ""


def test_a_silent_connection_holds_up_nobody(running):
    port, own = running()
    with socket.create_connection(("127.0.0.1", port)):
        assert ask(port, trusting(own))[0] == 200


@pytest.mark.parametrize("junk", [b"", b"\x16\x03\x01\x00\x05junk!", b"\x00\x01", b"SSH-2.0-x\r\n"])
def test_junk_ends_only_its_own_connection(running, junk, capsys):
    port, own = running()
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as raw:
        raw.sendall(junk)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    assert ask(port, trusting(own))[0] == 200
    assert capsys.readouterr().err == ""


def test_plain_http_on_the_tls_port_is_sent_to_https(running):
    port, _ = running()
    status, headers, _ = ask(port, None, "/a/b?c=1", "192.168.7.83")
    assert (status, headers["Location"]) == (307, f"https://192.168.7.83:{port}/a/b?c=1")


def test_the_sites_own_handler_answers_over_tls(running):
    """HEAD, and a fault hook that answers in its place."""

    def gone(handler):
        if handler.path == "/x":
            handler.refuse(http.HTTPStatus.GONE, True)
            return True

    port, own = running(fault=gone)
    assert ask(port, trusting(own), "/x")[0] == 410
    assert ask(port, trusting(own), method="HEAD")[1]["Accept-Ranges"] == "bytes"


def test_the_certificates_say_what_apple_asks_for(tmp_path):
    own = certificates.ensure(tmp_path / "https", NAMES)
    certificate, authority = leaf(own), x509.load_der_x509_certificate(own.ca)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES.dns)
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == list(NAMES.ips)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert usage == x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= 825 * DAY
    assert certificate.signature_hash_algorithm.name == "sha256"
    basic = x509.BasicConstraints
    assert not certificate.extensions.get_extension_for_class(basic).value.ca
    constraints = authority.extensions.get_extension_for_class(basic)
    assert constraints.critical and constraints.value == basic(ca=True, path_length=0)
    assert "Jird on" in authority.subject.rfc4514_string()
    assert own.fingerprint.replace(":", "").lower() == hashlib.sha256(own.ca).hexdigest()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_keys_are_their_owners_only(tmp_path):
    folder = tmp_path / "https"
    old = os.umask(0)
    try:
        certificates.ensure(folder, NAMES)
    finally:
        os.umask(old)
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["ca.pem", "server.pem"], "nothing half-written stays"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in files:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        (folder / name).chmod(0o644)
    certificates.ensure(folder, NAMES)
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in files} == {0o600}


def test_a_second_run_keeps_both(tmp_path, capsys):
    first = certificates.ensure(tmp_path, NAMES)
    chain = first.chain.read_bytes()
    assert "authority" in capsys.readouterr().out
    second = certificates.ensure(tmp_path, NAMES)
    assert (second.ca, second.chain.read_bytes()) == (first.ca, chain)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change",
    [
        {"names": replace(NAMES, ips=("127.0.0.1", "::1", "10.0.0.7"))},
        {"names": replace(NAMES, dns=("localhost", "burrow"))},
        {"now": NOW + 368 * DAY},
        {"now": NOW + 500 * DAY},
    ],
    ids=["address", "host name", "soon over", "over"],
)
def test_what_changes_renews_only_the_servers(tmp_path, change):
    first = certificates.ensure(tmp_path, NAMES)
    chain = first.chain.read_bytes()
    second = certificates.ensure(tmp_path, **({"names": NAMES} | change))
    assert second.ca == first.ca and second.chain.read_bytes() != chain
    leaf(second).verify_directly_issued_by(x509.load_der_x509_certificate(second.ca))


@pytest.mark.parametrize("now", [NOW + 3640 * DAY, NOW - 400 * DAY], ids=["expired", "clock back"])
def test_an_authority_out_of_its_time_is_made_anew_with_its_certificate(tmp_path, now):
    first = certificates.ensure(tmp_path, NAMES)
    second = certificates.ensure(tmp_path, NAMES, now)
    assert second.ca != first.ca
    leaf(second).verify_directly_issued_by(x509.load_der_x509_certificate(second.ca))


@pytest.mark.parametrize("name", ["ca.pem", "server.pem"])
@pytest.mark.parametrize("damage", [b"", b"junk", "half", "other"], ids=str)
def test_damaged_files_are_made_anew(tmp_path, name, damage):
    first = certificates.ensure(tmp_path / "a", NAMES)
    path = first.chain.parent / name
    if damage == "half":
        damage = path.read_bytes()[:300]
    elif damage == "other":  # a key that is not the certificate's
        other = certificates.ensure(tmp_path / "b", NAMES).chain.parent / name
        end = b"-----END PRIVATE KEY-----\n"
        damage = other.read_bytes().split(end)[0] + end + path.read_bytes().split(end)[1]
    path.write_bytes(damage)
    second = certificates.ensure(tmp_path / "a", NAMES)
    assert (second.ca == first.ca) == (name == "server.pem")
    leaf(second).verify_directly_issued_by(x509.load_der_x509_certificate(second.ca))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(second.chain)


def test_the_help_page_and_the_certificate_for_devices(running):
    port, own = running()
    status, headers, body = ask(port + 1, None, "/jird-ca.crt?x=1", "192.168.7.83")
    assert (status, body, headers["Content-Type"]) == (200, own.ca, "application/x-x509-ca-cert")
    status, headers, body = ask(port + 1, None, "/", "192.168.7.83")
    text = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'href="https://192.168.7.83:{port}/"' in text and own.fingerprint in text
    assert 'href="/jird-ca.crt"' in text and "$" not in text
    assert own.name.startswith("Jird on ") and f"<b>{own.name}</b>" in text
    for words in ("Profile Downloaded", "Certificate Trust Settings", "Always Trust", "CA certificate"):
        assert words in text
    for path in ("/ca.pem", "/server.pem", "/../https/ca.pem", "/index.htm"):
        assert ask(port + 1, None, path)[0] == 404
    assert ask(port + 1, None, "/", method="HEAD")[2] == b""


@pytest.mark.parametrize("host", ["", "a b", '"><script>', "x" * 300, "evil.example/"])
def test_a_host_header_that_cannot_be_meant_is_not_echoed(running, host):
    port, _ = running()
    with socket.create_connection(("127.0.0.1", port + 1), WAIT_S) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert f'href="https://192.168.7.83:{port}/"' in text


def test_the_qr_code_holds_the_address():
    """Half blocks back to modules, compared with the code that segno makes of the same address."""
    import segno

    url = "http://192.168.7.83:8001/"
    lines = https.qr_text(url).splitlines()
    # light is drawn, for dark terminals
    halves = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    rows = [
        [halves[c][half] for c in re.sub(r"\x1b\[[0-9;]*m", "", line)]
        for line in lines
        for half in (0, 1)
    ]
    wanted = [list(row) for row in segno.make(url, error="m", micro=False).matrix_iter(border=2)]
    assert [[int(bool(dark)) for dark in row] for row in wanted] == rows[: len(wanted)]


def taken_above_a_free_one():
    """A listening socket whose neighbour below nobody uses."""
    while True:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with contextlib.suppress(OSError), socket.socket() as below:
            below.bind(("127.0.0.1", taken.getsockname()[1] - 1))
            return taken
        taken.close()


def test_a_taken_help_port_is_told(tmp_path):
    own = certificates.ensure(tmp_path, NAMES)
    with taken_above_a_free_one() as taken:
        port = taken.getsockname()[1] - 1
        with pytest.raises(BuildError) as caught:
            https.make_servers(server.Site(tmp_path), "127.0.0.1", port, own, NAMES)
    assert str(port + 1) in caught.value.what and "--port" in caught.value.next_step


def test_port_0_finds_two_neighbours(tmp_path, monkeypatch):
    """The first two pairs have a taken neighbour."""
    own, plain, tried = certificates.ensure(tmp_path, NAMES), https._help_server, []

    def taken_twice(host, port):
        tried.append(port)
        if len(tried) < 3:
            raise BuildError("taken", "another")
        return plain(host, port)

    monkeypatch.setattr(https, "_help_server", taken_twice)
    servers = https.make_servers(server.Site(tmp_path), "127.0.0.1", 0, own, NAMES)
    ports = [each.server_address[1] for each in servers]
    assert ports == [tried[2], tried[2] + 1] and len(tried) == 3
    for each in servers:
        each.server_close()


def test_names_of_this_machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Den.example.org")
    monkeypatch.setattr(lan, "_source_of", {"203.0.113.1": "192.168.7.83"}.get)
    found = [
        (0, 0, 0, "", (ip, 0))
        for ip in (
            "127.0.1.1",
            "fe80::1%eth0",
            "fe80::1",
            "2001:db8::7",
            "10.0.0.7",
            "192.168.7.83",
        )
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    assert lan.addresses() == ["192.168.7.83", "10.0.0.7", "2001:db8::7"]
    every = lan.names("0.0.0.0")
    assert every.dns == ("localhost", "den", "den.local") and every.shown == "192.168.7.83"
    assert every.ips == ("127.0.0.1", "::1", "192.168.7.83", "10.0.0.7")
    assert lan.names("::").ips[-1] == "2001:db8::7"
    assert lan.names("10.0.0.7").listed == ("10.0.0.7",)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert lan.names(host).listed == () and lan.names(host).shown == "localhost"
    assert lan.names("den.lan").dns[-1] == "den.lan" and lan.names("den.lan").shown == "den.lan"
    assert (lan.in_url("::1"), lan.in_url("10.0.0.7")) == ("[::1]", "10.0.0.7")


def test_a_machine_without_a_network(monkeypatch):
    def fails(*_):
        raise OSError

    monkeypatch.setattr(lan, "_source_of", lambda probe: None)
    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert lan.names("0.0.0.0").listed == ()


@pytest.mark.parametrize(
    ("argv", "called"),
    [
        (["serve"], ("http", "127.0.0.1", 8000)),
        (["serve", "--https"], ("https", "0.0.0.0", 8000)),
        (["serve", "--https", "--host", "10.0.0.7", "--port", "7"], ("https", "10.0.0.7", 7)),
    ],
)
def test_https_listens_everywhere_only_when_asked(monkeypatch, argv, called):
    from app.build import commands

    seen = []
    monkeypatch.setattr(commands, "serve", lambda *a: seen.append(("http", *a)))
    monkeypatch.setattr(commands, "serve_https", lambda *a: seen.append(("https", *a)))
    build.run(*build.parse(argv))
    assert seen == [called]


def test_serve_https_prints_what_a_person_needs_and_ends_cleanly(dist, tmp_path):
    """The real command in a process of its own; the packages are there, so nothing is installed."""
    code = (
        "import sys; sys.path.insert(0, '.'); from app.build import commands, venv;"
        "venv.ensure = lambda profile: None; commands.build = lambda: None;"
        "commands.serve_https('0.0.0.0', 0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=settings.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"JIRD_CACHE": str(tmp_path), "JIRD_OFFLINE": "1"},
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("▀") or "Only this machine" in line:
                break
        text = "".join(lines)
        port = int(re.search(r"Jird is at https://\S+:(\d+)/", text).group(1))
        own = certificates.ensure(tmp_path / "https", lan.names("0.0.0.0"))
        body = ask(port, trusting(own), "/version.json")[2]
        assert b'"jird"' in body
        if lan.addresses():
            assert "every network of this machine" in text and own.fingerprint in text
            assert re.search(rf"http://\S+:{port + 1}/ explains how", text)
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, ""), out
