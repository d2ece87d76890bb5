"""Repositories of a model hub: names and addresses, shards, GGUF files, and their failures."""

import hashlib
import json

import pytest

from tests.storage.conftest import data
from tests.storage.hub_server import CHUNK, Fault

SHA = "0123456789abcdef0123456789abcdef01234567"


def publish(hub, repo, files, revision="main", lfs=()):
    """Puts a repository on the test hub: its listing and its files at their pinned addresses."""
    rows = []
    for name, body in files.items():
        hub.files[f"{repo}/resolve/{SHA}/{name}"] = body
        row = {"rfilename": name, "size": len(body)}
        if name in lfs:
            row["lfs"] = {
                "sha256": hashlib.sha256(body).hexdigest(),
                "size": len(body),
                "pointerSize": 134,
            }
        rows.append(row)
    listing = {"sha": SHA, "siblings": rows, "cardData": {"license": "apache-2.0"}}
    hub.json[f"api/models/{repo}/revision/{revision}"] = json.dumps(listing).encode()


def resolve(lab, model, **options):
    return lab.call("resolve", model=model, base=f"{lab.url}hub/", **options)


SHARDS = {
    "config.json": b"{}",
    "tokenizer.json": b"[1]",
    "README.md": b"#",
    "onnx/model.onnx": b"x",
    "model.safetensors.index.json": json.dumps(
        {
            "weight_map": {
                "a": "model-00001-of-00002.safetensors",
                "b": "model-00002-of-00002.safetensors",
                "c": "model-00001-of-00002.safetensors",
            }
        }
    ).encode(),
    "model-00001-of-00002.safetensors": data(CHUNK + 7, 1),
    "model-00002-of-00002.safetensors": data(769, 2),
}
LFS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def test_a_sharded_repository_is_downloaded(lab, hub):
    lab.start()
    publish(hub, "org/name", SHARDS, lfs=LFS)
    spec = resolve(lab, "org/name")["result"]
    assert spec["id"] == "org/name" and spec["license"] == "apache-2.0"
    assert spec["source"] == {"kind": "hub", "url": f"{lab.url}hub/org/name", "revision": SHA}
    assert [(row["name"], row["size"], bool(row["sha256"])) for row in spec["files"]] == [
        (name, len(SHARDS[name]), name in LFS)
        for name in ("config.json", "tokenizer.json", "model.safetensors.index.json", *LFS)
    ]
    assert lab.download(spec)["result"]["state"] == "complete"
    assert lab.digests("org/name") == {
        row["name"]: hashlib.sha256(SHARDS[row["name"]]).hexdigest() for row in spec["files"]
    }


def test_revisions_and_gguf_files(lab, hub):
    lab.start()
    files = {"a-q4_k_m.gguf": b"GGUF1", "a-q8_0.gguf": b"GGUF2", "README.md": b"#"}
    publish(hub, "org/gguf", files)
    publish(hub, "org/gguf", {"a-q4_k_m.gguf": b"GGUF3"}, revision="v1.0")
    error = resolve(lab, "org/gguf")["error"]
    assert error["code"] == "E_BAD_REQUEST" and "a-q8_0.gguf" in error["facts"]["wanted"]
    assert error["facts"]["choices"] == [
        {"name": name, "bytes": 5} for name in ("a-q4_k_m.gguf", "a-q8_0.gguf")
    ]
    assert resolve(lab, "org/gguf:a-q8_0.gguf") == resolve(lab, "org/gguf", file="a-q8_0.gguf")
    spec = resolve(lab, "org/gguf", file="a-q8_0.gguf")["result"]
    assert spec["id"] == "org/gguf:a-q8_0.gguf" and len(spec["files"]) == 1
    assert [row["name"] for row in resolve(lab, "org/gguf@v1.0")["result"]["files"]] == [
        "a-q4_k_m.gguf"
    ]
    error = resolve(lab, "org/gguf", file="none.gguf")["error"]
    assert error["code"] == "E_BAD_REQUEST"


