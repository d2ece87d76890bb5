"""The byte reader against a server that misbehaves in each way it must survive or name."""

import hashlib
import random
import shutil
from pathlib import Path

import pytest

SHELL = Path(__file__).parents[2] / "pwa_shell"
SIZE = (9 << 20) + 769
DATA = random.Random(7).randbytes(SIZE)
CHUNK = 4 << 20

READ = """async ({ url, reads, options }) => {
    const { openSource } = await import("./js/http_source.js");
    try {
        const source = await openSource(new URL(url, location.href), options ?? {});
        if (!source) return null;
        const parts = await Promise.all((reads ?? []).map(([offset, length]) => source.read(offset,
            length)));
        const digests = await Promise.all(parts.map((p) => crypto.subtle.digest("SHA-256", p)));
        const hex = digests.map((d) => Array.from(new Uint8Array(d),
            (b) => b.toString(16).padStart(2, "0")).join(""));
        return { size: source.size, name: source.name, parts: hex };
    } catch (error) {
        return { code: error.code, facts: error.facts };
    }
}"""


class Faults:
    """Called before each request for the file; `next` holds what to do with the coming ones."""

    def __init__(self):
        self.next, self.seen = [], []

    def __call__(self, handler):
        if not handler.path.endswith("file.gguf"):
            return False
        self.seen.append(handler.headers.get("Range"))
        action = self.next.pop(0) if self.next else None
        return action(handler) if action else False


def status(code):
    def answer(handler):
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


def whole(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(SIZE))
    handler.end_headers()
    handler.wfile.write(DATA)
    return True


def partial(start, body, total=SIZE, etag='"1"', content_range=None):
    def answer(handler):
        handler.send_response(206)
        handler.send_header(
            "Content-Range", content_range or f"bytes {start}-{start + len(body) - 1}/{total}"
        )
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", etag)
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def cut_off(handler):
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 0-{CHUNK - 1}/{SIZE}")
    handler.send_header("Content-Length", str(CHUNK))
    handler.end_headers()
    handler.wfile.write(b"x" * 1000)
    handler.close_connection = True
    return True


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def read(tmp_path, serve, page, faults):
    shutil.copytree(SHELL / "js", tmp_path / "js")
    (tmp_path / "index.html").write_text("<!doctype html><title>reader</title>")
    (tmp_path / "file.gguf").write_bytes(DATA)
    (tmp_path / "empty.gguf").write_bytes(b"")
    page.goto(serve(tmp_path, "/a/", fault=faults).url + "index.html")

    def read(*reads, url="file.gguf", **options):
        return page.evaluate(
            READ,
            {
                "url": url,
                "reads": [list(r) for r in reads],
                "options": {"cache": "no-store", **options},
            },
        )

    return read


def expect(result, *reads):
    assert result["size"] == SIZE and result["name"] == "file.gguf", result
    assert result["parts"] == [hashlib.sha256(DATA[o : o + n]).hexdigest() for o, n in reads]


def test_ranges(read, faults):
    reads = [(0, 7), (83, 769), (CHUNK - 1, 2), (SIZE - 1, 1), (5, 0), (3, CHUNK + 83)]
    expect(read(*reads), *reads)
    assert all(r.startswith("bytes=") for r in faults.seen)
    assert (
        max(int(r[6:].split("-")[1]) - int(r[6:].split("-")[0]) + 1 for r in faults.seen) == CHUNK
    )
    assert len(faults.seen) == 5  # what lies in the first 4 MB is asked for once


def test_the_browsers_cache_gives_the_same_bytes(read):
    reads = [(83, 769), (CHUNK - 7, CHUNK + 83), (CHUNK + 1, 769), (SIZE - 1, 1)]
    for _ in range(2):
        expect(read(*reads, cache="default"), *reads)


def test_outside_the_file(read):
    for offset, length in ((SIZE, 1), (SIZE - 1, 2), (-1, 1), (0, -1)):
        result = read((offset, length))
        assert result["code"] == "E_TRUNCATED" and result["facts"]["size"] == SIZE
    assert read(url="empty.gguf")["size"] == 0


def test_failures_that_pass_are_tried_again(read, faults):
    faults.next = [status(503), cut_off, None, status(429), cut_off]
    expect(read((CHUNK, 7)), (CHUNK, 7))
    assert len(faults.seen) == 6


def test_a_short_answer_is_asked_for_again_then_named(read, faults):
    first, short = partial(0, DATA[:CHUNK]), partial(CHUNK, DATA[CHUNK : CHUNK + 3])
    faults.next = [first, short, partial(CHUNK, DATA[CHUNK : CHUNK + 7])]
    expect(read((CHUNK, 7)), (CHUNK, 7))
    faults.next = [first, short, short, short]
    assert read((CHUNK, 7))["code"] == "E_TRUNCATED" and not faults.next


@pytest.mark.parametrize(
    ("actions", "code", "requests"),
    [
        ([status(404)], "E_NETWORK", 1),
        ([status(403)], "E_NETWORK", 1),
        ([status(500)] * 3, "E_NETWORK", 3),
        ([cut_off] * 3, "E_NETWORK", 3),
        ([partial(5, DATA[:7])] * 3, "E_NETWORK", 3),
        ([partial(0, b"x", content_range="bytes 0-0/*")], "E_NETWORK", 1),
    ],
)
def test_failures_that_last_are_named(read, faults, actions, code, requests):
    faults.next = list(actions)
    result = read()
    assert result["code"] == code and len(faults.seen) == requests
    assert result["facts"]["url"].endswith("/a/file.gguf") and result["facts"]["detail"]


@pytest.mark.parametrize("changed", [{"total": SIZE + 1}, {"etag": '"2"'}])
def test_a_file_that_changes_while_it_is_read(read, faults, changed):
    faults.next = [partial(0, DATA[:CHUNK]), partial(CHUNK, DATA[CHUNK : CHUNK + 7], **changed)]
    result = read((CHUNK, 7))
    assert result["code"] == "E_CORRUPT_SHARD" and result["facts"]["file"] == "file.gguf"


def test_a_server_without_ranges_is_read_once(read, faults):
    faults.next = [whole]
    reads = [(0, 7), (CHUNK, 83), (SIZE - 769, 769), (1, CHUNK + 7)]
    expect(read(*reads), *reads)
    assert len(faults.seen) == 1


def test_an_optional_file_may_be_absent(read, faults):
    faults.next = [status(404)]
    assert read(optional=True) is None


def test_closing_ends_reads(read, page, faults):
    result = page.evaluate("""async () => {
        const { openSource } = await import("./js/http_source.js");
        const source = await openSource(new URL("file.gguf", location.href));
        const reading = source.read(5 << 20, 7).catch((error) => error.code);
        source.close();
        return [await reading, await source.read(0, 1).catch((error) => error.code)];
    }""")
    assert result == ["E_NETWORK", "E_TRUNCATED"]
