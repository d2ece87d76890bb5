"""Each fault of the network and of the browser, caused in a real browser.

After each: the bytes of the source by SHA-256, or a coded error with a next step; and no chunk that
was verified is asked for again.
"""

import random

import pytest

from tests.browser.pace import slowness
from tests.storage.conftest import data
from tests.storage.hub_server import CHUNK, Fault, other_origin

FILE = "m/model.gguf"
SIZE = 3 * CHUNK + 83_521
SEEDS = [pytest.param(seed, marks=[] if seed < 2 else pytest.mark.long) for seed in range(30)]


@pytest.fixture
def model(lab, hub):
    """The spec of one file of 4 chunks, with the worker started."""
    hub.files = {FILE: data(SIZE, 2)}
    lab.start()
    return lab.spec(FILE)


def complete(lab, answer):
    assert answer.get("error") is None, answer["error"]
    assert answer["result"]["state"] == "complete"
    assert lab.digests() == lab.wanted(FILE)


def fails(answer, code, **facts):
    assert answer.get("error"), answer
    error = answer["error"]
    assert error["code"] == code and error["next_step"]
    assert {name: error["facts"].get(name) for name in facts} == facts
    return error


def stored_chunks(lab):
    """Chunks that the stored manifest says are there."""
    row = lab.call("list")["result"][0]
    return -(-row["bytes_done"] // CHUNK)


@pytest.mark.parametrize("seed", SEEDS)
def test_connection_cut_at_a_random_byte(lab, hub, model, seed):
    rng = random.Random(seed)
    cuts = {n: rng.randrange(CHUNK) for n in rng.sample(range(1, 8), 3)}
    hub.fault = lambda asked: Fault(cut=cuts[asked.n]) if asked.n in cuts else None
    complete(lab, lab.download(model))
    # What came before the cut is kept: a chunk is asked for again from where it broke off. What
    # the server's kernel had sent and the browser threw away with the reset comes twice, no more.
    again = [asked for asked in hub.log if asked.start % CHUNK]
    assert sum(asked.sent for asked in hub.log) <= SIZE + 3 * CHUNK
    assert all(asked.start < asked.end for asked in again)


@pytest.mark.parametrize("seed", SEEDS)
def test_cut_for_good_then_resumed(lab, hub, model, seed):
    """The network goes away at a random byte; later the rest is fetched, and only the rest."""
    rng = random.Random(100 + seed)
    left = rng.randrange(1, SIZE)

    def out(asked):
        nonlocal left
        length = min(asked.end, SIZE) - asked.start
        left -= length
        return Fault(cut=max(0, left + length)) if left < 0 else None

    hub.fault = out
    fails(lab.download(model, tries=2), "E_NETWORK")
    done = stored_chunks(lab)
    have = lab.call("list")["result"][0]["files"][0]["bytes_done"]
    hub.fault = lambda asked: None
    hub.again()
    complete(lab, lab.download(lab.spec(FILE)))
    assert sum(asked.sent for asked in hub.log) == SIZE - have
    assert sum(hub.chunks(FILE).values()) == 4 - done


def test_server_ignores_range(lab, hub, model):
    hub.fault = lambda asked: Fault(no_range=True)
    complete(lab, lab.download(model))


@pytest.mark.parametrize("sizes", [True, False])
def test_server_ignores_range_and_cuts(lab, hub, model, sizes):
    """Streams from the start again, and passes over what is verified."""
    cuts = {1: CHUNK + 5, 2: 2 * CHUNK + 769}
    hub.fault = lambda asked: Fault(no_range=True, cut=cuts.get(asked.n), hide_length=not sizes)
    answer = lab.download(lab.spec(FILE, sizes=sizes, digests=False), parallel=1)
    complete(lab, answer)


def test_resumed_where_range_is_ignored_now(lab, hub, model):
    hub.fault = lambda asked: Fault(status=404) if asked.start >= 2 * CHUNK else None
    fails(lab.download(model, parallel=1), "E_NETWORK", status=404)
    hub.fault = lambda asked: Fault(no_range=True)
    complete(lab, lab.download(model))


@pytest.mark.parametrize("digests", [True, False])
def test_etag_changes_half_way(lab, hub, model, digests):
    """Versions are never mixed: the file starts over as the new one, or fails by the old digest."""
    old, new = hub.files[FILE], data(SIZE, 3)

    def change(asked):
        if asked.n == 3:
            hub.files[FILE] = new

    hub.fault = change
    answer = lab.download(lab.spec(FILE, digests=digests))
    assert hub.files[FILE] is new and old is not new
    if digests:
        fails(answer, "E_CORRUPT_SHARD", file="model.gguf")
        assert lab.call("list")["result"][0]["bytes_done"] == 0
    else:
        complete(lab, answer)


def test_etag_changes_between_two_runs(lab, hub, model):
    spec = lab.spec(FILE, digests=False, sizes=False)
    hub.fault = lambda asked: Fault(status=500) if asked.start >= 2 * CHUNK else None
    fails(lab.download(spec, tries=2), "E_NETWORK", status=500)
    hub.files[FILE], hub.fault = data(SIZE - CHUNK - 7, 4), lambda asked: None
    complete(lab, lab.download(spec))


def test_a_file_that_keeps_changing_fails(lab, hub, model):
    def change(asked):
        hub.files[FILE] = data(SIZE, 50 + asked.n)

    hub.fault = change
    # One range at a time: four at once may all meet the same version, which is then a whole file.
    answer = lab.download(lab.spec(FILE, digests=False), parallel=1)
    fails(answer, "E_CORRUPT_SHARD", file="model.gguf")


@pytest.mark.parametrize("status", [403, 404])
def test_refused(lab, hub, model, status):
    hub.fault = lambda asked: Fault(status=status)
    error = fails(lab.download(model), "E_NETWORK", status=status)
    assert len(hub.log) <= 4, "a refusal is final"
    assert "permission" in error["next_step"] or "name" in error["next_step"]


def test_500_passes(lab, hub, model):
    hub.fault = lambda asked: Fault(status=500) if asked.n % 2 else None
    complete(lab, lab.download(model))


def test_500_for_good(lab, hub, model):
    hub.fault = lambda asked: Fault(status=500) if asked.n > 2 else None
    error = fails(lab.download(model, tries=3), "E_NETWORK", status=500)
    assert "resume" in error["next_step"]
    assert len(hub.log) <= 2 + 4 * 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_429_waits_as_long_as_it_is_told(lab, hub, model, form):
    """A date counts from the server's own clock, here a year off."""
    dates = {
        "Date": "Tue, 02 Jan 2001 00:00:00 GMT",
        "Retry-After": "Tue, 02 Jan 2001 00:00:01 GMT",
    }
    headers = {"Retry-After": "1"} if form == "seconds" else dates
    hub.fault = lambda asked: Fault(status=429, headers=headers) if asked.n == 2 else None
    answer = lab.download(model, parallel=1)
    complete(lab, answer)
    refused, again = hub.log[1:3]
    # Of the server's own clock; the most is for a machine of one's own.
    assert 0.99 < again.at - refused.at < 4 * slowness(lab.page)
    assert hub.chunks(FILE) == {0: 1, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0])
