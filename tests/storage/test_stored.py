"""Stored models: damage and repair, verify, delete, quota, pause, import, what is not ours."""

import hashlib
import random
import time
from itertools import pairwise

import pytest

from tests.storage.conftest import data
from tests.storage.hub_server import CHUNK, Fault
from tests.storage.test_faults import FILE, SIZE, complete, fails
from tests.storage.test_sha256 import pattern

ON_DISK = "models/a%2Fmodel/files/model.gguf"
DAMAGES = [
    ("flip", CHUNK + 769),
    ("truncate", 2 * CHUNK + 7),
    ("remove", 0),
    pytest.param("flip", 0, marks=pytest.mark.long),
    pytest.param("truncate", 0, marks=pytest.mark.long),
]


@pytest.fixture
def stored(lab, hub):
    """A model that was downloaded; the worker is a new one, which has checked nothing yet."""
    hub.files = {FILE: data(SIZE, 2)}
    lab.start()
    complete(lab, lab.download(lab.spec(FILE)))
    lab.start()
    hub.log.clear()
    return lab


def bad_chunks(change, at):
    return {"flip": {at // CHUNK}, "truncate": set(range(at // CHUNK, 4)), "remove": set(range(4))}[
        change
    ]


@pytest.mark.parametrize(("change", "at"), DAMAGES)
def test_damage_is_repaired_while_reading(stored, hub, change, at):
    stored.run("([path, change, at]) => lab.damage(path, change, at)", [ON_DISK, change, at])
    assert stored.digests() == stored.wanted(FILE)
    assert set(hub.chunks(FILE)) == bad_chunks(change, at), "just the bad chunks are fetched"
    hub.log.clear()
    stored.start()
    assert stored.call("verify", id="a/model")["result"] == {"id": "a/model", "ok": True, "bad": []}
    assert hub.log == []


@pytest.mark.parametrize(("change", "at"), DAMAGES)
def test_damage_without_network_is_an_error(stored, hub, change, at):
    hub.fault = lambda asked: Fault(status=500)
    stored.run("([path, change, at]) => lab.damage(path, change, at)", [ON_DISK, change, at])
    fails(stored.digests(), "E_CORRUPT_SHARD", file="model.gguf")


def test_damage_is_not_repaired_with_other_bytes(stored, hub):
    hub.files[FILE] = data(SIZE, 9)
    stored.run("([path]) => lab.damage(path, 'flip', 5)", [ON_DISK])
    fails(stored.digests(), "E_CORRUPT_SHARD", file="model.gguf")


@pytest.mark.parametrize(("change", "at"), DAMAGES)
def test_verify_finds_damage_and_a_download_mends_it(stored, hub, change, at):
    stored.run("([path, change, at]) => lab.damage(path, change, at)", [ON_DISK, change, at])
    found = stored.call("verify", id="a/model")["result"]
    assert not found["ok"] and {row["chunk"] for row in found["bad"]} == bad_chunks(change, at)
    assert stored.call("open", id="a/model")["error"]["code"] == "E_NOT_STORED"
    complete(stored, stored.download({"id": "a/model"}))
    assert set(hub.chunks(FILE)) == bad_chunks(change, at)


@pytest.mark.parametrize("slot", ["manifest.json", "manifest-1.json"])
@pytest.mark.parametrize(
    "change",
    ["truncate", *(pytest.param(change, marks=pytest.mark.long) for change in ("flip", "remove"))],
)
def test_a_torn_manifest_leaves_the_other(stored, hub, slot, change):
    """A save that a kill cut: at worst the newest chunk is not known any more."""
    stored.run(
        "([path, change]) => lab.damage(path, change, 100)", [f"models/a%2Fmodel/{slot}", change]
    )
    complete(stored, stored.download(stored.spec(FILE)))
    assert sum(hub.chunks(FILE).values()) <= 1


def test_both_manifests_torn_can_be_deleted(stored):
    for slot in ("manifest.json", "manifest-1.json"):
        stored.run("([path]) => lab.damage(path, 'truncate', 50)", [f"models/a%2Fmodel/{slot}"])
    (row,) = stored.call("list")["result"]
    assert row["state"] == "broken" and row["bytes"] >= SIZE
    stored.call("delete", id="a/model")
    assert (
        stored.call("list")["result"] == [] and stored.call("info")["result"]["models_bytes"] == 0
    )


def test_storage_cleared_while_a_download_runs(lab, hub):
    """Either it is all there at the end, or it fails with a code and a second try has it."""
    hub.files, hub.rate = {FILE: data(SIZE, 2)}, 8 << 20
    lab.start()
    lab.begin(lab.spec(FILE))
    lab.until("() => lab.running.progress?.bytes_done > 0")
    client = lab.page.context.new_cdp_session(lab.page)
    client.send(
        "Storage.clearDataForOrigin", {"origin": lab.url.rstrip("/"), "storageTypes": "all"}
    )
    answer = lab.settled()
    hub.rate = None
    if "error" in answer:
        assert (
            answer["error"]["code"] in ("E_CORRUPT_SHARD", "E_INTERNAL", "E_QUOTA")
            and answer["error"]["next_step"]
        )
        answer = lab.download(lab.spec(FILE))
    complete(lab, answer)


def test_storage_cleared_while_a_model_is_open(stored, hub):
    stored.run("async () => { globalThis.model = await lab.client().openModel('a/model'); }")
    read = """async () => {
        try { return Array.from(await globalThis.model.files.get("model.gguf").read(8388600, 16)); }
        catch (error) { return error.toJSON(); }
    }"""
    assert stored.run(read) == list(hub.files[FILE][8388600:8388616])
    stored.run("() => lab.clearAll()")
    late = "async () => { const m = globalThis.model.files.get('model.gguf');"
    error = stored.run(
        late + " try { return await m.read(0, 7); } catch (error) { return error.toJSON(); } }"
    )
    assert error["code"] in ("E_CORRUPT_SHARD", "E_NOT_STORED") and error["next_step"]
    complete(stored, stored.download(stored.spec(FILE)))


def quota(lab, size):
    client = lab.page.context.new_cdp_session(lab.page)
    client.send(
        "Storage.overrideQuotaForOrigin", {"origin": lab.url.rstrip("/"), "quotaSize": size}
    )


def test_quota_is_asked_before_anything_is_fetched(lab, hub):
    hub.files = {FILE: data(SIZE, 2)}
    lab.open().run("(script) => lab.start(script)", f"/_test/patches.js?fault=quota:{SIZE}")
    lab.run("""async () => {
        const cache = await caches.open("other-library");
        await cache.put("/x", new Response(new Uint8Array(5e6)));
    }""")
    error = fails(lab.download(lab.spec(FILE)), "E_QUOTA", needed=SIZE, available=int(SIZE - 5e6))
    assert hub.log == []
    assert {"kind": "cache", "name": "other-library", "bytes": 5_000_000} in error["facts"][
        "freeable"
    ]


def test_quota_exceeded_half_way(lab, hub):
    """What is verified is kept; with room again, just the rest is fetched."""
    hub.files = {FILE: data(SIZE, 2)}
    hub.hold(1)
    lab.start()
    lab.begin(lab.spec(FILE), parallel=1)
    lab.until("() => lab.running.progress?.bytes_done > 0")
    quota(lab, 6 << 20)
    hub.release()
    fails(lab.settled(), "E_QUOTA")
    done = lab.call("list")["result"][0]["files"][0]["bytes_done"]
    assert 0 < done < SIZE
    quota(lab, 1 << 30)
    hub.again()
    complete(lab, lab.download(lab.spec(FILE)))
    assert sum(asked.sent for asked in hub.log) == SIZE - done


def test_pause_resume_cancel_delete(lab, hub):
    hub.files = {FILE: data(SIZE, 2)}
    hub.hold(2)
    lab.start()
    lab.begin(lab.spec(FILE))
    lab.until("() => lab.running.progress?.bytes_done > 0")
    assert lab.call("list")["result"][0]["busy"]
    lab.call("pause", id="a/model")
    paused = lab.settled()["result"]
    assert paused["state"] == "paused" and 0 < paused["bytes_done"] < SIZE
    lab.begin({"id": "a/model"})
    lab.until("() => lab.running.progress?.bytes_done > 0")
    lab.call("cancel", id="a/model")
    assert lab.settled()["result"]["state"] == "cancelled" and lab.call("list")["result"] == []
    hub.release()
    complete(lab, lab.download(lab.spec(FILE)))
    lab.call("cancel", id="a/model")  # a whole model is deleted, not cancelled
    assert [row["state"] for row in lab.call("list")["result"]] == ["complete"]
    lab.call("delete", id="a/model")
    assert lab.call("list")["result"] == [] and lab.call("info")["result"]["models_bytes"] == 0


def test_a_new_revision_keeps_what_is_the_same(lab, hub):
    hub.files = {"m/a.safetensors": data(CHUNK + 7, 1), "m/b.safetensors": data(CHUNK + 83, 2)}
    lab.start()
    lab.download(lab.spec(*hub.files))
    hub.files |= {"n/a.safetensors": hub.files["m/a.safetensors"], "n/c.safetensors": data(769, 3)}
    hub.log.clear()
    answer = lab.download(lab.spec("n/a.safetensors", "n/c.safetensors"))
    assert answer["result"]["state"] == "complete"
    assert {asked.path for asked in hub.log} == {"n/c.safetensors"}
    assert lab.digests() == lab.wanted("n/a.safetensors", "n/c.safetensors")
    assert lab.call("info")["result"]["models_bytes"] < CHUNK + 10_000


def test_import_of_local_files(lab):
    lab.start()
    rows = [
        {"name": "model.safetensors", "size": CHUNK + 769, "seed": 5},
        {"name": "config.json", "size": 83, "seed": 6},
    ]
    row = lab.run(
        "(rows) => lab.call('import', {id: 'mine', name: 'Mine', files: lab.files(rows)})", rows
    )["result"]
    assert (
        row["state"] == "complete"
        and row["source"]["kind"] == "local"
        and row["bytes"] == CHUNK + 769 + 83
    )
    wanted = {r["name"]: hashlib.sha256(pattern(r["size"], r["seed"])).hexdigest() for r in rows}
    assert lab.digests("mine") == wanted
    lab.start()
    lab.run("() => lab.damage('models/mine/files/model.safetensors', 'flip', 4194304)")
    error = fails(lab.digests("mine"), "E_CORRUPT_SHARD", file="model.safetensors")
    assert "import" in error["next_step"]
    assert not lab.call("verify", id="mine")["result"]["ok"]
    error = fails(lab.download({"id": "mine"}), "E_CORRUPT_SHARD", file="model.safetensors")
    assert "import" in error["next_step"]


def test_what_is_not_ours_is_listed_and_cleared(stored):
    stored.run("""async () => {
        const other = await caches.open("transformers-cache");
        await other.put("/w", new Response(new Uint8Array(1000)));
        await (await caches.open("jird-shell")).put("/s", new Response("ours"));
        const root = await navigator.storage.getDirectory();
        const folder = await root.getDirectoryHandle("webllm", { create: true });
        const stream = await (await folder.getFileHandle("f", { create: true })).createWritable();
        await stream.write(new Uint8Array(77));
        await stream.close();
        await new Promise((done) => {
            const request = indexedDB.open("other", 1);
            request.onsuccess = () => (request.result.close(), done());
        });
    }""")
    found = stored.call("foreign")["result"]
    assert sorted((row["kind"], row["name"], row["bytes"]) for row in found) == [
        ("cache", "transformers-cache", 1000),
        ("database", "other", None),
        ("folder", "webllm", 77),
    ]
    items = [*found, {"kind": "cache", "name": "jird-shell"}, {"kind": "folder", "name": "models"}]
    assert stored.call("clear_foreign", items=items)["result"] == []
    assert stored.run("() => caches.keys()") == ["jird-shell"]
    assert stored.digests() == stored.wanted(FILE)


def test_a_port_speaks_the_same_messages(stored, hub):
    """The engine's worker reads through a port that the page hands over."""
    digest = stored.run("""async () => {
        const { StorageClient } = await import("/js/storage/client.js");
        const { port, connection } = await lab.client().connect();
        const other = new StorageClient(port);
        const model = await other.openModel("a/model");
        const file = model.files.get("model.gguf");
        const places = [[4194300, 8], [0, 4194304], [file.size - 1, 1], [7, 0]];
        const parts = await Promise.all(places.map(([at, length]) => file.read(at, length)));
        const end = await file.read(file.size, 1).catch((error) => error.code);
        const { handle } = await other.call("open", { id: "a/model" });
        await lab.client().call("disconnect", { connection });
        const after = await lab.client().call("read", { handle, name: "model.gguf", offset: 0, length: 1 }).catch((error) => error.code);
        return [parts.map((part) => [part.length, part[0] ?? null]), end, after];
    }""")
    raw = hub.files[FILE]
    assert digest == [
        [[8, raw[4194300]], [4194304, raw[0]], [1, raw[-1]], [0, None]],
        "E_TRUNCATED",
        "E_BAD_REQUEST",  # what a port opened is closed with it
    ]


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 30))]
)
def test_concurrent_reads_at_odd_places(stored, hub, seed):
    """Buffers are used again between reads: no read may see another's bytes, repaired or not.

    Nor may one hang: a browser collects streams that only their pending read refers to.
    """
    rng = random.Random(seed)
    reads = [(0, SIZE)]
    for _ in range(60):
        at = rng.randrange(SIZE)
        reads.append((at, min(SIZE - at, rng.choice([1, 83, 769, CHUNK - 1, CHUNK, CHUNK + 1]))))
    stored.run("([path]) => lab.damage(path, 'flip', 4194305)", [ON_DISK])
    got = stored.run(
        """async (reads) => {
        const models = await Promise.all([1, 2].map(() => lab.client().openModel("a/model")));
        const digest = (bytes) => crypto.subtle.digest("SHA-256", bytes);
        const hex = async (bytes) => Array.from(new Uint8Array(await digest(bytes)));
        return Promise.all(reads.map(async ([at, length], i) => {
            const bytes = await models[i % 2].files.get("model.gguf").read(at, length);
            return hex(bytes);
        }));
    }""",
        reads,
    )
    raw = hub.files[FILE]
    wanted = [list(hashlib.sha256(raw[at : at + length]).digest()) for at, length in reads]
    assert [i for i, pair in enumerate(zip(got, wanted, strict=True)) if pair[0] != pair[1]] == []
    assert set(hub.chunks(FILE)) == {1}


