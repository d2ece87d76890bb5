"""The static server: types, ranges, validators, and what it must not give away."""
import http.client
import os
import socket
import urllib.parse

import pytest

from app.build import server
from app.build.console import BuildError
from tests.support import WAIT_S

BODY = bytes(range(256)) * 3 + b"!"                  # 769 bytes


@pytest.fixture
def root(tmp_path):
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "a.gguf").write_bytes(BODY)
    (site / "empty.txt").write_bytes(b"")
    (site / "index.html").write_text("<p>home")
    (site / "sub" / "index.html").write_text("<p>sub")
    for name in ("x.wasm", "x.mjs", "x.js", "x.json", "x.css", "x.webmanifest", "x.unknown"):
        (site / name).write_text("{}")
    (tmp_path / "secret.txt").write_text("secret")
    return site


def ask(url, path="", method="GET", **headers):
    """(status, headers, body) of one request, its path sent as it is."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=WAIT_S)
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, parts.path + path, headers=sent)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.headers, body


@pytest.mark.parametrize("name,kind", [
    ("x.wasm", "application/wasm"), ("x.mjs", "text/javascript"), ("x.js", "text/javascript"),
    ("x.json", "application/json"), ("x.css", "text/css"), ("index.html", "text/html"),
    ("x.webmanifest", "application/manifest+json"), ("a.gguf", "application/octet-stream"),
    ("x.unknown", "application/octet-stream")])
def test_types(serve, root, name, kind):
    status, headers, _ = ask(serve(root).url, name)
    assert status == 200
    assert headers["Content-Type"].split(";")[0] == kind
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("text,first,last", [
    ("bytes=0-0", 0, 0), ("bytes=7-82", 7, 82), ("bytes=768-", 768, 768), ("bytes=0-9999", 0, 768),
    ("bytes=-1", 768, 768), ("bytes=-5000", 0, 768)])
def test_range(serve, root, text, first, last):
    status, headers, body = ask(serve(root).url, "a.gguf", Range=text)
    assert status == 206
    assert headers["Content-Range"] == f"bytes {first}-{last}/769"
    assert body == BODY[first:last + 1]
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("text", ["bytes=769-", "bytes=5000-6000", "bytes=-0"])
def test_range_outside_the_file_is_416(serve, root, text):
    status, headers, _ = ask(serve(root).url, "a.gguf", Range=text)
    assert status == 416
    assert headers["Content-Range"] == "bytes */769"


@pytest.mark.parametrize(
    "text", ["bytes=9-3", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5"])
def test_range_that_may_be_ignored_gives_the_whole_file(serve, root, text):
    status, _, body = ask(serve(root).url, "a.gguf", Range=text)
    assert (status, body) == (200, BODY)


def test_empty_file(serve, root):
    url = serve(root).url
    assert ask(url, "empty.txt")[::2] == (200, b"")
    assert ask(url, "empty.txt", Range="bytes=0-")[0] == 416


def test_if_range_continues_only_the_same_file(serve, root):
    url = serve(root).url
    tag = ask(url, "a.gguf")[1]["ETag"]
    assert ask(url, "a.gguf", Range="bytes=700-", If_Range=tag)[0] == 206
    replacement = root / "new"
    replacement.write_bytes(BODY[::-1])
    os.replace(replacement, root / "a.gguf")
    status, headers, body = ask(url, "a.gguf", Range="bytes=700-", If_Range=tag)
    assert (status, body) == (200, BODY[::-1])
    assert headers["ETag"] != tag


def test_validators_give_304(serve, root):
    url = serve(root).url
    _, headers, _ = ask(url, "x.js")
    assert ask(url, "x.js", If_None_Match=headers["ETag"])[::2] == (304, b"")
    assert ask(url, "x.js", If_None_Match=f'"other", W/{headers["ETag"]}')[0] == 304
    assert ask(url, "x.js", If_None_Match='"other"')[0] == 200
    assert ask(url, "x.js", If_Modified_Since=headers["Last-Modified"])[0] == 304


def test_head_has_no_body(serve, root):
    status, headers, body = ask(serve(root).url, "a.gguf", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "769", b"")


def test_sub_path_and_folders(serve, root):
    url = serve(root, prefix="/deep/er/").url
    assert ask(url)[2] == b"<p>home"
    assert ask(url, "sub/")[2] == b"<p>sub"
    status, headers, _ = ask(url, "sub")
    assert status == 301 and urllib.parse.urljoin(url + "sub", headers["Location"]) == url + "sub/"
    origin = url.removesuffix("/deep/er/")
    assert ask(origin, "/index.html")[0] == 404
    status, headers, _ = ask(origin, "/deep/er")
    assert (status, headers["Location"]) == (301, "/deep/er/")


@pytest.mark.parametrize("path", [
    "../secret.txt", "%2e%2e/secret.txt", "sub/../../secret.txt", "..%2fsecret.txt", "a%00.gguf",
    "link/secret.txt", "missing", "//etc/hostname"])
def test_nothing_outside_the_root(serve, root, path):
    (root / "link").symlink_to(root.parent)
    status, _, body = ask(serve(root).url, path)
    assert status == 404 and b"secret" not in body


def test_log_and_fault_hook(serve, root):
    def cut(handler):
        if handler.path.endswith("x.js"):
            handler.head(200, {"Content-Length": "100"})
            handler.wfile.write(b"short")
            handler.close_connection = True
            return True

    served = serve(root, fault=cut)
    assert ask(served.url, "a.gguf", Range="bytes=0-6")[0] == 206
    with pytest.raises(http.client.IncompleteRead):
        ask(served.url, "x.js")
    first = served.log[0]
    assert (first.path, first.range, first.status, first.sent) == ("/a.gguf", "bytes=0-6", 206, 7)
    assert len(served.log) == 2


def test_a_body_goes_out_behind_its_head_at_once(serve, root):
    """Connections that are kept would else wait 40 ms for each file (Nagle, delayed acknowledgement)."""
    options = []

    def note(handler):
        options.append(handler.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    assert ask(serve(root, fault=note).url, "x.js")[0] == 200
    assert len(options) == 1 and options[0] != 0


def test_a_taken_port_is_told_with_a_free_one(root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BuildError) as caught:
            server.make_server(server.Site(root), "127.0.0.1", port)
    assert str(port) in caught.value.what
    free = int(caught.value.next_step.rsplit(" ", 1)[1])
    assert free > port
    server.make_server(server.Site(root), "127.0.0.1", free).server_close()
