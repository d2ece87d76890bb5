"""The finished site: complete, hashed, relative, and buildable again without a network."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from app.build import node, settings, site, venv
from app.build.fetch import sha256_file

# What the shell may name: XML namespaces, the hub, which only a person's wish contacts, and a page
# that a message of Workbox (bundled in sw.js) recommends to developers.
NAMED_HOSTS = ("www.w3.org", "huggingface.co", "localhost", "127.0.0.1", "bit.ly")


def shell_files(dist):
    ours = (".html", ".css", ".js", ".mjs", ".svg", ".webmanifest")
    for path in sorted(dist.rglob("*")):
        top = path.relative_to(dist).parts[0]
        if path.suffix in ours and top not in ("vendor", "pyodide", "models"):
            yield path


def test_the_lock_names_and_hashes_every_wheel_and_no_other(dist):
    lock = json.loads((dist / "pyodide/pyodide-lock.json").read_text())
    assert set(lock["packages"]) == {"numpy", "micropip", "jinja2", "markupsafe", "jird"}
    named = set()
    for name, spec in lock["packages"].items():
        file = dist / "pyodide" / spec["file_name"]
        assert sha256_file(file) == spec["sha256"], name
        assert set(spec["depends"]) <= set(lock["packages"])
        named.add(file.name)
    assert named == {p.name for p in (dist / "pyodide").glob("*.whl")}
    assert "numpy" not in lock["packages"]["jird"]["depends"]


def test_pyodide_core_is_complete(dist):
    for name in site.PYODIDE_CORE:
        assert (dist / "pyodide" / name).stat().st_size > 10_000
    assert json.loads((dist / "version.json").read_text())["pyodide"] == settings.PYODIDE_VERSION


def test_models_index_is_true(dist):
    index = json.loads((dist / "models/index.json").read_text())["models"]
    assert [m["id"] for m in index] == ["smollm2-135m-instruct"]
    for model in index:
        assert model["license"] and model["bytes"] == sum(f["bytes"] for f in model["files"])
        for file in model["files"]:
            path = dist / "models" / model["id"] / file["name"]
            assert (path.stat().st_size, sha256_file(path)) == (file["bytes"], file["sha256"])


def test_vendor_modules_are_bundled_with_their_licences(dist):
    for name, (_, package, _) in node.VENDOR.items():
        text = (dist / "vendor" / name).read_text()
        assert re.search(r"\bexport\s*\{", text), f"{name} is no ES module"
        assert (dist / "vendor/licenses" / f"{package.split('/')[-1]}.txt").stat().st_size > 500


OUTSIDE = re.compile(r"""(?:\b(?:https?:|wss?:)|["'`(=])//((?:[\w-]+\.)+[a-z]{2,})\b""")
FROM_THE_ROOT = re.compile(
    r"""(?:src|href|action)\s*=\s*["'](/[^"']*)|\bfrom\s+["'](/[^"']*)"""
    r"""|\b(?:fetch|import|Worker|URL)\(\s*["'](/[^"']*)|\burl\(\s*["']?(/[^"')]*)""")


def addresses(text):
    """Outside hosts and origin-absolute addresses in the text of a page, style or script."""
    code = re.sub(r"/\*.*?\*/|<!--.*?-->|^\s*//.*?$", "", text, flags=re.S | re.M)
    hosts = [host for host in OUTSIDE.findall(code) if host not in NAMED_HOSTS]
    return hosts + ["".join(groups) for groups in FROM_THE_ROOT.findall(code)]


def test_our_files_have_no_absolute_or_outside_addresses(dist):
    wrong = {str(p.relative_to(dist)): addresses(p.read_text()) for p in shell_files(dist)}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("text,found", [
    ('<script src="/a.js">', ["/a.js"]), ('<link href="//cdn.example.com/x.css">',
                                          ["cdn.example.com", "//cdn.example.com/x.css"]),
    ('import x from "/y.js"', ["/y.js"]), ('fetch("https://a.example.com/z")', ["a.example.com"]),
    ('fetch("./z")  // see https://b.example.com', ["b.example.com"]), ("url(/i.png)", ["/i.png"]),
    ('/* from "/jird.js" */ import("./x.js")', []), ('new URL("./w.js", import.meta.url)', [])])
def test_the_address_check_finds_them(text, found):
    assert addresses(text) == found


def test_npm_files_and_hidden_files_are_not_shipped(dist):
    names = {p.name for p in dist.rglob("*")}
    assert not names & {"package.json", "package-lock.json", "node_modules", ".gitignore"}


def run_build(*prefix, **env):
    return subprocess.run([*prefix, sys.executable, "-c", (
        "import sys; from app.build import site; sys.exit(repr(site.build().fetched))")],
        cwd=settings.ROOT, env=os.environ | env, capture_output=True, text=True, timeout=120)


def test_a_second_build_downloads_nothing_and_gives_the_same_site(dist):
    before = json.loads((dist / "version.json").read_text())
    done = run_build(JIRD_OFFLINE="1")
    assert done.stderr.strip().endswith("[]"), done.stdout + done.stderr
    assert json.loads((dist / "version.json").read_text()) == before


def test_a_second_build_needs_no_network_device(dist):
    """The whole build in a network namespace with nothing in it, not even loopback."""
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-n", "true"], capture_output=True).returncode:
        pytest.skip("unshare -n does not work here (Linux and root are needed)")
    done = run_build(unshare, "-n")
    assert done.stderr.strip().endswith("[]"), done.stdout + done.stderr


def test_lock_files_hold_hashes_and_no_addresses():
    locks = sorted(settings.LOCKS.glob("*.lock"))
    assert [p.stem for p in locks] == sorted(venv.INCLUDES)     # none that nobody installs
    for path in locks:
        text = path.read_text()
        pins = re.findall(r"^[\w.-]+==", text, re.M)
        assert pins and "://" not in text
        parts = re.split(r"^(?=[\w.-]+==)", text, flags=re.M)[1:]
        assert all("--hash=sha256:" in part for part in parts)
    npm = (settings.SHELL / "package-lock.json").read_text()
    assert "resolved" not in npm and "://" not in npm
    packages = json.loads(npm)["packages"]
    assert all("integrity" in spec for name, spec in packages.items() if name)


def test_both_locks_agree_on_what_they_share():
    def pins(name):
        return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (settings.LOCKS / name).read_text(), re.M))
    serve, test = pins("serve.lock"), pins("test.lock")
    assert {name: test.get(name) for name in serve} == serve
    assert serve["markupsafe"] == settings.MARKUPSAFE_VERSION
    assert serve["jinja2"] == settings.JINJA2.requirement.split("==")[1]


def test_the_build_is_atomic_against_a_failure(dist, monkeypatch, tmp_path):
    """A build that fails half-way leaves the site that was there."""
    target = tmp_path / "dist"
    target.mkdir()
    (target / "mark").write_text("old")

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(site, "write_version", fail)
    with pytest.raises(OSError, match="disk full"):
        site.build(target)
    assert [p.name for p in tmp_path.iterdir()] == ["dist"]
    assert (target / "mark").read_text() == "old"


def test_version_digest_follows_the_content(tmp_path):
    def digest(text):
        (tmp_path / "a.js").write_text(text)
        (tmp_path / "version.json").unlink(missing_ok=True)
        site.write_version(tmp_path)
        return json.loads((tmp_path / "version.json").read_text())["build"]
    assert digest("1") == digest("1") != digest("2")
    assert len(digest("1")) == len(hashlib.sha256().hexdigest()[:16])