def test_wrong_length(lab, hub, model, size):
    hub.files[FILE] = data(SIZE + 1, 2)[:size]
    fails(lab.download(model), "E_CORRUPT_SHARD", file="model.gguf")


def test_a_body_that_ends_early_is_no_file(lab, hub, model):
    hub.fault = lambda asked: Fault(short=1000) if asked.start >= CHUNK else None
    fails(lab.download(model, tries=2), "E_CORRUPT_SHARD", file="model.gguf")


def test_a_source_with_wrong_bytes(lab, hub, model):
    model["files"][0]["sha256"] = "0" * 64
    fails(lab.download(model), "E_CORRUPT_SHARD", file="model.gguf")
    assert lab.call("open", id="a/model")["error"]["code"] == "E_NOT_STORED"


def test_stalled_connection(lab, hub, model):
    hub.fault = lambda asked: Fault(wait=600) if asked.n == 2 else None
    try:
        complete(lab, lab.download(model, stall_ms=2500))  # no other answer takes so long
    finally:
        hub.released.set()


def test_redirect_keeps_the_range_and_drops_the_token(lab, hub, model, tmp_path):
    """A hub that sends to a CDN: Range goes along, the token does not."""
    with other_origin(hub, tmp_path) as cdn, other_origin(hub, tmp_path) as base:
        hub.files["cdn/model.gguf"] = hub.files[FILE]
        hub.fault = lambda asked: (
            Fault(redirect=f"{cdn}/hub/cdn/model.gguf") if asked.path == FILE else None
        )
        model["files"][0]["url"] = f"{base}/hub/{FILE}"
        answer = lab.run(
            "([spec, token]) => lab.download(spec, {token})",
            [model, {"value": "secret", "origin": base}],
        )
        complete(lab, answer)
    asked = [row for row in hub.log if row.path == FILE]
    sent = [row for row in hub.log if row.path == "cdn/model.gguf"]
    assert {row.headers.get("Authorization") for row in asked} == {"Bearer secret"}
    assert {row.headers.get("Authorization") for row in sent} == {None}
    assert hub.chunks("cdn/model.gguf") == {0: 1, 1: 1, 2: 1, 3: 1}


