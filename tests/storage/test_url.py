"""Models at addresses of other sites: what lies there is looked at before it is downloaded."""

import json

import pytest

from app.build import settings
from tests.storage.conftest import data
from tests.storage.hub_server import CHUNK, Fault, other_origin

GGUF = b"GGUF" + data(CHUNK + 769, 4)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}).encode()


@pytest.fixture
def elsewhere(hub):
    with other_origin(hub, settings.SHELL) as url:
        yield f"{url}/hub/"


def test_a_gguf_of_another_site(lab, hub, elsewhere):
    hub.files = {"m/a b.gguf": GGUF}
    lab.start()
    url = f"{elsewhere}m/a%20b.gguf"
    spec = lab.call("resolve", model=f"{url}#x")["result"]
    assert (spec["id"], spec["name"]) == (url, "a b.gguf")
    assert spec["files"] == [{"name": "a b.gguf", "url": url, "size": len(GGUF), "sha256": None}]
    assert sum(asked.sent for asked in hub.log) == 4, "looking downloads nothing"
    assert lab.download(spec)["result"]["state"] == "complete"
    assert lab.digests(url) == {"a b.gguf": hub.sha256("m/a b.gguf")}


def test_a_server_without_ranges_is_looked_at_all_the_same(lab, hub, elsewhere):
    hub.files = {"m/a.gguf": GGUF}
    hub.fault = lambda asked: Fault(no_range=True)
    lab.start()
    assert lab.call("resolve", model=f"{elsewhere}m/a.gguf")["result"]["files"][0]["size"] == len(
        GGUF
    )


def test_a_folder_of_another_site(lab, hub, elsewhere):
    files = {"config.json": b"{}", "tokenizer.json": b"[1]", "model.safetensors.index.json": INDEX}
    hub.files = {f"m/{name}": body for name, body in files.items()}
    hub.files |= {f"m/{name}": data(769, i) for i, name in enumerate(SHARDS)}
    lab.start()
    spec = lab.call("resolve", model=f"{elsewhere}m/")["result"]
    assert [(row["name"], row["size"]) for row in spec["files"]] == [
        *((name, len(body)) for name, body in files.items()), *((name, 769) for name in SHARDS)
    ]
    del hub.files[f"m/{SHARDS[1]}"]
    error = lab.call("resolve", model=f"{elsewhere}m/")["error"]
    assert error["code"] == "E_NETWORK" and SHARDS[1] in error["facts"]["url"]


@pytest.mark.parametrize(
    ("path", "code"),
    [("none.gguf", "E_NETWORK"), ("page.gguf", "E_BAD_FILE"), ("page.html", "E_BAD_REQUEST"),
     ("empty.gguf", "E_BAD_FILE"), ("none/", "E_NETWORK")],
)
def test_what_is_no_model_is_refused_before_any_download(lab, hub, elsewhere, path, code):
    hub.files = {"page.gguf": b"<!doctype html>", "page.html": b"<!doctype html>", "empty.gguf": b""}
    lab.start()
    error = lab.call("resolve", model=elsewhere + path)["error"]
    assert error["code"] == code and error["next_step"]