def test_an_insecure_page_says_so(lab):
    lab.open().run("() => lab.start('/_test/patches.js?fault=insecure')")
    fails(lab.call("list"), "E_INSECURE_CONTEXT")


def test_progress_tells_bytes_and_time_left(lab, hub):
    hub.files, hub.rate = {FILE: data(SIZE, 2)}, 6 << 20
    lab.start()
    began = time.monotonic()
    answer = lab.download(lab.spec(FILE), parallel=1)
    took, events = time.monotonic() - began, answer["events"]
    assert answer["stages"] == ["download", "verify"]
    done = [row["bytes_done"] for row in events if row["stage"] == "download"]
    assert done[0] == 0 and done[-1] == SIZE and done == sorted(done)
    assert events[-1]["stage"] == "verify" and events[-1]["bytes_done"] == SIZE
    assert len(events) <= took / 0.125 + 6, "throttled"
    late = [row for row in events if row["stage"] == "download" and 0 < row["bytes_done"] < SIZE]
    assert late and all(row["eta_s"] > 0 for row in late if row["rate"])
    assert late[-1]["rate"]


TOLD = """async () => {
    const { Progress } = await import("/js/storage/progress.js");
    let now = 1000;
    performance.now = () => now;
    const told = [], progress = new Progress("m", (state) => told.push([now, state]));
    progress.at("download", 0, 60e6);
    let done = 0;
    for (const [rate, seconds] of [[6e6, 3], [2e6, 5]]) {
        for (let i = 0; i < 100 * seconds; i++) {
            now += 10;
            progress.fetched(rate / 100);
            progress.at("download", (done += rate / 100), 60e6);
        }
    }
    progress.at("download", 60e6, 60e6);
    now += 10;
    progress.at("download", 60e6, 61e6); // and nothing more comes
    while (told.at(-1)[1].bytes_total !== 61e6) await new Promise((done) => setTimeout(done, 10));
    return told.slice(0, -1).map(([at, { bytes_done, rate, eta_s }]) => [at - 1000, bytes_done, rate, eta_s]);
}"""


