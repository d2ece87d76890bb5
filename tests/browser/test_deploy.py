"""docs/deploy.md, checked: a plain file server under a sub-path, and the headers that it gives."""

import functools
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from playwright.sync_api import expect

from app.build import server, settings
from tests.support import link_site

TINY = "models-tiny/llama"
TEXT = (settings.ROOT / "docs/deploy.md").read_text(encoding="utf-8")
WRITE = """async ({ site, ids }) => {
    const { createEngine } = await import(site + "jird.js");
    const stages = new Set();
    const engine = await createEngine({ model: site + "tiny/", quant: "keep", kv: "f32",
        context: 256, onProgress: (p) => stages.add(p.stage) });
    const body = { prompt: ids, temperature: 0, max_tokens: 3, return_token_ids: true };
    const answer = await engine.completions.create(body);
    await engine.unload();
    return { ids: answer.choices[0].token_ids, stages: [...stages] };
}"""


@pytest.fixture(scope="module")
def root(dist, goldens, tmp_path_factory):
    """A host's folder with the site, and a tiny model, at some/where/."""
    if not (goldens / TINY).exists():
        pytest.skip(f"tests/goldens/{TINY} is absent")
    root = tmp_path_factory.mktemp("host")
    site = root / "some/where"
    link_site(dist, site, ())
    shutil.copytree(goldens / TINY, site / "tiny")
    return root


@pytest.fixture
def plain(root):
    """`python3 -m http.server` in `root`: its address, and what each request was answered."""
    answers = []

    class Logged(SimpleHTTPRequestHandler):
        def log_request(self, code="-", size="-"):
            answers.append((self.path, self.headers.get("Range"), int(code)))

        def log_message(self, *args):
            """Silent but for the list."""

    handler = functools.partial(Logged, directory=root)
    host = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=host.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{host.server_address[1]}/some/where/", answers
    host.shutdown()
    host.server_close()


def run_tiny(page, site, goldens):
    """The first golden ids, written by the engine of the site at `site`."""
    golden = np.load(goldens / TINY / "golden.npz")
    page.goto(site + "tiny/config.json")  # of the same origin, without the app
    result = page.evaluate(WRITE, {"site": site, "ids": golden["ids"].tolist()})
    assert result["ids"] == golden["greedy32"][:3].tolist()
    return result


def test_a_plain_file_server_under_a_sub_path_is_enough(page, plain, goldens, outside):
    site, answers = plain
    failed = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(site)
    expect(page.get_by_test_id("start")).to_be_visible()
    expect(page.get_by_test_id("error")).to_be_hidden()
    assert failed == []
    result = run_tiny(page, site, goldens)
    ranged = [(path, code) for path, span, code in answers if span and path.endswith("safetensors")]
    assert ranged and {code for _, code in ranged} == {200}, "asked for ranges, and got whole files"
    assert "ready" in result["stages"]
    below = [path for path, _, _ in answers if not path.startswith("/some/where/")]
    assert [path for path in below if path != "/favicon.ico"] == [] and outside == []


def header(name):
    """The value of a header that the page tells to send."""
    found = re.search(rf"^    {name}: (.+)$", TEXT, re.MULTILINE)
    assert found, f"docs/deploy.md gives no {name}"
    return found.group(1)


def adding(sent):
    """A fault of `serve` that gives every answer the headers `sent`."""
    plain_head = server.Handler.head

    def add_headers(handler):
        handler.head = lambda status, headers: plain_head(handler, status, headers | sent)

    return add_headers


def test_the_policy_that_the_page_gives_lets_everything_run(page, root, serve, goldens, outside):
    sent = {
        name: header(name)
        for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy")
    }
    served = serve(root, fault=adding(sent))
    site, problems = served.url + "some/where/", []
    page.on("console", lambda m: problems.append(m.text) if "Security Policy" in m.text else None)
    answer = page.goto(site)
    assert answer.headers["content-security-policy"] == sent["Content-Security-Policy"]
    expect(page.get_by_test_id("start")).to_be_visible()
    run_tiny(page, site, goldens)
    assert problems == [] and outside == []


def test_an_isolated_page_runs_too(page, root, serve, goldens, outside):
    """COOP and COEP are not needed, but a host may send them: every file is of the own origin."""
    served = serve(root, fault=adding({"Cross-Origin-Opener-Policy": "same-origin",
                                       "Cross-Origin-Embedder-Policy": "require-corp"}))
    site, problems = served.url + "some/where/", []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(site)
    expect(page.get_by_test_id("start")).to_be_visible()
    assert page.evaluate("crossOriginIsolated")
    run_tiny(page, site, goldens)
    assert problems == [] and outside == []


def test_the_policy_is_the_pages_own_and_a_little_more():
    shell = (settings.SHELL / "index.html").read_text(encoding="utf-8")
    own = re.search(r'Content-Security-Policy" content="([^"]+)"', shell).group(1)

    def parts(policy):
        return {row.split()[0]: set(row.split()[1:]) for row in policy.split(";")}

    told, page = parts(header("Content-Security-Policy")), parts(own)
    assert told.keys() - page.keys() == {"frame-ancestors"}
    assert {name for name in page if told[name] != page[name]} <= {"connect-src"}
    assert page["connect-src"] - told["connect-src"] == set()


def test_the_types_that_the_page_names_are_those_of_our_server(root):
    """Every kind of file in the site has its type there, or is plain bytes."""
    block = re.search(r"types \{(.+?)\}", TEXT, re.DOTALL).group(1)
    named = {
        f".{ending}": row.split()[0]
        for row in block.strip().split(";")
        if row.strip()
        for ending in row.split()[1:]
    }
    for ending, kind in named.items():
        assert server.TYPES[ending].split(";")[0] == kind, ending
    there = {path.suffix for path in root.rglob("*") if path.is_file() and path.suffix}
    assert there - {".npz", ".gguf", ".safetensors"} <= named.keys()