HUB = "https://huggingface.co/"
LOCAL = "http://127.0.0.1:8001/mirror/"
NAMES = {
    "org/name": ("org/name", "main", None),
    "  org/name\n": ("org/name", "main", None),
    "O-r_g.1/na.me-7_b": ("O-r_g.1/na.me-7_b", "main", None),
    "org/name@v1.0": ("org/name", "v1.0", None),
    "org/name@refs/pr/7": ("org/name", "refs/pr/7", None),
    "org/name:a-Q4_0.gguf": ("org/name", "main", "a-Q4_0.gguf"),
    "org/name@abc:sub/a b.GGUF": ("org/name", "abc", "sub/a b.GGUF"),
    HUB + "org/name": ("org/name", "main", None),
    HUB + "org/name/": ("org/name", "main", None),
    HUB.upper() + "org/name": ("org/name", "main", None),
    HUB + "org/name/tree/dev": ("org/name", "dev", None),
    HUB + "org/name/tree/refs%2Fpr%2F1": ("org/name", "refs/pr/1", None),
    HUB + "org/name/resolve/main/a.gguf?download=true": ("org/name", "main", "a.gguf"),
    HUB + "org/name/blob/v2/q/a%20b.gguf#L1": ("org/name", "v2", "q/a b.gguf"),
    HUB + "org/name/blob/main/config.json": ("org/name", "main", None),
    HUB + "org/name/resolve/v3/model.safetensors": ("org/name", "v3", None),
}
NO_NAMES = [
    "", " ", "name", "org/", "/name", "org/name/more", "../name", "../../x", "org/..", "org/na me",
    "org/na--me", "org/name.", "-org/name", "org/" + "n" * 97, "org/name@", "org/name@..",
    "org/name@a//b", "org/name@a b", "org/name:", "org/name:a.bin", "org/name:config.json",
    "org/name:../a.gguf", "org/name:/a.gguf", "org/name:a\\b.gguf", "org/name:a\n.gguf",
    "https://else.example/org/name", HUB.replace("s:", ":") + "org/name", HUB, HUB + "org",
    HUB.rstrip("/") + ".evil.example/org/name", HUB.replace("://", "://user@") + "org/name",
    HUB + "org/name/discussions", HUB + "org/name/tree", HUB + "datasets/org/name",
    HUB + "org/name/tree/main/sub", HUB + "org/name/resolve/main/..%2f..%2fa.gguf",
    HUB + "org/name/resolve/main/sub/a.bin", HUB + "org/%zz", "https://[::1/org/name",
]  # fmt: skip
PARSE = """async ([texts, base]) => {
    const { parseHub, hubId } = await import("/js/storage/hub.js");
    return texts.map((text) => {
        try {
            const asked = parseHub(text, base), again = parseHub(hubId(asked));
            return [[asked.repo, asked.revision, asked.file], [again.repo, again.revision, again.file]];
        } catch (error) {
            return error.code ?? String(error);
        }
    });
}"""


def test_names_and_addresses(lab):
    """Each means one repository, and its id means the same."""
    got = lab.open().run(PARSE, [list(NAMES), HUB])
    assert dict(zip(NAMES, got, strict=True)) == {
        text: [list(wanted)] * 2 for text, wanted in NAMES.items()
    }


def test_what_names_no_repository(lab):
    got = lab.open().run(PARSE, [NO_NAMES, HUB])
    wrong = {t: g for t, g in zip(NO_NAMES, got, strict=True) if g != "E_BAD_REQUEST"}
    assert wrong == {}


def test_names_at_another_hub(lab):
    inside, outside = LOCAL + "org/name/resolve/v1/a.gguf", LOCAL.replace("mirror", "mirrors")
    got = lab.open().run(PARSE, [[inside, outside + "org/name", HUB + "org/name"], LOCAL])
    assert got[0][0] == ["org/name", "v1", "a.gguf"] and got[1:] == ["E_BAD_REQUEST"] * 2


@pytest.mark.parametrize(
    ("status", "word"), [(401, "permission"), (403, "permission"), (404, "name"), (500, "fault")]
)
def test_refusals_say_what_to_do(lab, hub, status, word):
    lab.start()
    hub.fault = lambda asked: Fault(status=status)
    error = resolve(lab, "org/name")["error"]
    assert (
        error["code"] == "E_NETWORK"
        and error["facts"]["status"] == status
        and word in error["next_step"]
    )


def test_an_index_without_its_shards(lab, hub):
    lab.start()
    publish(hub, "org/name", {name: body for name, body in SHARDS.items() if name != LFS[1]})
    assert resolve(lab, "org/name")["error"]["code"] == "E_CORRUPT_SHARD"
    publish(hub, "org/none", {"README.md": b"#"})
    assert resolve(lab, "org/none")["error"]["code"] == "E_BAD_REQUEST"
