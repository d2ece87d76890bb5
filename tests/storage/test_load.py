"""`createEngine` with every kind of model name, in a real browser with the real engine: what it
names is resolved, downloaded, verified, kept, and loaded from this browser the next time."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from tests.formats.gguf_writer import small_llama
from tests.storage.hub_server import Fault, other_origin
from tests.storage.test_hub import publish
from tests.support import WAIT_MS, link_site

TINY = "models-tiny/llama"
OPTIONS = {"quant": "keep", "kv": "f32", "context": 128}
LOAD = """async ({ make, ids, count }) => {
    const { createEngine } = await import("./jird.js");
    const stages = [];
    try {
        const engine = await createEngine({ ...make, onProgress: ({ stage }) => stages.push(stage) });
        globalThis.engines = [...(globalThis.engines ?? []), engine]; // keeps the worker up
        const body = { prompt: ids, temperature: 0, max_tokens: count, return_token_ids: true };
        const answer = await engine.completions.create(body);
        const { storage_notice } = await engine.stats();
        return { ids: answer.choices[0].token_ids, model: engine.model, stages, storage_notice };
    } catch (error) {
        return { error: error.toJSON?.() ?? String(error) };
    }
}"""
LIST = """async () => {
    const { StorageClient } = await import("./js/storage/client.js");
    const storage = StorageClient.start(new URL("storage_worker.js", location.href));
    const rows = await storage.call("list");
    storage.terminate();
    return rows;
}"""


class Loader:
    """A page of the site; a hub at `base` and plain files at `plain`, origins of their own."""

    def __init__(self, page, url, base, plain, golden):
        self.page, self.url, self.base, self.plain = page, url, base, plain
        self.ids, self.wanted = golden["ids"].tolist(), golden["greedy32"][:5].tolist()
        page.set_default_timeout(WAIT_MS)
        self.open()

    def open(self):
        self.page.goto(self.url + "blank.html")

    def load(self, model, **options):
        make = {"model": model, "hub": self.base, **OPTIONS, **options}
        return self.page.evaluate(LOAD, {"make": make, "ids": self.ids, "count": 5})

    def answers(self, model, **options):
        found = self.load(model, **options)
        assert found.get("ids") == self.wanted, found
        assert found["model"] == model and found["storage_notice"] is None
        return found

    def refused(self, model, code="E_NETWORK", **options):
        error = self.load(model, **options)["error"]
        assert error["code"] == code and error["next_step"], error
        return error


@pytest.fixture(scope="module")
def root(dist, tmp_path_factory):
    root = tmp_path_factory.mktemp("site") / "app"
    link_site(dist, root)
    (root / "blank.html").write_text("<!doctype html><link rel=icon href='data:,'><title>x</title>")
    return root


@pytest.fixture
def loader(page, root, serve, hub, goldens):
    golden = np.load(goldens / TINY / "golden.npz")
    with other_origin(hub, root) as base, other_origin(hub, root) as elsewhere:
        yield Loader(page, serve(root, "/some/app/").url, f"{base}/hub/", f"{elsewhere}/hub/plain/",
                     golden)


@pytest.fixture
def files(goldens):
    folder = goldens / TINY
    names = ("config.json", "generation_config.json", "model.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def sharded(goldens, files):
    """The same model with its tensors in two files."""
    tensors = load_file(goldens / TINY / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2],
              "model-00002-of-00002.safetensors": names[1::2]}
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    found = {name: body for name, body in files.items() if name != "model.safetensors"}
    found["model.safetensors.index.json"] = json.dumps(index).encode()
    for shard, part in shards.items():
        found[shard] = save({name: tensors[name] for name in part})
    return found, list(shards)


def to_cdn(hub):
    """Weights lie elsewhere, as behind the real hub: their address answers with a redirect."""
    def fault(asked):
        if asked.path.startswith("org/") and asked.path.endswith(".safetensors"):
            hub.files.setdefault(f"cdn/{asked.path}", hub.files[asked.path])
            return Fault(redirect=f"/hub/cdn/{asked.path}")
        return None

    return fault


def test_a_repository_then_the_same_without_any_request(loader, hub, files):
    publish(hub, "org/tiny", files, lfs=("model.safetensors",))
    hub.fault = to_cdn(hub)
    first = loader.answers("org/tiny")
    assert "download" in first["stages"]
    served = [asked.path for asked in hub.log if asked.path.startswith("cdn/")]
    assert served and all(asked.sent for asked in hub.log if asked.path in served)
    hub.log.clear()
    loader.open()
    again = loader.answers("org/tiny")
    assert hub.log == [] and "download" not in again["stages"]


def test_shards_ggufs_and_addresses(loader, hub, files, goldens):
    """A folder of shards; the files of GGUF repositories; and the same at plain addresses."""
    parts, shards = sharded(goldens, files)
    publish(hub, "org/sharded", parts, revision="v1", lfs=shards)
    loader.answers("org/sharded@v1")
    hub.files |= {f"plain/{name}": body for name, body in parts.items()}
    loader.answers(loader.plain)
    gguf = small_llama(replace={"tokenizer.ggml.model": ("str", "llama")}).build()
    publish(hub, "org/gguf", {"a-q8.gguf": gguf, "b-q4.gguf": b"GGUF no"}, lfs=("a-q8.gguf",))
    hub.files["plain/a b.gguf"] = gguf
    named, free = "org/gguf:a-q8.gguf", loader.plain + "a%20b.gguf"
    answers, loader.ids = [], [1, 2, 3]
    for model in (named, free):
        answers.append(loader.load(model))
        assert len(answers[-1].get("ids", [])) == 5 and answers[-1]["model"] == model, answers
    assert answers[0]["ids"] == answers[1]["ids"]
    hub.log.clear()
    assert loader.load("org/gguf")["ids"] == answers[0]["ids"], "its only stored file"
    assert hub.log == []
    rows = {row["id"]: row for row in loader.page.evaluate(LIST)}
    assert set(rows) == {"org/sharded@v1", loader.plain, named, free}
    assert {row["state"] for row in rows.values()} == {"complete"}


def test_a_file_that_changed_at_its_address_is_fetched_again(loader, hub, files):
    hub.files |= {f"plain/{name}": body for name, body in files.items()}
    url = loader.plain
    loader.answers(url)
    hub.log.clear()
    loader.open()
    assert loader.load(url)["ids"] == loader.wanted
    assert [asked.sent for asked in hub.log] == [0] * 3, "one question a file, no bytes"
    path = "plain/model.safetensors"
    data = bytearray(hub.files[path])
    data[-2000:] = bytes(2000)
    hub.files[path] = bytes(data)
    hub.log.clear()
    loader.open()
    found = loader.load(url)
    assert "download" in found["stages"] and len(found["ids"]) == 5
    assert sum(asked.sent for asked in hub.log if asked.path == path) >= len(data)
    hub.fault = lambda asked: Fault(status=500)
    loader.open()
    assert loader.load(url)["ids"] == found["ids"], "what is stored serves where nobody answers"


def test_a_private_repository_and_its_token(loader, hub, files):
    publish(hub, "org/private", files)
    hub.fault = lambda asked: (
        None if asked.headers.get("Authorization") == "Bearer sesame" else Fault(status=403))
    error = loader.refused("org/private")
    assert error["facts"]["status"] == 403 and "token" in error["next_step"]
    error = loader.refused("org/private", token="wrong")
    assert "wrong" not in json.dumps(error)
    loader.page.evaluate("""async () => {
        const { saveToken } = await import("./js/hub_token.js");
        saveToken(" sesame\\n");
    }""")
    loader.answers("org/private")
    assert "sesame" not in json.dumps(loader.page.evaluate(LIST))
    loader.page.evaluate("import('./js/hub_token.js').then(({ saveToken }) => saveToken(''))")
    assert loader.page.evaluate("localStorage.length") == 0


def test_refusals_of_a_hub(loader, hub, files):
    error = loader.refused("org/none")
    assert error["facts"]["status"] == 404 and "name" in error["next_step"]
    publish(hub, "org/tiny", files, lfs=("model.safetensors",))
    hub.fault = lambda asked: Fault(status=429) if asked.path.startswith("api/") else None
    error = loader.refused("org/tiny")
    assert error["facts"]["status"] == 429 and "wait" in error["next_step"]
    busy = Fault(status=429, headers={"Retry-After": "1"})
    hub.fault = lambda asked: busy if asked.n == 1 and "/resolve/" in asked.path else None
    loader.answers("org/tiny")
    publish(hub, "org/broken", files | {"model.safetensors": b"other"}, lfs=("model.safetensors",))
    hub.fault = lambda asked: None
    path = next(path for path in hub.files if path.startswith("org/broken/") and "safet" in path)
    hub.files[path] = b"bytes"
    assert "SHA-256" in loader.refused("org/broken", "E_CORRUPT_SHARD")["message"]
    assert "smollm2-360m" in loader.refused("gpt-4", "E_BAD_REQUEST")["message"]


def test_the_catalogue_before_any_load(loader):
    found = loader.page.evaluate("""async () => {
        const { catalog } = await import("./jird.js");
        return catalog({ context: 512 });
    }""")
    assert found["budget"] >= 10**9
    first = found["rows"][0]
    assert first["id"] == "smollm2-135m-instruct" and first["fit"]["verdict"] == "fits"
    assert {"name", "family", "license", "bytes", "quant", "context", "modalities", "source",
            "fit"} <= set(first)
    assert set(first["fit"]) == {"verdict", "bytes", "quant", "context", "largest_context", "reason"}
    sources = [row["source"] for row in found["rows"]]
    assert sources[1]["repo"] and sources[1]["model"].startswith(sources[1]["repo"])