def test_the_rate_is_of_the_last_seconds(lab):
    """On a clock that the test moves: 6 MB/s for three seconds, then 2 MB/s for five."""
    told = lab.open().run(TOLD)
    assert all(b[0] - a[0] >= 125 for a, b in pairwise(told[:-1])) and len(told) <= 8 / 0.125 + 2
    assert told[0][1:] == [0, 0, None] and told[-1][1] == 60_000_000
    quick = [row for row in told if 500 < row[0] <= 3000]
    slow = [row for row in told[:-1] if row[0] > 7200]
    for rows, wanted in ((quick, 6e6), (slow, 2e6)):
        assert rows
        for _, done, rate, eta in rows:
            assert rate == pytest.approx(wanted, rel=0.03)
            assert eta == pytest.approx((60e6 - done) / rate)


def test_unknown_calls_are_refused(stored):
    assert stored.call("open", id="no/such")["error"]["code"] == "E_NOT_STORED"
    assert stored.call("download", spec={"id": "no/such"})["error"]["code"] == "E_NOT_STORED"
    assert stored.call("fly")["error"]["code"] == "E_BAD_REQUEST"
    assert (
        stored.call("read", handle=99, name="x", offset=0, length=1)["error"]["code"]
        == "E_BAD_REQUEST"
    )