def test_token_stays_at_home(lab, hub, model, tmp_path):
    with other_origin(hub, tmp_path) as elsewhere:
        lab.run(
            "([spec, token]) => lab.download(spec, {token})",
            [model, {"value": "secret", "origin": elsewhere}],
        )
    assert all("Authorization" not in asked.headers for asked in hub.log)


def test_if_range_names_the_version(lab, hub, model):
    complete(lab, lab.download(model, parallel=1))
    tags = [asked.headers.get("If-Range") for asked in hub.log]
    assert tags == [None] + [hub.etag(FILE)] * 3


@pytest.mark.parametrize(
    "fault", ["busy:3", "stale:3", "stale:4", "no-sync", "no-opfs", "no-storage", "clock"]
)
def test_faulty_browser(lab, hub, fault):
    hub.files = {FILE: data(SIZE, 2)}
    lab.open().run("(script) => lab.start(script)", f"/_test/patches.js?fault={fault}")
    info = lab.call("info")["result"]
    wanted = {"no-sync": "opfs-async", "no-opfs": "indexeddb", "no-storage": "memory"}
    assert info["backend"] == wanted.get(fault, "opfs-sync")
    assert info["durable"] == (fault != "no-storage") and bool(info["refused"]) == (fault in wanted)
    answer = lab.download(lab.spec(FILE))
    complete(lab, answer)
    assert hub.chunks(FILE) == {0: 1, 1: 1, 2: 1, 3: 1}
    etas = [row["eta_s"] for row in answer["events"] if row["eta_s"] is not None]
    assert all(0 <= eta < 3600 for eta in etas)


def test_a_file_that_stays_busy(lab, hub):
    hub.files = {FILE: data(SIZE, 2)}
    lab.open().run("(script) => lab.start(script)", "/_test/patches.js?fault=busy")
    fails(lab.download(lab.spec(FILE)), "E_BUSY")


def test_disk_that_takes_part_of_a_write(lab, hub):
    hub.files = {FILE: data(SIZE, 2)}
    lab.open().run("(script) => lab.start(script)", "/_test/patches.js?fault=short-write:2")
    error = fails(lab.download(lab.spec(FILE), parallel=1), "E_QUOTA", available=0)
    assert error["facts"]["needed"] == SIZE - 2 * CHUNK
    hub.again()
    lab.start()
    complete(lab, lab.download(lab.spec(FILE)))
    assert hub.chunks(FILE) == {2: 1, 3: 1}
